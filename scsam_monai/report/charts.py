"""Charts of a report as SVG: how large the profiles of each class are, and how a training went."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BINS = 24
"""Bars of a histogram."""
SIZE = (4.2, 2.3)
"""Inches."""


def size_histogram(sizes: np.ndarray, colour: Sequence[int], label: str, what: str = "profiles") -> bytes:
    """Draw how often each size occurs, over a logarithmic axis.

    Args:
        sizes: above 0.
        colour: red, green and blue, 0 to 255.
        label: of the sizes, with their unit.
        what: is counted.
    """
    figure, axes = _axes()
    low, high = np.log10(sizes.min()), np.log10(sizes.max())
    edges = np.logspace(low - 0.05, max(high, low + 0.1) + 0.05, BINS + 1)
    axes.hist(sizes, edges.tolist(), color=_rgb(colour), edgecolor="#444", linewidth=0.4)
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel(what)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return _svg(figure)


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    label: str,
    colours: Mapping[str, Sequence[int]] | None = None,
    limits: tuple[float, float] | None = None,
) -> bytes:
    """Draw values over epochs.

    Args:
        series: epochs and values by name.
        label: of the vertical axis.
        colours: red, green and blue, 0 to 255, by name; those that have none get one of matplotlib's.
        limits: of the vertical axis; None takes those of the values, which makes much of a small change.
    """
    figure, axes = _axes((9.0, 3.2))
    for name, (epochs, values) in series.items():
        chosen = None if colours is None or name not in colours else _rgb(colours[name])
        marker = "o" if len(epochs) < 40 else None
        axes.plot(epochs, values, color=chosen, marker=marker, markersize=3, linewidth=1.4, label=name)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(label)
    axes.set_ylim(limits)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return _svg(figure)


def _rgb(colour: Sequence[int]) -> tuple[float, float, float]:
    red, green, blue = (channel / 255 for channel in colour)
    return red, green, blue


def _axes(size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _svg(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "scsam", "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    return stream.getvalue()
