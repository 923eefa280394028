"""Outputs as lines for people, or as JSON lines for programs."""

from __future__ import annotations

from gptapps.outputs import Choice, Classification, Generation, Labelling, Likelihood, Output


def as_json(output: Output) -> str:
    """Return one JSON line with everything the output holds."""
    return output.model_dump_json()


def as_text(output: Output, *, one_line: bool) -> str:
    """Return what a person wants to see: the text, the label or choice and its share, the perplexity.

    Args:
        output: of any task.
        one_line: fold line breaks, so that line i is the result of input i; several continuations of one input
            stand behind each other with tabs between them, instead of each on a line.
    """
    match output:
        case Classification():
            texts = [f"{output.label}\t{output.score:.4f}"]
        case Labelling():
            texts = ["\t".join(f"{label}\t{output.scores[label]:.4f}" for label in output.labels)]
        case Choice():
            texts = [f"{' '.join(output.text.splitlines())}\t{output.score:.4f}"]
        case Likelihood():
            best = "" if output.best is None else f"\tbest {output.best}"
            texts = [f"perplexity {output.perplexity:.4f}\tlog-likelihood {output.log_likelihood:.4f}{best}"]
        case Generation():
            texts = list(output.texts)
        case _:
            texts = [str(getattr(output, "text", output))]
    return "\t".join(" ".join(text.splitlines()) for text in texts) if one_line else "\n".join(texts)
