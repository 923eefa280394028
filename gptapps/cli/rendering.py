"""Outputs as lines for people, or as JSON lines for programs."""

from __future__ import annotations

from gptapps.outputs import Classification, Likelihood, Output


def as_json(output: Output) -> str:
    """Return one JSON line with everything the output holds."""
    return output.model_dump_json()


def as_text(output: Output, *, one_line: bool) -> str:
    """Return what a person wants to see: the text, the label and its probability, the perplexity.

    Args:
        output: of any task.
        one_line: fold line breaks, so that line i is the result of input i.
    """
    match output:
        case Classification():
            text = f"{output.label}\t{output.score:.4f}"
        case Likelihood():
            best = "" if output.best is None else f"\tbest {output.best}"
            text = f"perplexity {output.perplexity:.4f}\tlog-likelihood {output.log_likelihood:.4f}{best}"
        case _:
            text = str(getattr(output, "text", output))
    return " ".join(text.split("\n")) if one_line else text
