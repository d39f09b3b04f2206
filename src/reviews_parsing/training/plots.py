"""Plots of a run: learning curves, F1 by category, confusion of categories, reliability of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reviews_parsing.training.evaluate import Evaluation
from reviews_parsing.training.metrics import reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, which colour-blind readers can distinguish.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
_NAMES = {"span": "span", "aggregated": "span + category", "with_polarity": "span + category + polarity"}


def learning_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Plot the loss of both splits and the validation F1 by epoch."""
    figure, (loss_axes, f1_axes) = _figure(2)
    epochs = [h["epoch"] for h in history]
    loss_axes.plot(epochs, [h.get("loss", np.nan) for h in history], color=GREY, marker="o", label="training")
    loss_axes.plot(epochs, [h["eval_loss"] for h in history], color=BLUE, marker="s", label="validation")
    loss_axes.set(xlabel="epoch", ylabel="loss", title="Loss")
    loss_axes.legend(frameon=False)
    for name, colour, marker in (("span", GREEN, "^"), ("aggregated", BLUE, "s"), ("with_polarity", ORANGE, "o")):
        if f"eval_{name}_f1" in history[0]:
            values = [h[f"eval_{name}_f1"] for h in history]
            f1_axes.plot(epochs, values, color=colour, marker=marker, label=_NAMES[name])
    f1_axes.set(xlabel="epoch", ylabel="F1", ylim=(0, 1), title="Validation F1, exact match")
    f1_axes.legend(frameon=False)
    return figure


def category_f1(evaluation: Evaluation) -> Figure:
    """Plot the F1 of each category with its support."""
    figure, (axes,) = _figure(1)
    scores = {name: scores for name, scores in evaluation.scores.items() if name not in _NAMES}
    names = sorted(scores, key=lambda name: scores[name].f1)
    axes.barh(names, [scores[name].f1 for name in names], color=BLUE)
    for row, name in enumerate(names):
        f1 = scores[name].f1
        axes.text(f1 + 0.01, row, f"{f1:.2f}  (n={scores[name].support})", va="center", fontsize=8)
    axes.set(xlim=(0, 1.15), xlabel="F1", title="F1 by category")
    return figure


def confusion(evaluation: Evaluation) -> Figure:
    """Plot gold categories (rows) against predicted categories of the same spans; O is a missing span."""
    figure, (axes,) = _figure(1, size=6.5)
    names = [*sorted({name for pair in evaluation.confusion for name in pair} - {"O"}), "O"]
    counts = np.array([[evaluation.confusion.get((gold, predicted), 0) for predicted in names] for gold in names])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=shade)
    axes.set(xlabel="predicted", ylabel="gold", title="Confusion of categories")
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    return figure


def reliability_diagram(evaluation: Evaluation) -> Figure:
    """Plot the accuracy of answers against their probability, with the number of answers at each point."""
    figure, (axes,) = _figure(1)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfect")
    for name, pairs, colour, marker in (
        ("span + category", evaluation.spans, BLUE, "s"),
        ("polarity", evaluation.polarities, ORANGE, "o"),
    ):
        if pairs:
            points = reliability([p for p, _ in pairs], [correct for _, correct in pairs])
            axes.plot([p[0] for p in points], [p[1] for p in points], color=colour, marker=marker, label=name)
            for probability, accuracy, count in points:
                below = colour == ORANGE
                axes.annotate(
                    f"{count:,}",
                    (probability, accuracy),
                    xytext=(0, -12 if below else 6),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=colour,
                )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability", ylabel="accuracy", title="Reliability")
    axes.legend(frameon=False)
    return figure


def _figure(columns: int, size: float = 4.5) -> tuple[Figure, list[Axes]]:
    """Return a figure without a window, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * size * 1.2, size), layout="constrained", dpi=120)
    columns_axes = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    for axes in columns_axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, columns_axes
