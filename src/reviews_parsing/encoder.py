"""Encoder: token ids of text windows in, logits of their words out.

Pieces of similar length share a batch; batches run in a thread pool, one core each. Logits do not depend on the other
pieces of a batch, because the int8 scales are constants of the model file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reviews_parsing import engines
from reviews_parsing.tagging.crf import Floats

# Names of the graph's outputs; all but the first are optional.
OUTPUTS = ("tag_logits", "polarity_logits", "implicit_logits", "opinion_logits", "link_logits")
# Output with the mean of a piece's token features; older models lack it.
EMBEDDING = "embedding"
# Larger batches exceed the cache of a core, smaller ones are bound by loading weights. Padding counts.
MIN_BATCH_TOKENS, MAX_BATCH_TOKENS = 96, 512
# The fixed cost of a batch equals that of 12 tokens: a batch with more padding is better split.
MAX_PADDING_TOKENS = 12


class Piece(NamedTuple):
    """Token ids of a window with special tokens, and the positions of the first tokens of its words."""

    ids: list[int]
    positions: list[int]


class Logits(NamedTuple):
    """Logits of n words in order, shape [n, k]; k is 0 for outputs that the model lacks.

    `implicit` has a column for each implicit category and polarity; `links` are queries and keys for
    `tagging.link_opinions`; `embeddings` of shape [pieces, k] are one row per piece.
    """

    tags: Floats
    polarities: Floats
    implicit: Floats
    opinions: Floats
    links: Floats
    embeddings: Floats


class Encoder:
    """Thread-safe model from an ONNX file."""

    def __init__(self, model: Path, threads: int, engine: str = "onnxruntime") -> None:
        self._engine = engines.load(model, engine)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encode") if threads > 1 else None

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return self._engine.name

    @property
    def widths(self) -> Mapping[str, int]:
        """Last axis of each output of the graph."""
        return self._engine.widths

    def submit(self, pieces: Sequence[Piece], threads: int | None = None) -> Callable[[], Logits]:
        """Start encoding `pieces` in up to `threads` threads, and return a function that waits for their logits.

        With one thread, that of the caller, they are encoded before it returns.
        """
        threads = min(threads or self._threads, self._threads)
        counts = np.array([len(piece.positions) for piece in pieces], dtype=np.int64)
        ends = np.cumsum(counts)
        starts = ends - counts
        total = int(counts.sum())
        rows = {EMBEDDING: len(pieces)}
        gathered = {
            name: np.empty((rows.get(name, total), width), np.float32) for name, width in self._engine.widths.items()
        }

        def run(batch: list[int]) -> None:
            lengths = np.array([len(pieces[i].ids) for i in batch])
            mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
            ids = np.zeros(mask.shape, np.int64)
            ids[mask.astype(bool)] = np.concatenate([pieces[i].ids for i in batch])
            outputs = dict(zip(gathered, self._engine.run(ids, mask), strict=True))
            if EMBEDDING in outputs:
                gathered[EMBEDDING][batch] = outputs.pop(EMBEDDING)
            # Row and position of each word in the outputs, and its number among all words.
            rows = np.repeat(np.arange(len(batch)), counts[batch])
            positions = np.array([position for i in batch for position in pieces[i].positions], np.int64)
            words = np.concatenate([np.arange(starts[i], ends[i]) for i in batch])
            for name, output in outputs.items():
                gathered[name][words] = output[rows, positions]

        batches = list(self.batches([len(piece.ids) for piece in pieces], threads))
        futures = []
        if self._pool and threads > 1 and len(batches) > 1:
            futures = [self._pool.submit(run, batch) for batch in batches]
        else:
            for batch in batches:
                run(batch)

        def logits() -> Logits:
            for future in futures:
                future.result()
            absent = np.empty((total, 0), np.float32)
            embeddings = gathered.get(EMBEDDING, np.empty((len(pieces), 0), np.float32))
            return Logits._make([*(gathered.get(name, absent) for name in OUTPUTS), embeddings])

        return logits

    def batches(self, lengths: Sequence[int], threads: int) -> Iterator[list[int]]:
        """Yield the indices of pieces that share a batch, longest first; batches are small enough for all threads."""
        budget = min(MAX_BATCH_TOKENS, max(MIN_BATCH_TOKENS, sum(lengths) // threads))
        batch: list[int] = []
        longest = padding = 0
        for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
            padding += longest - lengths[i]
            if batch and (padding > MAX_PADDING_TOKENS or (len(batch) + 1) * longest > budget):
                yield batch
                batch = []
            if not batch:
                longest, padding = lengths[i], 0
            batch.append(i)
        if batch:
            yield batch
