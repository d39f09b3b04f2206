"""What the reviews of training are like, in numbers: the measure of live traffic, kept in the model folder.

The numbers are of held-out reviews: of those that it has learned from, a model is surer than of any other.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reviews_parsing.errors import ModelError
from reviews_parsing.io.files import write_bytes
from reviews_parsing.model_folder import PROFILE_FILE
from reviews_parsing.monitor.numbers import DIRECTIONS, Floats, Gauge, Numbers
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Review

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
METADATA = b"reviews_parsing"
# Rows that say all that more would.
MOST = 5000
# What fewer of the training reviews have is foreign to them: among thousands is every letter, in somebody's name.
LETTER_FROM = 1 / 1000


@dataclass(frozen=True)
class Profile:
    """`numbers` [reviews, names of the gauge]; `digest` tells profiles apart."""

    gauge: Gauge
    numbers: Numbers
    digest: str = ""

    @classmethod
    def of(cls, parser: AspectParser, train: Sequence[Review], held_out: Sequence[Review]) -> Profile:
        """What `parser`, which was trained on `train`, makes of `held_out`."""
        texts = [review.text for review in _some(train)]
        chunks = [parser.embeddings(prepared, logits) for prepared, logits in parser.encoded(texts)]
        centre, directions = _main_directions(np.concatenate(chunks))
        gauge = Gauge(parser.taxonomy, _alphabet(train), centre, directions)
        return cls(gauge, measure(parser, gauge, (review.text for review in _some(held_out))))

    def write(self, folder: Path) -> None:
        """Into a model folder. Raises DataError where that fails."""
        about = {
            "format": FORMAT,
            "alphabet": self.gauge.alphabet,
            "centre": _plain(self.gauge.centre),
            "directions": _plain(self.gauge.directions),
        }
        write_bytes(folder / PROFILE_FILE, to_parquet(to_table(self.gauge.names, self.numbers), about))

    @classmethod
    def read(cls, folder: Path) -> Profile:
        """Of a model folder. Raises ModelError where it has none, as models of before, or it is damaged."""
        from reviews_parsing.model_folder import ParserConfig

        file = folder / PROFILE_FILE
        if not file.is_file():
            raise ModelError(f"the model in {folder} has no {PROFILE_FILE} to compare with; train it again")
        try:
            content = file.read_bytes()
            table, about = from_parquet(content)
            if about["format"] != FORMAT:
                raise ModelError(f"{file} has format {about['format']}, not {FORMAT}; install the version that made it")
            centre = np.array(about["centre"], np.float32)
            directions = np.array(about["directions"], np.float32).reshape(len(about["directions"]), len(centre))
            gauge = Gauge(ParserConfig.read(folder).taxonomy, about["alphabet"], centre, directions)
            numbers = to_numbers(table, gauge.names)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{file} is damaged ({_first_line(error)}); fetch the model again") from error
        return cls(gauge, numbers, hashlib.sha256(content).hexdigest()[:16])


def measure(parser: AspectParser, gauge: Gauge, texts: Iterable[str]) -> Numbers:
    """The numbers of each text, [texts, names]."""
    rows = [
        gauge.measure(parser, prepared, logits, parser.finish(prepared, logits))
        for prepared, logits in parser.encoded(texts)
    ]
    return np.concatenate(rows)


def to_table(names: Sequence[str], numbers: Numbers, **more: Any) -> pa.Table:
    """One column for each number, null for nan; `more` columns come first."""
    import pyarrow as pa

    columns = {
        name: pa.array(column, pa.float32(), from_pandas=True) for name, column in zip(names, numbers.T, strict=True)
    }
    return pa.table({**more, **columns})


def to_numbers(table: pa.Table, names: Sequence[str]) -> Numbers:
    """Inverse of `to_table`. Raises KeyError where a column is missing."""
    return np.stack([table.column(name).to_numpy().astype(np.float32) for name in names], axis=1)


def to_parquet(table: pa.Table, about: dict[str, Any]) -> bytes:
    """A file that says of itself what `about` says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    form = json.dumps(about, ensure_ascii=True).encode()
    pq.write_table(table.replace_schema_metadata({METADATA: form}), sink, compression="zstd")
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def from_parquet(content: bytes) -> tuple[pa.Table, dict[str, Any]]:
    """Inverse of `to_parquet`. Raises ValueError or KeyError where it is none of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # In this thread: one that has just begun aborts a process that ends at once, as a command with bad input does.
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        table = file.read(use_threads=False)
    return table, json.loads((table.schema.metadata or {})[METADATA])


def _alphabet(reviews: Sequence[Review]) -> str:
    """The characters that at least LETTER_FROM of the reviews have."""
    reviews_with = Counter(character for review in reviews for character in set(review.text))
    return "".join(sorted(its for its, count in reviews_with.items() if count >= LETTER_FROM * len(reviews)))


def _main_directions(embeddings: Floats) -> tuple[Floats, Floats]:
    """Their mean, and the directions in which they differ most (PCA): [k] and [d, k]."""
    centre = embeddings.mean(axis=0)
    if embeddings.shape[1] == 0:
        return centre, embeddings[:0]
    _, _, directions = np.linalg.svd(embeddings - centre, full_matrices=False)
    return centre, directions[:DIRECTIONS]


def _some(reviews: Sequence[Review]) -> Sequence[Review]:
    """At most MOST, drawn evenly."""
    return reviews[:: -(-len(reviews) // MOST) or 1]


def _plain(values: Floats) -> Any:
    return np.round(values.astype(float), 6).tolist()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
