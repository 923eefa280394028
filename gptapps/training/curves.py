"""Learning curves in a trained folder: every number, a picture, and the evaluations for its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gptapps.backbone.safetensors_files import write_json
from gptapps.evaluation.report.plots import as_file, learning_curves
from gptapps.training.recipe import Learned

CURVES, PICTURE = "curves.json", "curves.svg"


def write_curves(folder: Path, learned: Learned, metric: str) -> None:
    """Write ``curves.json`` and ``curves.svg``.

    Args:
        folder: that is being filled.
        learned: how the training went.
        metric: the one that decides; shown where the evaluations have it.

    Raises:
        ResourceError: the disk is full.
    """
    write_json(folder / CURVES, learned.curves())
    last = learned.updates[-1]["loss"]
    description = f"The loss over {len(learned.updates)} updates, {last:.4g} in the last one"
    if learned.best is not None and metric in learned.best:
        description += f"; the best {metric.replace('_', ' ')} is {learned.best[metric]:.4g}"
    picture = as_file(learning_curves(learned.updates, learned.evaluations, metric, description))
    (folder / PICTURE).write_text(picture, encoding="utf-8")


def curve_lines(evaluations: Sequence[Mapping[str, float]], best: Mapping[str, float] | None) -> Iterator[str]:
    """Yield the picture and a table of the evaluations, the best of them in bold, as Markdown.

    Args:
        evaluations: rows of one curve; none where nothing was set aside.
        best: the row whose weights were kept.
    """
    yield f"![Loss and metric by update]({PICTURE})"
    if not evaluations:
        return
    names = list(evaluations[0])
    yield ""
    yield "| " + " | ".join(name.replace("_", " ") for name in names) + " |"
    yield "|" + "---|" * len(names)
    for row in evaluations:
        cells = (f"{row[name]:.0f}" if name == "update" else f"{row[name]:.4g}" for name in names)
        mark = "**" if row == best else ""
        yield "| " + " | ".join(f"{mark}{cell}{mark}" for cell in cells) + " |"
    if best is not None:
        yield ""
        yield "The weights of the line in bold were kept."
