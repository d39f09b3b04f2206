"""Batches by tokens: windows of like length share a step, few of them if they are long."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

# Lengths are moved by up to this share at random, so that each epoch has other batches.
NOISE = 0.2


class TokenBatches:
    """A batch sampler: yields lists of indices whose longest window times their number is about `tokens` at most.

    `lengths` are in tokens; a batch has at most `rows` windows. Every epoch (`set_epoch`) has other batches, as many as
    the first, in another order; the same seed and epoch have the same.
    """

    def __init__(self, lengths: Sequence[int], rows: int, tokens: int, seed: int) -> None:
        self._lengths, self._seed, self._epoch = lengths, seed, 0
        self._sizes: list[int] = []
        remaining = sorted(lengths, reverse=True)
        while remaining:
            size = max(1, min(rows, tokens // max(1, remaining[0])))
            self._sizes.append(len(remaining[:size]))
            remaining = remaining[size:]

    def __len__(self) -> int:
        return len(self._sizes)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        rng = random.Random(f"{self._seed}/{self._epoch}")  # noqa: S311
        moved = [length * rng.uniform(1 - NOISE, 1 + NOISE) for length in self._lengths]
        order = sorted(range(len(moved)), key=lambda i: -moved[i])
        batches, begin = [], 0
        for size in self._sizes:
            batches.append(order[begin : begin + size])
            begin += size
        rng.shuffle(batches)
        yield from batches
