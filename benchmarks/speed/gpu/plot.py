"""How much of the card each side reaches: a line for each piece of work, a mark for each side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.gpu.measured import Measured
from benchmarks.speed.gpu.roofline import Ceilings
from benchmarks.speed.measuring import OURS

_COLOURS = ("#1b6ca8", "#c98b2b", "#6b8e5a", "#9b6a9b", "#404040", "#b5651d", "#5aa9e6", "#8a8a8a")
_MARKS = "osD^vPX*<>"
_LINE_INCHES = 0.17


def draw(measured: Sequence[Measured], ceilings: Ceilings, title: str, stem: Path) -> list[Path]:
    """Draw the share of the ceiling that each side reaches, and write it as SVG and PNG.

    Args:
        measured: what was timed; subjects stand under each other.
        ceilings: of the card.
        title: above it.
        stem: the files' place, without an ending.

    Returns:
        The files; none where nothing was timed.
    """
    if not measured:
        return []
    from matplotlib.figure import Figure  # takes most of a second

    lines, labels, headings = _lines(measured)
    figure = Figure(figsize=(10, (len(labels) + 12) * _LINE_INCHES), layout="constrained")
    axes = figure.subplots()
    for number, (side, points) in enumerate(_points(lines, ceilings).items()):
        is_ours = side.startswith(OURS)
        axes.scatter(
            [share for share, _ in points],
            [place for _, place in points],
            s=34 if is_ours else 20,
            marker=_MARKS[number % len(_MARKS)],
            color=_COLOURS[number % len(_COLOURS)],
            label=side,
            zorder=3 if is_ours else 2,
        )
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    for place in headings:
        axes.get_yticklabels()[place].set_fontweight("bold")
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(left=0, right=max(1.05, axes.get_xlim()[1]))
    axes.grid(linewidth=0.3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("share of the card's measured ceiling")
    figure.suptitle(title)
    figure.legend(loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    files = [stem.with_name(f"{stem.name}.{ending}") for ending in ("svg", "png")]
    for file in files:
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    return files


def _lines(measured: Sequence[Measured]) -> tuple[dict[int, Measured], list[str], list[int]]:
    """Return the pieces of work by their place, the label of every place, and the places that hold a heading."""
    lines: dict[int, Measured] = {}
    labels: list[str] = []
    headings: list[int] = []
    for subject in dict.fromkeys(one.subject for one in measured):
        headings.append(len(labels))
        labels.append(subject)
        for one in measured:
            if one.subject == subject:
                lines[len(labels)] = one
                labels.append(one.size)
    return lines, labels, headings


def _points(lines: dict[int, Measured], ceilings: Ceilings) -> dict[str, list[tuple[float, int]]]:
    points: dict[str, list[tuple[float, int]]] = {}
    for place, one in lines.items():
        for side in (*one.ours, *one.peers):
            points.setdefault(side.side, []).append((one.cost.share(side.median, ceilings), place))
    return dict(sorted(points.items(), key=lambda entry: not entry[0].startswith(OURS)))
