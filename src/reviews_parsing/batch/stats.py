"""Run statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import regex

from reviews_parsing.batch.rows import Chunk
from reviews_parsing.errors import DataError
from reviews_parsing.io.mojibake import MojibakeCount
from reviews_parsing.schema import ParsedReview

MAX_REJECT_REASONS = 3
DEFAULT_MAX_REJECTS = 0.05
_BLANK = regex.compile(r"[\s\p{Z}\p{C}]*(?:NA|#?N/A|<NA>|NaN|nan|NULL|null|None|\\N)?[\s\p{Z}\p{C}]*")


def is_blank(text: str) -> bool:
    """Return True for an empty text: spaces, control and zero-width characters, or a name of null."""
    return _BLANK.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Report:
    """Result of a run. `rows` were written; `parsed` of them have a text, `empty` have none, `aspects` were found.

    `counts` is the number of aspects by (category, polarity), the most frequent first; the polarity is None if the
    model knows none. `rejected` rows could not be parsed and are in the file or folder `rejects`; `reject_reasons` are
    the first of them, with file and line. `before` of the parsed rows were there already when the run was resumed.
    `foreign` is the number of texts by language that the model does not read, `mojibake` that of texts with characters
    of a wrong encoding; `mojibake_warning` names the first of them.
    """

    rows: int
    parsed: int
    aspects: int
    seconds: float
    counts: Mapping[tuple[str, str | None], int]
    rejected: int = 0
    rejects: str | None = None
    reject: str | None = None
    before: int = 0
    empty: int = 0
    reject_reasons: tuple[str, ...] = ()
    foreign: Mapping[str, int] = field(default_factory=dict)
    mojibake: int = 0
    mojibake_warning: str = ""

    def require_few_rejects(self, max_share: float = DEFAULT_MAX_REJECTS) -> None:
        """Raise DataError if more rows were rejected than parsed, or more than `max_share` of all rows."""
        total = self.rows + self.rejected
        if not self.rejected or (self.rejected <= self.parsed and self.rejected <= max_share * total):
            return
        note = f", all in {self.rejects}" if self.rejects else ""
        limit = f"more than --max-rejects {100 * max_share:g} %" if self.rejected <= self.parsed else "more than parsed"
        raise DataError(
            f"{self.rejected:,} of {total:,} rows were rejected, {limit}: {'; '.join(self.reject_reasons)}{note}; "
            "correct them, or raise --max-rejects"
        )


@dataclass
class Stats:
    """Counters of a run under way; `to_json` and back for the counters of a part."""

    rows: int = 0
    parsed: int = 0
    rejected: int = 0
    counts: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    reject_reasons: list[str] = field(default_factory=list)
    foreign: Counter[str] = field(default_factory=Counter)
    mojibake: MojibakeCount = field(default_factory=MojibakeCount)

    def add(self, chunk: Chunk, reviews: Sequence[ParsedReview]) -> None:
        """Count the rows of a chunk and the reviews parsed from it."""
        self.rows += len(reviews)
        self.parsed += sum(bool(review.aspects) or not is_blank(review.text) for review in reviews)
        self.rejected += len(chunk.rejects)
        for i, review in enumerate(reviews):
            self.mojibake.add(review.text, chunk.name, chunk.lines[i] if i < len(chunk.lines) else None)
            self.counts.update((aspect.entity_group, aspect.polarity) for aspect in review.aspects)
            if review.foreign:
                self.foreign[review.language or "und"] += 1
        for reject in chunk.rejects[: MAX_REJECT_REASONS - len(self.reject_reasons)]:
            self.reject_reasons.append(f"{chunk.name}:{reject.line}: {reject.reason}")

    def merge(self, stats: Stats) -> None:
        """Add the counters of a part."""
        self.rows += stats.rows
        self.parsed += stats.parsed
        self.rejected += stats.rejected
        self.counts.update(stats.counts)
        self.foreign.update(stats.foreign)
        self.mojibake.merge(stats.mojibake)
        self.reject_reasons = [*self.reject_reasons, *stats.reject_reasons][:MAX_REJECT_REASONS]

    def report(self, seconds: float, rejects: str | None = None, before: int = 0) -> Report:
        """Return the result of a run; `rejects` is the file or folder of the rejected rows."""
        return Report(
            rows=self.rows,
            parsed=self.parsed,
            aspects=self.counts.total(),
            seconds=seconds,
            counts=dict(self.counts.most_common()),
            rejected=self.rejected,
            rejects=rejects if self.rejected else None,
            reject=next(iter(self.reject_reasons), None),
            before=before,
            empty=self.rows - self.parsed,
            reject_reasons=tuple(self.reject_reasons),
            foreign=dict(self.foreign.most_common()),
            mojibake=self.mojibake.texts,
            mojibake_warning=self.mojibake.describe(),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the counters as JSON values."""
        counts = [[category, polarity, count] for (category, polarity), count in sorted(self.counts.items(), key=str)]
        return {
            "rows": self.rows,
            "parsed": self.parsed,
            "rejected": self.rejected,
            "counts": counts,
            "reject_reasons": self.reject_reasons,
            "foreign": dict(sorted(self.foreign.items())),
            "mojibake": [self.mojibake.texts, self.mojibake.first],
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Stats:
        """Return the counters that `to_json` has stored."""
        counts = Counter({(category, polarity): count for category, polarity, count in form["counts"]})
        reasons = list(form.get("reject_reasons", []))
        foreign, mojibake = Counter(form.get("foreign", {})), MojibakeCount(*form.get("mojibake", ()))
        return cls(form["rows"], form["parsed"], form["rejected"], counts, reasons, foreign, mojibake)
