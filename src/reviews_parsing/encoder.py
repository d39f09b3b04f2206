"""The encoder: pieces of text as token ids in, logits of wanted tokens out.

Pieces of like length share a run, as many as fill a core well; runs are spread over threads, one core each. The int8
scales of a model are fixed in its file, so what shares a run with a piece does not move its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reviews_parsing import engines
from reviews_parsing.tagging.crf import Floats

# What a graph calls its outputs; all but the first may be missing.
OUTPUTS = ("tag_logits", "polarity_logits", "implicit_logits", "opinion_logits", "link_logits")
# Of a piece as a whole: the mean of what the heads read of its tokens. Models of before lack it.
EMBEDDING = "embedding"
# Tokens of a run, padding included: more do not fit a core's cache, fewer leave it waiting for weights.
MOST, LEAST = 512, 96
# What a run costs by itself, in tokens: a run that pads more than this is better two.
PADDING = 12


class Piece(NamedTuple):
    """Token ids with the special ones, and the places among them whose logits are wanted, in order."""

    ids: list[int]
    wanted: list[int]


class Logits(NamedTuple):
    """Of all wanted tokens of all pieces, in order: shape [n, k]; k is 0 for what the model does not know.

    Of tags, of polarities, of each implicit category with each polarity, of tags of opinions, and what links aspects to
    opinions (`tagging.link_opinions`). `embeddings` are of pieces: shape [pieces, k].
    """

    tags: Floats
    polarities: Floats
    implicit: Floats
    opinions: Floats
    links: Floats
    embeddings: Floats


class Encoder:
    """The model in an ONNX file; safe to share between threads. With one thread it works in the caller's."""

    def __init__(self, model: Path, threads: int, engine: str = "onnxruntime") -> None:
        self._engine = engines.load(model, engine)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encode") if threads > 1 else None

    @property
    def engine(self) -> str:
        """The name of what runs the graph."""
        return self._engine.name

    def begin(self, pieces: Sequence[Piece]) -> Callable[[], Logits]:
        """Start the work on `pieces`; what is returned waits for it and gives the logits."""
        counts = np.array([len(piece.wanted) for piece in pieces], dtype=np.int64)
        ends = np.cumsum(counts)
        starts = ends - counts
        total = int(counts.sum())
        rows = {EMBEDDING: len(pieces)}
        gathered = {
            name: np.empty((rows.get(name, total), width), np.float32) for name, width in self._engine.widths.items()
        }

        def run(batch: list[int]) -> None:
            longest = max(len(pieces[i].ids) for i in batch)
            ids = np.zeros((len(batch), longest), np.int64)
            mask = np.zeros((len(batch), longest), np.int64)
            for row, i in enumerate(batch):
                length = len(pieces[i].ids)
                ids[row, :length] = pieces[i].ids
                mask[row, :length] = 1
            outputs = self._engine.run(ids, mask)
            found = dict(zip(gathered, outputs, strict=True))
            if EMBEDDING in found:
                gathered[EMBEDDING][batch] = found.pop(EMBEDDING)
            for row, i in enumerate(batch):
                for name, output in found.items():
                    gathered[name][starts[i] : ends[i]] = output[row, pieces[i].wanted]

        batches = list(self.batches([len(piece.ids) for piece in pieces]))
        futures = []
        if self._pool and len(batches) > 1:
            futures = [self._pool.submit(run, batch) for batch in batches]
        else:
            for batch in batches:
                run(batch)

        def logits() -> Logits:
            for future in futures:
                future.result()
            unknown = np.empty((total, 0), np.float32)
            embeddings = gathered.get(EMBEDDING, np.empty((len(pieces), 0), np.float32))
            return Logits._make([*(gathered.get(name, unknown) for name in OUTPUTS), embeddings])

        return logits

    def batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Numbers of pieces, longest first, that share a run; fewer in each where that gives every thread its share."""
        budget = min(MOST, max(LEAST, sum(lengths) // self._threads))
        batch: list[int] = []
        longest = padding = 0
        for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
            padding += longest - lengths[i]
            if batch and (padding > PADDING or (len(batch) + 1) * longest > budget):
                yield batch
                batch = []
            if not batch:
                longest, padding = lengths[i], 0
            batch.append(i)
        if batch:
            yield batch
