"""What plots share: a canvas, colours, words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Praise and blame are Okabe and Ito's blue and vermilion: told apart by colour-blind readers, and in dark mode replaced
# by the lighter pair of the same palette.
PRAISE, BLAME, NEUTRAL = "#0072b2", "#d55e00", "#c9ccd1"
MORE, LESS = "#7f6aa8", "#8a8f3c"
INK, MUTED, GRID, PAPER = "#1c2026", "#5f6873", "#e3e6ea", "#fefefe"
SIZE = 10.0
"""Points of text."""


def canvas(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Axes]:
    """A figure of so many inches with one plot."""
    figure = blank(width, height)
    axes = figure.add_subplot()
    dress(axes)
    return figure, axes


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110, facecolor=PAPER)


def dress(axes: Axes) -> None:
    """The look of every plot: no frame, quiet ticks."""
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=SIZE, length=0)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(color=MUTED, size=SIZE)
    axes.yaxis.label.set(color=MUTED, size=SIZE)
    axes.title.set(color=INK, size=SIZE + 0.5)


def plain(text: str, most: int = 28) -> str:
    """A label as it is written: dollars are no mathematics, and what is long is cut."""
    text = " ".join(text.split())
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")


def percent(share: float) -> str:
    """A share as people write it."""
    return f"{100 * share:.0f}\u00a0%"


def points(difference: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * difference:+.0f}".replace("-", "\u2212")
