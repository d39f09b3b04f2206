"""What a run counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reviews_parsing.batch.flow import Parsed


@dataclass(frozen=True, slots=True)
class Report:
    """What was done. `rows` came out, `parsed` of them held a text, in which `aspects` were found.

    `counts` is the number of aspects of each (category, polarity), the most frequent first; a polarity is None where
    the model knows none. `rejected` rows could not be parsed and are in the file or folder `rejects`; without one,
    `reject` says of the first where and why. `before` of the parsed were there already when a run was resumed.
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


@dataclass
class Tally:
    """Counted while it is done; `to_json` and back for the tally of a part."""

    rows: int = 0
    parsed: int = 0
    rejected: int = 0
    counts: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    reject: str | None = None

    def add(self, some: Parsed) -> None:
        self.rows += len(some.reviews)
        self.parsed += sum(bool(review.text.strip()) for review in some.reviews)
        self.rejected += len(some.chunk.rejects)
        for review in some.reviews:
            self.counts.update((aspect.entity_group, aspect.polarity) for aspect in review.aspects)
        if some.chunk.rejects and self.reject is None:
            first = some.chunk.rejects[0]
            self.reject = f"{some.chunk.name}:{first.line}: {first.reason}"

    def merge(self, other: Tally) -> None:
        self.rows += other.rows
        self.parsed += other.parsed
        self.rejected += other.rejected
        self.counts.update(other.counts)
        self.reject = self.reject or other.reject

    def report(self, seconds: float, rejects: str | None = None, before: int = 0) -> Report:
        counts = dict(self.counts.most_common())
        where = rejects if self.rejected else None
        return Report(
            self.rows, self.parsed, self.counts.total(), seconds, counts, self.rejected, where, self.reject, before
        )

    def to_json(self) -> dict[str, Any]:
        counts = [[category, polarity, count] for (category, polarity), count in sorted(self.counts.items(), key=str)]
        return {"rows": self.rows, "parsed": self.parsed, "rejected": self.rejected, "counts": counts}

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Tally:
        counts = Counter({(category, polarity): count for category, polarity, count in form["counts"]})
        return cls(form["rows"], form["parsed"], form["rejected"], counts)
