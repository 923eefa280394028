"""Plots as SVG that takes its colours and its font from the page around it."""

from __future__ import annotations

import html
import io
import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gptapps.metrics.calibration import ReliabilityBin
from gptapps.metrics.confidence import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that nothing else has stand for the page's own, which differ by day and by night.
_INK, _MUTED, _ACCENT, _LINE = "#010203", "#010204", "#010205", "#010206"
_OF_THE_PAGE = {_INK: "var(--ink)", _MUTED: "var(--muted)", _ACCENT: "var(--accent)", _LINE: "var(--line)"}

# The page's own, for a picture without a page.
_BY_DAY = {"ink": "#20242a", "muted": "#5a636d", "accent": "#0f5f8f", "line": "#dcd9d1"}
_BY_NIGHT = {"ink": "#e6e4de", "muted": "#a5adb5", "accent": "#7fc1ec", "line": "#343a40"}

_INCHES = (4.5, 3.1)  # 324 by 223 points: letters stay readable on the narrowest screen
_SHOWN_POINTS = 400
_FAR_APART = 50.0  # values whose ratio is larger, as those of perplexity, are shown on a logarithmic scale
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "text.color": _INK,
    "figure.constrained_layout.use": True,
}

_lock = threading.Lock()  # matplotlib's settings are the process's


@dataclass(frozen=True, slots=True)
class LengthBin:
    """The examples of about one length.

    Attributes:
        shortest, longest: in input tokens.
        count: the number of examples.
        value, low, high: the metric over them and its 95 % interval; None where there is none.
    """

    shortest: int
    longest: int
    count: int
    value: float
    low: float | None
    high: float | None


def reliability_diagram(bins: Sequence[ReliabilityBin], description: str) -> str:
    """Return accuracy against confidence, with the share of the examples below, as an SVG element.

    Args:
        bins: of confidence; empty ones among them.
        description: for whoever can't see it.
    """

    def draw(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        filled = [one for one in bins if one.count]
        middles = [(one.low + one.high) / 2 for one in filled]
        width = (bins[0].high - bins[0].low) * 0.9
        upper.plot([0, 1], [0, 1], color=_MUTED, linestyle=(0, (4, 3)), linewidth=1)
        upper.bar(middles, [one.accuracy for one in filled], width, color=_ACCENT, alpha=0.45)
        points = [one.confidence for one in filled], [one.accuracy for one in filled]
        upper.plot(*points, "o", color=_ACCENT, markersize=5)
        upper.set(ylabel="accuracy", ylim=(0, 1.03), xlim=(0, 1))
        total = sum(one.count for one in filled)
        lower.bar(middles, [one.count / total for one in filled], width, color=_MUTED, alpha=0.45)
        lower.set(xlabel="confidence", ylabel="share", ylim=(0, 1), yticks=(0, 1))

    return _svg(draw, "reliability", description)


def length_plot(
    lengths: Sequence[int], values: Sequence[float], bins: Sequence[LengthBin], metric: str, description: str
) -> str:
    """Return scores against input length as an SVG element: a point an example, a line for those of about one length.

    Args:
        lengths: in tokens, one an example.
        values: each example's own.
        bins: of length.
        metric: its name.
        description: for whoever can't see it.
    """

    def draw(figure: Any) -> None:
        axes: Axes = figure.subplots()
        axes.grid(axis="y", color=_LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        every = math.ceil(len(lengths) / _SHOWN_POINTS)
        axes.plot(lengths[::every], values[::every], "o", color=_MUTED, alpha=0.3, markersize=3.5, markeredgewidth=0)
        for one in bins:
            axes.plot([one.shortest, one.longest], [one.value] * 2, color=_ACCENT, linewidth=2.5)
            if one.low is not None and one.high is not None:
                middle = (one.shortest + one.longest) / 2
                axes.plot([middle] * 2, [one.low, one.high], color=_ACCENT, linewidth=1.2)
        axes.set(xlabel="input tokens", ylabel=metric.replace("_", " "))
        shown = _shown_values(values, bins)
        low, high = float(shown.min()), float(shown.max())
        if low > 0 and high / low > _FAR_APART:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
            axes.yaxis.set_minor_formatter("")
            axes.set_ylim(low / 1.3, high * 1.3)
        elif low < high:
            room = 0.06 * (high - low)
            axes.set_ylim(low - room, high + room)

    return _svg(draw, "length", description)


def learning_curves(
    updates: Sequence[Mapping[str, float]], evaluations: Sequence[Mapping[str, float]], metric: str, description: str
) -> str:
    """Return the loss of each update and of the evaluations, and below it their metric, as an SVG element.

    Args:
        updates: with ``update`` and ``loss``; at least one.
        evaluations: with ``update`` and, where they have them, ``loss`` and the metric.
        metric: its name; left out where no evaluation has it.
        description: for whoever can't see it.
    """

    def draw(figure: Any) -> None:
        judged = [row for row in evaluations if metric in row]
        rows = figure.subplots(2 if judged else 1, 1, sharex=True, squeeze=False)[:, 0]
        every = math.ceil(len(updates) / _SHOWN_POINTS)
        learned = [row["update"] for row in updates[::every]], [row["loss"] for row in updates[::every]]
        rows[0].plot(*learned, color=_MUTED, linewidth=1, label="training")
        held = [row for row in evaluations if "loss" in row]
        if held:
            lost = [row["update"] for row in held], [row["loss"] for row in held]
            rows[0].plot(*lost, "o-", color=_ACCENT, markersize=4, linewidth=1.5, label="validation")
            rows[0].legend(frameon=False, labelcolor=_MUTED)
        rows[0].set(ylabel="loss")
        if judged:
            reached = [row["update"] for row in judged], [row[metric] for row in judged]
            rows[1].plot(*reached, "o-", color=_ACCENT, markersize=4, linewidth=1.5)
            rows[1].set(ylabel=metric.replace("_", " "))
        for axes in rows:
            axes.grid(axis="y", color=_LINE, linewidth=0.6)
        rows[-1].set(xlabel="update")

    return _svg(draw, "curves", description)


def as_file(svg: str) -> str:
    """Return an SVG element as a file of its own, in colours for day and night."""
    day, night = (
        ";".join(f"--{name}:{colour}" for name, colour in colours.items()) for colours in (_BY_DAY, _BY_NIGHT)
    )
    style = f"<style>:root{{{day};font-family:sans-serif}}@media(prefers-color-scheme:dark){{:root{{{night}}}}}</style>"
    head, _, rest = svg.partition(">")
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"{head.replace('<svg', f'<svg {names}', 1)}>{style}{rest}\n"


def _shown_values(values: Sequence[float], bins: Sequence[LengthBin]) -> FloatArray:
    """Return values that the plot has to hold: those of all bins, and of the examples but for outliers."""
    bounds = [bound for one in bins for bound in (one.value, one.low, one.high) if bound is not None]
    shown = np.array([*np.percentile(values, [2, 98]), *bounds])
    return np.asarray(shown[np.isfinite(shown)])


def _svg(draw: Any, name: str, description: str) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # takes most of a second, and only reports draw

    written = io.StringIO()
    with _lock, mpl.rc_context():
        mpl.rcdefaults()  # whatever a person's own settings say
        mpl.rcParams.update(_STYLE)
        mpl.rcParams["svg.hashsalt"] = name
        figure = Figure(figsize=_INCHES)
        draw(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    return _for_a_page(written.getvalue(), name, description)


def _for_a_page(svg: str, name: str, description: str) -> str:
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # would hold for the whole page
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # two plots have the same ones
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for colour, own in _OF_THE_PAGE.items():
        body = body.replace(colour, own)
    opening = re.search(r'viewBox="[^"]*"', body)
    inner = body[body.index(">") + 1 :]
    title = f'<title id="{name}-title">{html.escape(description)}</title>'
    box = opening[0] if opening else ""
    return f'<svg class="plot" role="img" aria-labelledby="{name}-title" {box}>{title}{inner}'
