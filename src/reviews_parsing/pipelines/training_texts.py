"""Digests of the texts that a model was trained on, logged with its run.

The gate compares them with the reviews that it evaluates on. A digest ignores case, punctuation and white space; the
texts themselves are not stored.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing import data, pretrained
from reviews_parsing.data.reading import UNLABELLED_FILE
from reviews_parsing.errors import ModelError
from reviews_parsing.registry.runs import fetch_file
from reviews_parsing.tagging import words

if TYPE_CHECKING:
    from reviews_parsing.registry.runs import MlflowRunLog
    from reviews_parsing.schema import Review

FILE = "training_texts.txt"
INCOMPLETE = "# incomplete: the texts of the checkpoint that training began with are unknown"


@dataclass(frozen=True, slots=True)
class TrainingTexts:
    """Digests of training texts; `complete` is False if the model began with a checkpoint of unknown texts."""

    digests: frozenset[str]
    complete: bool = True

    def overlap(self, reviews: Iterable[Review]) -> list[Review]:
        """Return the reviews whose text was trained on."""
        return [review for review in reviews if _digest(review.text) in self.digests]


def digest_texts(texts: Iterable[str], foundation: TrainingTexts | None = TrainingTexts(frozenset())) -> TrainingTexts:
    """Return the digests of `texts` and of those of the foundation; None for a foundation with unknown texts."""
    digests = frozenset(digest for text in texts if (digest := _digest(text)))
    if foundation is None:
        return TrainingTexts(digests, complete=False)
    return TrainingTexts(digests | foundation.digests, foundation.complete)


def log_training_texts(log: MlflowRunLog, texts: TrainingTexts) -> None:
    """Log the digests as an artifact of a run."""
    with tempfile.TemporaryDirectory() as scratch:
        lines = [*([] if texts.complete else [INCOMPLETE]), *sorted(texts.digests)]
        (Path(scratch) / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        log.file(Path(scratch) / FILE, "data")


def read_training_texts(run_id: str) -> TrainingTexts | None:
    """Return the digests of a run, None if it was logged without them (by an earlier release). Raises TrackingError."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            lines = fetch_file(run_id, f"data/{FILE}", Path(scratch)).read_text(encoding="utf-8").splitlines()
        except (ModelError, OSError):
            return None
    return TrainingTexts(frozenset(line for line in lines if not line.startswith("#")), INCOMPLETE not in lines)


def find_training_texts(source: str) -> TrainingTexts | None:
    """Return the digests of the texts behind a model or checkpoint: a pretrained one or `runs:/ID`; None for others.

    Those of the pretrained models and checkpoint are the texts of the shipped corpus.
    """
    if match := re.match(r"runs:/(\w+)", source):
        return read_training_texts(match[1])
    if source not in pretrained.MODELS:
        return None
    unlabelled = data.read(UNLABELLED_FILE, format="jsonl") if UNLABELLED_FILE.is_file() else []
    return digest_texts(review.text for review in [*data.read_splits("corpus")["train"], *unlabelled])


def _digest(text: str) -> str:
    """Return a digest of the words of a text, "" if it has none."""
    key = " ".join(text[start:end].casefold() for start, end in words(text) if text[start].isalnum())
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16] if key else ""
