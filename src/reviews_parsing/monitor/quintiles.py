"""Histograms of features over the quintiles of the profile, for counters that store no reviews."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reviews_parsing.monitor.features import Features, Floats, is_binary

BINS = 5


@dataclass(frozen=True)
class Quintiles:
    """Bins of each feature.

    `edges` [features, BINS - 1] are the inclusive upper bounds of all bins but the last; inf for bins that a feature
    with few distinct values lacks.
    """

    names: tuple[str, ...]
    edges: Floats

    @classmethod
    def fit(cls, features: Features, names: Sequence[str]) -> Quintiles:
        """Return bins that hold about a fifth of `features` [reviews, features] each, as far as values differ."""
        edges = np.full((len(names), BINS - 1), np.inf, np.float32)
        for row, name, column in zip(edges, names, features.T, strict=True):
            values = column[~np.isnan(column)]
            if is_binary(name):
                row[0] = 0
            elif len(values):
                quantiles = np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf"))
                row[: len(quantiles)] = quantiles
        return cls(tuple(names), edges)

    def count(self, features: Features) -> npt.NDArray[np.int64]:
        """Return the number of reviews per bin, [features, BINS]. A nan is in no bin."""
        above = (features[:, :, None] > self.edges).sum(axis=0)
        defined = np.isfinite(features).sum(axis=0)
        at_or_above = np.column_stack([defined, above, np.zeros(len(self.names), np.int64)])
        counts: npt.NDArray[np.int64] = at_or_above[:, :-1] - at_or_above[:, 1:]
        return counts

    def shares(self, features: Features) -> Floats:
        """Return the share of reviews per bin, [features, BINS], among those that have the feature."""
        counts = self.count(features)
        shares: Floats = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        return shares

    def cells(self, *values: npt.NDArray[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield ((feature, bin label), entry of each of `values` [features, BINS]) for every bin that exists."""
        for i, name in enumerate(self.names):
            for j, label in enumerate(self._labels(i)):
                yield (name, label), *(float(matrix[i, j]) for matrix in values)

    def _labels(self, i: int) -> list[str]:
        """Return the labels of the bins of feature i."""
        if is_binary(self.names[i]):
            return ["no", "yes"]
        edges = [f"{edge:.4g}" for edge in self.edges[i] if np.isfinite(edge)]
        if not edges:
            return ["all"]
        between = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
        return [f"to {edges[0]}", *between, f"over {edges[-1]}"]
