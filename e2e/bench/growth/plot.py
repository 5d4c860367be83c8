"""The curves as pictures that can be read on a white page and on a black one."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from e2e.bench.growth.curve import Subject

GREY = "#808891"
COLOURS = ("#2f81f7", "#e3771b", "#2da44e", "#bf5af2")
MARKERS = ("o", "s", "^", "D")
SIZE_INCH = (6.4, 3.6)
DPI = 100


def draw(subject: Subject, path: Path) -> None:
    """Write a PNG with a transparent ground. Raises OSError."""
    figure = Figure(figsize=SIZE_INCH, dpi=DPI, layout="tight")
    axes = figure.subplots()
    for curve, colour, marker in zip(subject.curves, COLOURS, MARKERS, strict=False):
        sizes = [point.size for point in curve.points]
        seconds = [point.seconds for point in curve.points]
        axes.plot(sizes, seconds, color=colour, marker=marker, markersize=5, linewidth=2, label=curve.label)
    add_slope(axes, subject)
    axes.set(xscale="log", yscale="log", xlabel=subject.unit, ylabel="seconds")
    axes.set_title(subject.title, color=GREY, fontsize=11)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    in_grey(axes)
    # No time stamp: the same figures make the same file.
    figure.savefig(path, transparent=True, metadata={"Software": None})


def add_slope(axes: Axes, subject: Subject) -> None:
    """A line that grows as the size does, through the dearest point, to compare with."""
    sizes = [point.size for curve in subject.curves for point in curve.points]
    dearest = max((point for curve in subject.curves for point in curve.points), key=lambda point: point.seconds)
    ends = [min(sizes), max(sizes)]
    costs = [dearest.seconds * size / dearest.size for size in ends]
    axes.plot(ends, costs, color=GREY, linestyle=":", linewidth=1, label="linear", scalex=False, scaley=False)


def in_grey(axes: Axes) -> None:
    """Everything but the curves."""
    axes.tick_params(colors=GREY, which="both")
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.5)
    axes.legend(frameon=False, labelcolor=GREY, fontsize=9)
