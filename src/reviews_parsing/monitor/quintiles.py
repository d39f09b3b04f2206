"""Fifths of the profile, for what counts instead of keeping: a histogram of each number in five bins at most."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reviews_parsing.monitor.compare import is_share
from reviews_parsing.monitor.numbers import Floats, Numbers

BINS = 5


@dataclass(frozen=True)
class Bins:
    """`edges` [names, BINS - 1] are the largest values of all bins but the last; inf where there are fewer bins."""

    names: tuple[str, ...]
    edges: Floats

    @classmethod
    def of(cls, numbers: Numbers, names: Sequence[str]) -> Bins:
        """With about a fifth of `numbers` [reviews, names] in each bin, as far as they differ."""
        edges = np.full((len(names), BINS - 1), np.inf, np.float32)
        for row, name, column in zip(edges, names, numbers.T, strict=True):
            known = column[~np.isnan(column)]
            if is_share(name):
                row[0] = 0
            elif len(known):
                fifths = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf"))
                row[: len(fifths)] = fifths
        return cls(tuple(names), edges)

    def count(self, numbers: Numbers) -> npt.NDArray[np.int64]:
        """How many of `numbers` [reviews, names] are in each bin: [names, BINS]."""
        # nan is in none; what is above all edges is in the last.
        above = (numbers[:, :, None] > self.edges).sum(axis=0)
        known = np.isfinite(numbers).sum(axis=0)
        at_least = np.column_stack([known, above, np.zeros(len(self.names), np.int64)])
        counts: npt.NDArray[np.int64] = at_least[:, :-1] - at_least[:, 1:]
        return counts

    def shares(self, numbers: Numbers) -> Floats:
        """The same as shares of all that have that number."""
        counts = self.count(numbers)
        shares: Floats = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        return shares

    def cells(self, *values: npt.NDArray[Any]) -> Iterator[tuple[Any, ...]]:
        """Each (number, bin) that there is, with its entry in each of `values` [names, BINS]."""
        for i, name in enumerate(self.names):
            for j, label in enumerate(self._labels(i)):
                yield (name, label), *(float(its[i, j]) for its in values)

    def _labels(self, i: int) -> list[str]:
        """Of the bins of number i, in words."""
        if is_share(self.names[i]):
            return ["no", "yes"]
        edges = [f"{edge:.4g}" for edge in self.edges[i] if np.isfinite(edge)]
        if not edges:
            return ["all"]
        between = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
        return [f"to {edges[0]}", *between, f"over {edges[-1]}"]
