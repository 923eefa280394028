"""What pre-training returns, and what its folder says for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gptapps.evaluation.tables import aligned
from gptapps.training.curves import curve_lines

CANNOT = (
    "It was trained on masked text and sees both directions, so it can't generate, score or be prompted; "
    "`gptapps.decoding.masked_model.MaskedModel` fills masks with it."
)


@dataclass(frozen=True, slots=True)
class PretrainReport:
    """A pre-trained model's numbers, and where it lies.

    Attributes:
        folder: of the model.
        size, objective: what was trained, and on what.
        shape: its ``layers``, ``heads``, ``channels`` and ``context``.
        parameters: how many weights it has.
        tokens: ``"train"`` and ``"validation"`` -> how many tokens the texts have.
        evaluations: ``update``, ``epoch``, ``loss`` and ``perplexity`` of each, ``bits_per_byte`` of the next-token
            objective; on validation text, of masked text at the masked places.
        best: the evaluation whose weights were kept.
        updates: how many changes of the weights there were.
        seconds: they took.
        signature: 16 hexadecimal digits of everything that decides the weights.

    Example:
        >>> report = pretrain("book.txt", output="my-gpt", size="gpt-2-small", layers=2)     # doctest: +SKIP
        >>> report.perplexity                                                                # doctest: +SKIP
        41.7
    """

    folder: Path
    size: str
    objective: str
    shape: Mapping[str, int]
    parameters: int
    tokens: Mapping[str, int]
    evaluations: Sequence[Mapping[str, float]]
    best: Mapping[str, float]
    updates: int
    seconds: float
    signature: str

    @property
    def perplexity(self) -> float:
        """Of the validation text."""
        return self.best["perplexity"]

    @property
    def bits_per_byte(self) -> float | None:
        """Of the validation text, comparable across tokenizers; None with the masked objective."""
        return self.best.get("bits_per_byte")

    @property
    def table(self) -> str:
        """The evaluations for a terminal."""
        names = [name for name in self.best if name not in ("update", "epoch")]
        table = aligned(
            [
                ["update", "epoch", *(name.replace("_", " ") for name in names)],
                *(
                    [f"{row['update']:.0f}", f"{row['epoch']:.2f}", *(f"{row[name]:.3f}" for name in names)]
                    for row in self.evaluations
                ),
            ]
        )
        return f"{table}\n\n{CANNOT}" if self.objective == "masked" else table

    def as_dict(self) -> dict[str, Any]:
        """Return what ``metrics.json`` holds; the folder isn't in it."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "folder"}
        rows = [dict(row) for row in self.evaluations]
        return {**plain, "shape": dict(self.shape), "evaluations": rows, "best": dict(self.best)}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any], folder: Path) -> PretrainReport:
        """Return the report that :meth:`as_dict` wrote."""
        return cls(folder=folder, **{**said, "evaluations": tuple(said["evaluations"])})


def pretrain_card(report: PretrainReport, data: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Return the README.md of a pre-trained folder.

    Args:
        report: of the training.
        data: what ``data.json`` says.
        versions: name -> version of the libraries.
    """
    return "\n".join(_lines(report, data, versions)) + "\n"


def _lines(report: PretrainReport, data: Mapping[str, Any], versions: Mapping[str, str]) -> Iterator[str]:
    masked = report.objective == "masked"
    yield f"# A GPT of {report.parameters:,} weights, from scratch"
    yield ""
    shape = ", ".join(f"{value:,} {name}" for name, value in report.shape.items() if name != "context")
    learned = "masked text" if masked else "the next token"
    yield f"Pre-trained by gptapps on {learned}, of the size {report.size} or with its numbers changed:"
    yield f"{shape}, a context of {report.shape['context']:,} tokens."
    if masked:
        yield CANNOT
    yield ""
    yield "```python"
    if masked:
        yield "from gptapps.decoding.masked_model import MaskedModel"
        yield ""
        yield 'MaskedModel.load("path/of/this/folder").fill("The cat<mask> on the mat.")'
    else:
        yield "from gptapps import pipeline"
        yield ""
        yield 'pipeline("generate", model="path/of/this/folder")("Once upon a time")'
    yield "```"
    yield ""
    yield "## How good it is"
    yield ""
    where = "at hidden tokens of" if masked else "on"
    yield f"Perplexity {report.perplexity:.3f} {where} validation text that it never learned from."
    if report.bits_per_byte is not None:
        yield f"Bits per byte {report.bits_per_byte:.4f}."
    yield ""
    yield from curve_lines(report.evaluations, report.best)
    yield ""
    yield "`curves.json` has every update and evaluation, `samples/` what it said at each."
    yield ""
    yield "## What it learned from"
    yield ""
    yield "| part | texts | tokens | SHA-256 |"
    yield "|---|---|---|---|"
    for name, checksum in data["checksums"].items():
        yield f"| {name} | {data['texts'][name]:,} | {report.tokens[name]:,} | `{checksum}` |"
    yield ""
    yield f"{report.updates:,} updates in {report.seconds:,.0f} seconds. Signature {report.signature}; " + (
        ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    )
