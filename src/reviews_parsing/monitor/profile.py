"""Profile of a model: the features of its held-out reviews, stored in the model folder.

Training reviews are not used, because a model is more certain of them than of any others.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reviews_parsing.errors import ModelError
from reviews_parsing.io.files import write_bytes
from reviews_parsing.io.filesystems import first_line
from reviews_parsing.model_folder import PROFILE_FILE, ParserConfig
from reviews_parsing.monitor.features import COMPONENTS, FOREIGN, FeatureExtractor, Features, Floats
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Review

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 1
METADATA_KEY = b"reviews_parsing"
MAX_ROWS = 5000
"""More rows would not change the distributions."""
MIN_LETTER_SHARE = 1 / 1000
"""Letters in a smaller share of the training reviews count as foreign; names bring in every letter once."""


@dataclass(frozen=True)
class Profile:
    """Features of the held-out reviews, [reviews, features], and their extractor; `digest` identifies the profile."""

    extractor: FeatureExtractor
    features: Features
    digest: str = ""

    @classmethod
    def of(cls, parser: AspectParser, train: Sequence[Review], held_out: Sequence[Review]) -> Profile:
        """Compute the profile of `parser`, which was trained on `train`."""
        texts = [review.text for review in _subsample(train)]
        embeddings = np.concatenate([parser.embeddings(prepared, logits) for prepared, logits in parser.encoded(texts)])
        centre, components = _principal_components(embeddings)
        extractor = FeatureExtractor(parser.taxonomy, _common_characters(train), centre, components)
        return cls(extractor, extractor.extract(parser, (review.text for review in _subsample(held_out))))

    def write(self, folder: Path) -> None:
        """Write the profile into a model folder. Raises DataError if that fails."""
        metadata = {
            "format": FORMAT_VERSION,
            "alphabet": self.extractor.alphabet,
            "centre": _to_list(self.extractor.centre),
            "directions": _to_list(self.extractor.components),
        }
        write_bytes(folder / PROFILE_FILE, to_parquet(to_table(self.extractor.names, self.features), metadata))

    @classmethod
    def read(cls, folder: Path) -> Profile:
        """Read the profile of a model folder. Raises ModelError if it is missing, as in older models, or damaged.

        An older profile has no foreign texts: its reviews are in the languages that the model reads.
        """
        file = folder / PROFILE_FILE
        if not file.is_file():
            raise ModelError(f"the model in {folder} has no {PROFILE_FILE} to compare with; train it again")
        try:
            content = file.read_bytes()
            table, metadata = from_parquet(content)
            if metadata["format"] != FORMAT_VERSION:
                raise ModelError(
                    f"{file} has format {metadata['format']}, not {FORMAT_VERSION}; install the version that wrote it"
                )
            centre = np.array(metadata["centre"], np.float32)
            components = np.array(metadata["directions"], np.float32).reshape(len(metadata["directions"]), len(centre))
            config = ParserConfig.read(folder)
            extractor = FeatureExtractor(config.taxonomy, metadata["alphabet"], centre, components)
            features = from_table(table, extractor.names, foreign=0.0 if config.languages else math.nan)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{file} is damaged ({first_line(error)}); fetch the model again") from error
        return cls(extractor, features, hashlib.sha256(content).hexdigest()[:16])


def to_table(names: Sequence[str], features: Features, **columns: Any) -> pa.Table:
    """Return a table with a column per feature, null for nan, after the given `columns`."""
    import pyarrow as pa

    arrays = {
        name: pa.array(column, pa.float32(), from_pandas=True) for name, column in zip(names, features.T, strict=True)
    }
    return pa.table({**columns, **arrays})


def from_table(table: pa.Table, names: Sequence[str], foreign: float = math.nan) -> Features:
    """Return the features of a table. Raises KeyError if a column is missing.

    `foreign` is the value of the feature of that name in tables of older versions, which have no such column.
    """
    older = np.full(len(table), foreign, np.float32)
    columns = [
        older if name == FOREIGN and name not in table.column_names else table.column(name).to_numpy() for name in names
    ]
    return np.stack(columns, axis=1, dtype=np.float32)


def to_parquet(table: pa.Table, metadata: dict[str, Any]) -> bytes:
    """Return a Parquet file with JSON metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    encoded = json.dumps(metadata, ensure_ascii=True).encode()
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: encoded}), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def from_parquet(content: bytes) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table and the metadata. Raises ValueError or KeyError if `to_parquet` did not write the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A process that exits while Arrow starts its threads aborts, as a command with invalid input would.
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        table = file.read(use_threads=False)
    return table, json.loads((table.schema.metadata or {})[METADATA_KEY])


def _common_characters(reviews: Sequence[Review]) -> str:
    """Return the characters that at least MIN_LETTER_SHARE of the reviews contain."""
    counts = Counter(character for review in reviews for character in set(review.text))
    return "".join(sorted(character for character, n in counts.items() if n >= MIN_LETTER_SHARE * len(reviews)))


def _principal_components(embeddings: Floats) -> tuple[Floats, Floats]:
    """Return the mean [k] and the first principal components [d, k]."""
    centre = embeddings.mean(axis=0)
    if embeddings.shape[1] == 0:
        return centre, embeddings[:0]
    _, _, components = np.linalg.svd(embeddings - centre, full_matrices=False)
    return centre, components[:COMPONENTS]


def _subsample(reviews: Sequence[Review]) -> Sequence[Review]:
    """Return at most MAX_ROWS reviews, evenly spaced."""
    return reviews[:: -(-len(reviews) // MAX_ROWS) or 1]


def _to_list(values: Floats) -> Any:
    return np.round(values.astype(float), 6).tolist()
