"""Candidates for findings: tests of counts over time and between groups, with p-values adjusted together.

Every share of reviews that mention, praise or blame a category or topic is tested for a change over time, for a
difference between each group and all other reviews, and for a change within each group; so are mean stars.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from reviews_parsing.insights.counts import MEASURES, Cube
from reviews_parsing.insights.results import Driver, Group, Rating
from reviews_parsing.insights.statistics import best_splits, two_share_p, weighted_fdr, welch_p

if TYPE_CHECKING:
    import numpy as np

MIN_REVIEWS = 10
"""Reviews on each side of a test."""
MIN_HITS = 4
"""Reviews with a measure, and without it, that a test needs to be able to find anything."""
TESTED_SHARES = (
    *((measure, "reviews") for measure in MEASURES),
    ("praise", "mentions"),
    ("blame", "mentions"),
)
"""Measures with the reviews that they are shares of; shares of mentions are tested for categories only."""
FAMILY_SHARES = {
    "change": 0.15,
    "group_change": 0.25,
    "group": 0.15,
    "topic_change": 0.15,
    "topic_group_change": 0.1,
    "topic_group": 0.05,
    "stars": 0.05,
    "rating": 0.1,
}
"""Shares of the false discovery rate for each kind of test."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A column with its groups and counts. `changes` tells whether changes within groups are tested."""

    column: str
    groups: Sequence[Group]
    cube: Cube
    topic_cube: Cube
    changes: bool


@dataclass
class Candidate:
    """A test with its numbers.

    Args:
        kind: change, group_change or group.
        of: Number of the category or topic (-1 for stars), whether it is a topic, measure, and base of the share.
        scope: Number of the column and of the group, and the first period after a change, each None if not applicable.
        counts: Hits and total after the change or in the group, then hits and total before or elsewhere. For stars,
            hits are means.
        p: p-value, corrected for the choice of the change point.
    """

    kind: str
    of: tuple[int, bool, str, str]
    scope: tuple[int | None, int | None, int | None]
    counts: tuple[float, int, float, int]
    p: float
    mentions_before: int = 0
    adjusted: float = 1.0
    note: str = ""

    def __post_init__(self) -> None:
        self.subject, self.topic, self.measure, self.base = self.of
        self.dimension, self.group, self.split = self.scope
        self.hits, self.total, self.other_hits, self.other_total = self.counts
        self.key = self.dimension, self.group, self.split is not None

    @property
    def excess(self) -> float:
        """Number of reviews (or stars) above what the other share would give."""
        if self.measure == "stars":
            return self.total * (self.hits - self.other_hits)
        return self.hits - self.total * self.other_hits / max(1, self.other_total)

    @property
    def direction(self) -> str:
        """Tell whether the fact is worse, better, more or fewer."""
        up = bool(self.excess > 0)
        if self.measure == "mentions":
            return "more" if up else "fewer"
        return "better" if up == (self.measure in ("praise", "stars")) else "worse"


@dataclass(frozen=True, slots=True)
class CountTests:
    """The counts of one analysis, and their tests.

    `topics` are (id, category, name), `starts` the periods, `overall` the cubes of categories and of topics.
    """

    categories: Sequence[str]
    topics: Sequence[tuple[str, str, str]]
    starts: Sequence[date]
    overall: tuple[Cube, Cube]
    dimensions: Sequence[Dimension]

    def run(self, rating: Rating | None, eligible_topics: int) -> tuple[list[Candidate], list[tuple[Driver, float]]]:
        """Return all tests with adjusted p-values, and the effects on ratings with theirs.

        `eligible_topics` is the number of topics that the counted ones were chosen from.
        """
        import numpy as np

        families: dict[str, list[Candidate]] = {name: [] for name in FAMILY_SHARES if name != "rating"}
        families["change"] = list(self._changes(None, None, False))
        families["topic_change"] = list(self._changes(None, None, True))
        for d, dimension in enumerate(self.dimensions):
            for topic in (False, True):
                prefix = "topic_" if topic else ""
                families[f"{prefix}group"] += self._contrasts(d, topic)
                if dimension.changes and len(self.starts) > 1:
                    for g, group in enumerate(dimension.groups):
                        if not group.pooled:
                            families[f"{prefix}group_change"] += self._changes(d, g, topic)
        if rating is not None:
            families["stars"] = list(self._star_tests())
        drivers = rating.drivers if rating is not None else ()
        p_values = {name: [c.p for c in family] for name, family in families.items()}
        p_values["rating"] = [driver.p for driver in drivers]
        inflation = max(1.0, eligible_topics / max(1, len(self.topics)))
        corrected = weighted_fdr(
            [
                (np.array(p_values[name]), share / inflation if name.startswith("topic_") else share)
                for name, share in FAMILY_SHARES.items()
            ]
        )
        adjusted = {name: values.tolist() for name, values in zip(FAMILY_SHARES, corrected, strict=True)}
        for name, family in families.items():
            for candidate, p in zip(family, adjusted[name], strict=True):
                candidate.adjusted = p
        candidates = [candidate for family in families.values() for candidate in family]
        return candidates, list(zip(drivers, adjusted["rating"], strict=True))

    def cube(self, dimension: int | None, topic: bool) -> Cube:
        """Return the counts of categories or topics in the groups of a column, or of all reviews."""
        if dimension is None:
            return self.overall[topic]
        return self.dimensions[dimension].topic_cube if topic else self.dimensions[dimension].cube

    def arrays(self, c: Candidate, dimension: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return hits and total of a candidate's measure by period and group of a column."""
        cube = self.cube(dimension, c.topic)
        total = self.cube(dimension, False).total if c.base == "reviews" else cube.hits[c.subject, 0]
        return cube.hits[c.subject, MEASURES.index(c.measure)], total

    def group(self, c: Candidate) -> Group:
        """Return the group of a candidate."""
        return self.dimensions[c.dimension or 0].groups[c.group or 0]

    def _changes(self, dimension: int | None, group: int | None, topic: bool) -> Iterator[Candidate]:
        """Yield a test for each subject and measure: the best split of its series."""
        import numpy as np

        cube = self.cube(dimension, topic)
        g = group or 0
        periods = len(self.starts)
        totals = self.cube(dimension, False).total[:periods, g]
        for measure, base in TESTED_SHARES[: 3 if topic else 5]:
            hits = cube.hits[:, MEASURES.index(measure), :periods, g]
            total = np.broadcast_to(totals, hits.shape) if base == "reviews" else cube.hits[:, 0, :periods, g]
            possible = np.flatnonzero(_possible(hits.sum(axis=1), total.sum(axis=1)))
            if not len(possible):
                continue
            p, split = best_splits(hits[possible], total[possible], MIN_REVIEWS)
            for n, subject in enumerate(possible):
                if split[n] == 0:
                    continue
                parts = slice(None, split[n]), slice(split[n], None)
                hits_before, hits_after = (int(hits[subject, part].sum()) for part in parts)
                total_before, total_after = (int(total[subject, part].sum()) for part in parts)
                yield Candidate(
                    "change" if group is None else "group_change",
                    (int(subject), topic, measure, base),
                    (dimension, group, int(split[n])),
                    (hits_after, total_after, hits_before, total_before),
                    float(p[n]),
                    mentions_before=int(cube.hits[subject, 0, : split[n], g].sum()),
                )

    def _contrasts(self, d: int, topic: bool) -> Iterator[Candidate]:
        """Yield a test for each subject, measure and group: the group against all other reviews."""
        import numpy as np

        cube, groups = self.cube(d, topic), self.dimensions[d].groups
        if len(groups) < 2:
            return
        totals = self.dimensions[d].cube.total.sum(axis=0)
        for measure, base in TESTED_SHARES[: 3 if topic else 5]:
            hits = cube.hits[:, MEASURES.index(measure)].sum(axis=1)
            total = np.broadcast_to(totals, hits.shape) if base == "reviews" else cube.hits[:, 0].sum(axis=1)
            rest_hits, rest_total = hits.sum(axis=1)[:, None] - hits, total.sum(axis=1)[:, None] - total
            p = two_share_p(hits, total, rest_hits, rest_total)
            possible = _possible(hits.sum(axis=1), total.sum(axis=1))[:, None]
            possible = possible & (total >= MIN_REVIEWS) & (rest_total >= MIN_REVIEWS)
            for subject, g in np.argwhere(possible):
                # Of two groups, each is the rest of the other.
                if len(groups) == 2 and g == 1:
                    continue
                yield Candidate(
                    "group",
                    (int(subject), topic, measure, base),
                    (d, int(g), None),
                    (
                        int(hits[subject, g]),
                        int(total[subject, g]),
                        int(rest_hits[subject, g]),
                        int(rest_total[subject, g]),
                    ),
                    float(p[subject, g]),
                )

    def _star_tests(self) -> Iterator[Candidate]:
        """Yield Welch tests of mean stars: changes overall and in groups, and groups against all other reviews."""
        import numpy as np

        periods = len(self.starts)
        for d in (None, *range(len(self.dimensions))):
            stars = self.cube(d, False).stars
            groups = [Group("", 0)] if d is None else self.dimensions[d].groups
            for g, group in enumerate(groups):
                if group.pooled:
                    continue
                series = stars[:, :periods, g]
                if (d is None or self.dimensions[d].changes) and periods > 1:
                    sums_before = series.cumsum(axis=1)[:, :-1]
                    sums_after = series.sum(axis=1)[:, None] - sums_before
                    p = welch_p(sums_after, sums_before)
                    eligible = (sums_before[0] >= MIN_REVIEWS) & (sums_after[0] >= MIN_REVIEWS)
                    if eligible.any():
                        split = int(np.where(eligible, p, 2).argmin())
                        yield self._star_candidate(
                            "change" if d is None else "group_change",
                            d,
                            None if d is None else g,
                            split + 1,
                            sums_after[:, split],
                            sums_before[:, split],
                            min(1.0, float(p[split]) * int(eligible.sum())),
                        )
                if d is not None and len(groups) > 1 and not (len(groups) == 2 and g == 1):
                    group_sum = stars[:, :, g].sum(axis=1)
                    rest_sum = stars.sum(axis=(1, 2)) - group_sum
                    if min(group_sum[0], rest_sum[0]) >= MIN_REVIEWS:
                        p = welch_p(group_sum[:, None], rest_sum[:, None])
                        yield self._star_candidate("group", d, g, None, group_sum, rest_sum, float(p[0]))

    def _star_candidate(
        self,
        kind: str,
        d: int | None,
        g: int | None,
        split: int | None,
        sums: np.ndarray,
        other_sums: np.ndarray,
        p: float,
    ) -> Candidate:
        counts = float(sums[1] / sums[0]), int(sums[0]), float(other_sums[1] / other_sums[0]), int(other_sums[0])
        return Candidate(kind, (-1, False, "stars", "reviews"), (d, g, split), counts, p)


def _possible(hits: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Tell whether a test with these margins can be significant at all (Tarone, 1990)."""
    possible: np.ndarray = (hits >= MIN_HITS) & (total - hits >= MIN_HITS) & (total >= 2 * MIN_REVIEWS)
    return possible
