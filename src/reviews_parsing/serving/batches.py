"""Split of texts into batches that are bounded in number and size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


def batches(
    texts: Iterable[str], max_texts: int, max_size: int, size_of: Callable[[str], int] = len
) -> Iterator[list[str]]:
    """Yield consecutive texts, at most `max_texts` at a time with sizes that add up to at most `max_size`.

    A text that is larger is a batch of its own.
    """
    batch: list[str] = []
    total = 0
    for text in texts:
        size = size_of(text)
        if batch and (len(batch) == max_texts or total + size > max_size):
            yield batch
            batch, total = [], 0
        batch.append(text)
        total += size
    if batch:
        yield batch
