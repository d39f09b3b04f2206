"""Texts in batches that are neither too many nor too long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def batches(texts: Iterable[str], most: int, characters: int) -> Iterator[list[str]]:
    """Consecutive texts, at most `most` and `characters` at a time; a text that is longer comes by itself."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == most or size + len(text) > characters):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch
