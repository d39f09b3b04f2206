"""Findings: significant changes, differences of groups and effects on ratings, one for each fact, ranked.

Every share of reviews that mention, praise or blame a category or topic is tested for a change over time, for a
difference between each group and all other reviews, and for a change within each group. All p-values are adjusted
together. A fact shows in many tests: a place that got worse changes the total, differs from other places, and has a
topic behind it. So a test is dropped if it is no longer significant without the reviews of a more specific finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import log10
from typing import TYPE_CHECKING

from reviews_parsing.insights.counts import Cube
from reviews_parsing.insights.results import (
    Change,
    Comparison,
    Contrast,
    Driver,
    Finding,
    Group,
    Insights,
    RangeComparison,
    RangeDifference,
    Rating,
)
from reviews_parsing.insights.results import Topic as TopicResult
from reviews_parsing.insights.statistics import (
    MIN_DIFFERENCE,
    SIGNIFICANCE_LEVEL,
    best_splits,
    is_reportable,
    two_share_p,
    weighted_fdr,
    wilson,
)
from reviews_parsing.insights.text import enumeration, percent, period_name, points

if TYPE_CHECKING:
    import numpy as np

MIN_REVIEWS = 10
"""Reviews on each side of a test; and reviews that must mention a category called the most praised or blamed."""
MIN_HITS = 4
"""Reviews with a measure, and without it, that a test needs to be able to find anything."""
MIN_EXCESS = 3
EXPLAINED_P = 1e-3
"""A test without the reviews of another finding is explained by it if its p-value is larger."""
STRONGER = 0.1
"""A change in mentions is the fact, rather than the praise or blame in them, if its p-value is that much smaller."""
EXPLAINED_SHARE = 0.6
"""A category is explained by a topic with that share of its excess reviews."""
VERBS = {"mentions": "mention", "praise": "praise", "blame": "blame"}
MEASURES = (
    ("mentions", "reviews"),
    ("praise", "reviews"),
    ("blame", "reviews"),
    ("praise", "mentions"),
    ("blame", "mentions"),
)
"""Measures with the reviews that they are shares of."""
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
class _Candidate:
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


class FindingSearch:
    """Search for findings in the counts of one analysis."""

    def __init__(
        self,
        categories: Sequence[str],
        topics: Sequence[tuple[str, str, str]],
        starts: Sequence[date],
        overall: tuple[Cube, Cube],
        dimensions: Sequence[Dimension],
        rating: Rating | None,
        eligible_topics: int,
        grain: str | None,
    ) -> None:
        """Prepare a search. `topics` are (id, category, name); `overall` are the cubes of categories and of topics."""
        self.categories, self.topics, self.starts, self.grain = categories, topics, starts, grain
        self.overall, self.dimensions, self.rating = overall, dimensions, rating
        self.topic_inflation = max(1.0, eligible_topics / max(1, len(topics)))
        self.candidates: list[_Candidate] = []
        self.drivers: list[tuple[Driver, float]] = []

    def run(self) -> None:
        """Test everything; `candidates` are then all tests with adjusted p-values, `drivers` those of ratings."""
        import numpy as np

        families: dict[str, list[_Candidate]] = {name: [] for name in FAMILY_SHARES}
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
        if self.rating is not None:
            families["stars"] = list(self._star_tests())
        drivers = list(self.rating.drivers) if self.rating else []
        ps = [
            (np.array([c.p for c in families[name]]), share)
            for name, share in FAMILY_SHARES.items()
            if name != "rating"
        ]
        for n, name in enumerate(name for name in FAMILY_SHARES if name != "rating"):
            if name.startswith("topic_"):
                ps[n] = ps[n][0], ps[n][1] / self.topic_inflation
        ps.append((np.array([d.p for d in drivers]), FAMILY_SHARES["rating"]))
        corrected = weighted_fdr(ps)
        for name, values in zip((name for name in FAMILY_SHARES if name != "rating"), corrected, strict=False):
            for candidate, value in zip(families[name], values, strict=True):
                candidate.adjusted = float(value)
            self.candidates += families[name]
        self.drivers = [(driver, float(p)) for driver, p in zip(drivers, corrected[-1], strict=True)]

    def changes(self) -> tuple[Change, ...]:
        """Return the significant changes of categories, overall and in groups, in order of their p-values."""
        significant_changes = [
            c
            for c in self.candidates
            if c.split is not None and not c.topic and c.measure != "stars" and c.adjusted < SIGNIFICANCE_LEVEL
        ]
        significant_changes.sort(key=lambda c: (c.adjusted, c.p, c.subject))
        return tuple(
            Change(
                category=self.categories[c.subject],
                measure=c.measure,
                since=self.starts[c.split or 0],
                before=wilson(int(c.other_hits), c.other_total),
                after=wilson(int(c.hits), c.total),
                p=c.p,
                adjusted=c.adjusted,
                base=c.base,
                column=None if c.dimension is None else self.dimensions[c.dimension].column,
                group=None if c.dimension is None else self._group(c).value,
                n_before=c.other_total,
                n_after=c.total,
            )
            for c in significant_changes
        )

    def topic_trends(self) -> dict[int, _Candidate]:
        """Return the most significant change in mentions of each topic over all reviews."""
        trends: dict[int, _Candidate] = {}
        for c in self.candidates:
            is_trend = c.topic and c.kind == "change" and c.measure == "mentions" and c.adjusted < SIGNIFICANCE_LEVEL
            if is_trend and (c.subject not in trends or c.p < trends[c.subject].p):
                trends[c.subject] = c
        return trends

    def findings(self) -> tuple[Finding, ...]:
        """Return the findings, one for each fact, the most important first."""
        significant = [
            c
            for c in self.candidates
            if c.adjusted < SIGNIFICANCE_LEVEL
            and (
                abs(c.hits - c.other_hits) >= 0.1
                if c.measure == "stars"
                else abs(c.excess) >= MIN_EXCESS
                and abs(c.hits / c.total - c.other_hits / c.other_total) >= MIN_DIFFERENCE
            )
            and not (c.group is not None and self._group(c).pooled)
        ]
        candidates = self._best_measures([c for c in significant if c.measure != "stars"])
        candidates = self._drop_explained_scopes(candidates)
        candidates = self._drop_explained_levels(candidates)
        candidates = self._drop_other_columns(candidates)
        stars = self._drop_explained_scopes(self._best_measures([c for c in significant if c.measure == "stars"]))
        candidates += self._attach_stars(stars, candidates)
        findings = [self._finding(c) for c in candidates]
        findings += [_driver_finding(driver, p, self._name(driver), self.rating) for driver, p in self._best_drivers()]
        tiers = {"mentions": 2, "effect": 1}
        findings.sort(key=lambda f: (tiers.get(f.measure, 0), -f.score, f.p, f.id))
        return tuple(findings)

    def _changes(self, dimension: int | None, group: int | None, topic: bool) -> Iterator[_Candidate]:
        """Yield a test for each subject and measure: the best split of its series."""
        import numpy as np

        cube = self._cube(dimension, topic)
        g = group or 0
        periods = len(self.starts)
        totals = self._cube(dimension, False).total[:periods, g]
        for measure, base in MEASURES[: 3 if topic else 5]:
            hits = cube.hits[:, _index(measure), :periods, g]
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
                yield _Candidate(
                    "change" if group is None else "group_change",
                    (int(subject), topic, measure, base),
                    (dimension, group, int(split[n])),
                    (hits_after, total_after, hits_before, total_before),
                    float(p[n]),
                    mentions_before=int(cube.hits[subject, 0, : split[n], g].sum()),
                )

    def _contrasts(self, d: int, topic: bool) -> Iterator[_Candidate]:
        """Yield a test for each subject, measure and group: the group against all other reviews."""
        import numpy as np

        cube, groups = self._cube(d, topic), self.dimensions[d].groups
        if len(groups) < 2:
            return
        totals = self.dimensions[d].cube.total.sum(axis=0)
        for measure, base in MEASURES[: 3 if topic else 5]:
            hits = cube.hits[:, _index(measure)].sum(axis=1)
            total = np.broadcast_to(totals, hits.shape) if base == "reviews" else cube.hits[:, 0].sum(axis=1)
            rest_hits, rest_total = hits.sum(axis=1)[:, None] - hits, total.sum(axis=1)[:, None] - total
            p = two_share_p(hits, total, rest_hits, rest_total)
            possible = _possible(hits.sum(axis=1), total.sum(axis=1))[:, None]
            possible = possible & (total >= MIN_REVIEWS) & (rest_total >= MIN_REVIEWS)
            for subject, g in np.argwhere(possible):
                # Of two groups, each is the rest of the other.
                if len(groups) == 2 and g == 1:
                    continue
                yield _Candidate(
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

    def _star_tests(self) -> Iterator[_Candidate]:
        """Yield Welch tests of mean stars: changes overall and in groups, and groups against all other reviews."""
        import numpy as np

        periods = len(self.starts)
        for d in (None, *range(len(self.dimensions))):
            stars = self._cube(d, False).stars
            groups = [Group("", 0)] if d is None else self.dimensions[d].groups
            for g, group in enumerate(groups):
                if group.pooled:
                    continue
                series = stars[:, :periods, g]
                if (d is None or self.dimensions[d].changes) and periods > 1:
                    sums_before = series.cumsum(axis=1)[:, :-1]
                    sums_after = series.sum(axis=1)[:, None] - sums_before
                    p = _welch(sums_after, sums_before)
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
                        p = _welch(group_sum[:, None], rest_sum[:, None])
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
    ) -> _Candidate:
        counts = float(sums[1] / sums[0]), int(sums[0]), float(other_sums[1] / other_sums[0]), int(other_sums[0])
        return _Candidate(kind, (-1, False, "stars", "reviews"), (d, g, split), counts, p)

    def _best_measures(self, candidates: Sequence[_Candidate]) -> list[_Candidate]:
        """Return the strongest measure of each subject and scope; mentions only if no judgement tells the same."""
        best: dict[tuple[object, ...], _Candidate] = {}
        for c in sorted(
            candidates, key=lambda c: (c.measure == "mentions", c.p, c.measure != "blame", c.base != "reviews")
        ):
            key = (c.topic, c.subject, c.key)
            stronger = 1 if c.hits == 0 else STRONGER
            if key not in best or (c.measure == "mentions" and c.p < stronger * best[key].p):
                best[key] = c
        return list(best.values())

    def _drop_explained_scopes(self, candidates: Sequence[_Candidate]) -> list[_Candidate]:
        """Drop tests of the same subject that a change within a group explains, and the reverse."""
        unexplained: list[_Candidate] = []
        subjects = dict.fromkeys((c.topic, c.subject) for c in candidates)
        for subject in subjects:
            same_subject = [c for c in candidates if (c.topic, c.subject) == subject]
            group_changes = sorted((c for c in same_subject if c.kind == "group_change"), key=lambda c: c.p)
            general = next((c for c in same_subject if c.kind == "change"), None)
            wide = [c for c in same_subject if c.kind != "group_change"]
            if general is not None and self._is_general(general, group_changes):
                local = [c for c in group_changes if self._differs_from_rest(c)]
                unexplained += [general, *local]
                wide = [c for c in wide if c is not general and self._remains(c, [general, *local])]
            else:
                unexplained += group_changes
                wide = [c for c in wide if self._remains(c, group_changes)]
            unexplained += self._drop_reflections(wide)
        return unexplained

    def _drop_reflections(self, candidates: Sequence[_Candidate]) -> list[_Candidate]:
        """Drop groups that differ from the others only because another group differs in the opposite direction."""
        unexplained: list[_Candidate] = []
        for c in sorted(candidates, key=lambda c: c.p):
            opposite = [k for k in unexplained if c.kind == k.kind == "group" and not _agree(k, c)]
            if self._remains(c, opposite):
                unexplained.append(c)
        return unexplained

    def _is_general(self, change: _Candidate, group_changes: Sequence[_Candidate]) -> bool:
        """Tell whether a change happened in most groups, rather than in those few with a change of their own."""
        if not group_changes:
            return True
        if not self._remains(change, group_changes):
            # All together explain it: it is general if they hold most reviews.
            d = group_changes[0].dimension
            same_direction = [c for c in group_changes if c.dimension == d and c.direction == change.direction]
            total = sum(self._group(c).reviews for c in same_direction)
            return len(same_direction) > 1 and total > 0.5 * sum(g.reviews for g in self.dimensions[d or 0].groups)
        return True

    def _differs_from_rest(self, change: _Candidate) -> bool:
        """Tell whether the share of a group after its change differs from the other groups in the same time."""
        d, g, t = change.dimension or 0, change.group or 0, change.split or 0
        if change.measure == "stars":
            stars = self._cube(d, False).stars[:, t : len(self.starts)].sum(axis=1)
            p = _welch(stars[:, [g]], (stars.sum(axis=1) - stars[:, g])[:, None])
            return bool(p[0] < EXPLAINED_P)
        hits, total = self._arrays(change, d)
        after_hits, after_total = hits[t : len(self.starts)].sum(axis=0), total[t : len(self.starts)].sum(axis=0)
        p = two_share_p(
            *(
                _as_array(v)
                for v in (
                    after_hits[g],
                    after_total[g],
                    after_hits.sum() - after_hits[g],
                    after_total.sum() - after_total[g],
                )
            )
        )
        return bool(p[0] < EXPLAINED_P)

    def _remains(self, c: _Candidate, explanations: Sequence[_Candidate]) -> bool:
        """Tell whether a test is still significant without the reviews of the explanations."""
        explanations = [e for e in explanations if e is not c]
        if not explanations:
            return True
        columns = {e.dimension for e in explanations if e.dimension is not None}
        dimension = c.dimension if c.dimension is not None else next(iter(columns), None)
        relevant = [e for e in explanations if e.dimension in (None, dimension)]
        if not relevant:
            return True
        periods = len(self.starts)
        if c.measure == "stars":
            arrays = [self._cube(dimension, False).stars.copy()]
        else:
            arrays = [array.copy() for array in self._arrays(c, dimension)]
        for e in relevant:
            rows = slice(e.split or 0, periods) if e.split is not None else slice(None)
            columns_of = slice(None) if e.group is None else e.group
            for array in arrays:
                array[..., rows, columns_of] = 0
        if c.measure == "stars":
            return self._stars_remain(c, arrays[0])
        hits, total = arrays
        if c.kind == "group":
            g = c.group or 0
            pair = hits[:, g].sum(), total[:, g].sum()
            p = two_share_p(*(_as_array(v) for v in (*pair, hits.sum() - pair[0], total.sum() - pair[1])))[0]
        else:
            columns_of = slice(None) if c.group is None else slice(c.group, c.group + 1)
            series = hits[:periods, columns_of].sum(axis=1)[None], total[:periods, columns_of].sum(axis=1)[None]
            p = best_splits(*series, MIN_REVIEWS)[0][0]
        return bool(p < EXPLAINED_P)

    def _stars_remain(self, c: _Candidate, stars: np.ndarray) -> bool:
        if c.kind == "group":
            sums = stars[:, :, c.group or 0].sum(axis=1)
            rest_sums = stars.sum(axis=(1, 2)) - sums
        else:
            series = stars[:, : len(self.starts)].sum(axis=2)
            rest_sums, sums = series[:, : c.split].sum(axis=1), series[:, c.split :].sum(axis=1)
        return bool(
            min(sums[0], rest_sums[0]) >= MIN_REVIEWS and _welch(sums[:, None], rest_sums[:, None])[0] < EXPLAINED_P
        )

    def _drop_explained_levels(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Drop a category if one of its topics shows the same fact and explains most of it."""
        dropped: set[int] = set()
        for topic in sorted((c for c in candidates if c.topic), key=lambda c: c.p):
            for category in candidates:
                if category.topic or id(category) in dropped or id(topic) in dropped:
                    continue
                if self.topics[topic.subject][1] != self.categories[category.subject] or not _agree(topic, category):
                    continue
                is_same_scope = topic.key == category.key
                compatible = (
                    is_same_scope or topic.group is None or category.group is None or topic.key[:2] == category.key[:2]
                )
                if not compatible:
                    continue
                if self._is_whole_category(topic) or (
                    is_same_scope and abs(topic.excess) < EXPLAINED_SHARE * abs(category.excess)
                ):
                    dropped.add(id(topic))
                elif abs(topic.excess) >= EXPLAINED_SHARE * abs(category.excess):
                    dropped.add(id(category))
        return [c for c in candidates if id(c) not in dropped]

    def _is_whole_category(self, topic: _Candidate) -> bool:
        """Tell whether a topic makes up half of its category, as "service" of SERVICE."""
        name = self.topics[topic.subject][1]
        whole = self.overall[0].hits[self.categories.index(name), 0].sum() if name in self.categories else 0
        return bool(2 * self.overall[1].hits[topic.subject, 0].sum() > whole)

    def _drop_other_columns(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Keep the strongest of the facts on one category in columns or scopes that share reviews."""
        strongest: list[_Candidate] = []
        for c in sorted(candidates, key=lambda c: -_score(c)):
            rivals = [
                k for k in strongest if self._category(k) == self._category(c) and _agree(k, c) and k.key != c.key
            ]
            overlapping = (k for k in rivals if k.dimension != c.dimension or k.group == c.group)
            if not any(abs(c.excess) <= 1.3 * abs(k.excess) and k.topic >= c.topic for k in overlapping):
                strongest.append(c)
        return strongest

    def _attach_stars(self, stars: Sequence[_Candidate], candidates: Sequence[_Candidate]) -> list[_Candidate]:
        """Add changes of stars to the finding on the same group that agrees, and return those without one."""
        alone = []
        for c in stars:
            related = [k for k in candidates if k.direction == c.direction and k.key[:2] == c.key[:2]]
            related = [k for k in related if k.key == c.key or k.group is not None]
            if not related:
                alone.append(c)
                continue
            finding = next((k for k in related if k.key == c.key), related[0])
            if not finding.note:
                finding.note = f" Mean stars: {c.hits:.1f}, {'before' if c.split else 'elsewhere'} {c.other_hits:.1f}."
        return alone

    def _best_drivers(self) -> Iterator[tuple[Driver, float]]:
        """Yield the significant effects on ratings, without topics that repeat their category."""
        significant = [(d, p) for d, p in self.drivers if p < SIGNIFICANCE_LEVEL and abs(d.impact) >= 0.005]
        categories = {(d.category, d.polarity): d for d, _ in significant if d.topic is None}
        for driver, p in significant:
            whole = categories.get((driver.category, driver.polarity))
            if driver.topic is None or whole is None or abs(driver.effect) > 1.5 * abs(whole.effect):
                yield driver, p

    def _finding(self, c: _Candidate) -> Finding:
        kind = self._kind(c)
        subject = None if c.measure == "stars" else self.topics[c.subject] if c.topic else None
        since = None if c.split is None else self.starts[c.split]
        column = None if c.dimension is None else self.dimensions[c.dimension].column
        group = None if c.group is None else self._group(c).value
        parts = [kind, self._category(c), subject and subject[0], c.measure, column and f"{column}={group}", since]
        stars = c.measure == "stars"
        return Finding(
            id=":".join(str(part) for part in parts if part),
            text=self._text(c) + c.note,
            kind=kind,
            category=self._category(c),
            topic=subject[0] if subject else None,
            measure=c.measure,
            base=c.base,
            column=column,
            group=group,
            since=since,
            n=c.total if stars else int(c.hits),
            total=c.total,
            share=c.hits if stars else c.hits / c.total,
            n_before=c.other_total if stars else int(c.other_hits),
            total_before=c.other_total,
            share_before=c.other_hits if stars else c.other_hits / c.other_total,
            p=c.adjusted,
            direction=c.direction,
            excess=round(c.excess, 3),
            score=round(_score(c), 3),
        )

    def _kind(self, c: _Candidate) -> str:
        if c.measure == "stars":
            return "rating_group" if c.split is None else "rating_change"
        if c.topic:
            if self._is_new(c):
                return "new_topic"
            return "topic" if c.split is None else "topic_change"
        return c.kind

    def _is_new(self, c: _Candidate) -> bool:
        """Tell whether no review mentioned a topic before its change."""
        return c.topic and c.split is not None and c.mentions_before == 0

    def _text(self, c: _Candidate) -> str:
        """Return the fact as a sentence with its counts."""
        group_filter = (
            ""
            if c.group is None or c.dimension is None
            else f"{self.dimensions[c.dimension].column} {self._group(c).value}"
        )
        since = "" if c.split is None else period_name(self.starts[c.split], self.grain)
        if c.measure == "stars":
            values = f"{c.hits:.1f} ({c.total:,} reviews)", f"{c.other_hits:.1f} ({c.other_total:,})"
            if c.split is None:
                return f"Where {_where_is(group_filter)}, mean stars are {values[0]}; elsewhere {values[1]}."
            return f"{_begin(group_filter, since)} mean stars are {values[0]}; before, {values[1]}."
        name = self._subject_name(c)
        base = "reviews" if c.base == "reviews" else "reviews that mention it"
        shares = c.hits / c.total, c.other_hits / c.other_total
        verb = VERBS[c.measure]
        counts = [
            f"{percent(share)} ({int(n):,} of {total:,})"
            for share, n, total in zip(shares, (c.hits, c.other_hits), (c.total, c.other_total), strict=True)
        ]
        if c.split is None:
            return f"Where {_where_is(group_filter)}, {counts[0]} of the {base} {verb} {name}; elsewhere {counts[1]}."
        if self._is_new(c):
            return (
                f"{_begin(group_filter, since)} {counts[0]} of the {base} {verb} {name}, which is new: none of the"
                f" {c.other_total:,} before did."
            )
        if c.topic and c.hits == 0:
            return f"{_begin(group_filter, since)} no review {verb}s {name} ({c.total:,} reviews); before, {counts[1]}."
        direction = "more" if c.excess > 0 else "fewer"
        return f"{_begin(group_filter, since)} {direction} {base} {verb} {name}: {counts[0]}; before, {counts[1]}."

    def _subject_name(self, c: _Candidate) -> str:
        if not c.topic:
            return self.categories[c.subject]
        return f"“{self.topics[c.subject][2]}” ({self.topics[c.subject][1]})"

    def _name(self, driver: Driver) -> str:
        names = {topic: f"“{name}” ({category})" for topic, category, name in self.topics}
        return driver.category if driver.topic is None else names.get(driver.topic, driver.topic)

    def _category(self, c: _Candidate) -> str | None:
        if c.measure == "stars":
            return None
        return self.topics[c.subject][1] if c.topic else self.categories[c.subject]

    def _group(self, c: _Candidate) -> Group:
        return self.dimensions[c.dimension or 0].groups[c.group or 0]

    def _cube(self, dimension: int | None, topic: bool) -> Cube:
        if dimension is None:
            return self.overall[topic]
        return self.dimensions[dimension].topic_cube if topic else self.dimensions[dimension].cube

    def _arrays(self, c: _Candidate, dimension: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return hits and total of a candidate's measure by period and group of a column."""
        cube = self._cube(dimension, c.topic)
        total = self._cube(dimension, False).total if c.base == "reviews" else cube.hits[c.subject, 0]
        return cube.hits[c.subject, _index(c.measure)], total


def _index(measure: str) -> int:
    return ("mentions", "praise", "blame").index(measure)


def _possible(hits: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Tell whether a test with these margins can be significant at all (Tarone, 1990)."""
    possible: np.ndarray = (hits >= MIN_HITS) & (total - hits >= MIN_HITS) & (total >= 2 * MIN_REVIEWS)
    return possible


def _as_array(value: object) -> np.ndarray:
    import numpy as np

    return np.array([value])


def _welch(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return p-values of Welch's t-test from (number, sum, sum of squares) of shape [3, tests]."""
    import numpy as np
    from scipy import stats

    with np.errstate(divide="ignore", invalid="ignore"):
        means = [part[1] / part[0] for part in (first, second)]
        variances = [
            np.maximum(part[2] / part[0] - m * m, 0) * part[0] / (part[0] - 1)
            for part, m in zip((first, second), means, strict=True)
        ]
        errors = [variance / part[0] for variance, part in zip(variances, (first, second), strict=True)]
        deviation = np.sqrt(errors[0] + errors[1])
        freedom = (errors[0] + errors[1]) ** 2 / (errors[0] ** 2 / (first[0] - 1) + errors[1] ** 2 / (second[0] - 1))
        p = 2 * stats.t.sf(np.abs(means[0] - means[1]) / deviation, freedom)
    return np.where(np.isfinite(p), p, 1.0)


def _agree(first: _Candidate, second: _Candidate) -> bool:
    """Tell whether two tests can show the same fact: both better or worse, or one of them mentions only."""
    if "mentions" in (first.measure, second.measure):
        return first.measure != second.measure or first.direction == second.direction
    return first.direction == second.direction


def _score(c: _Candidate) -> float:
    """Return evidence times volume; improvements and missing praise count a little less than complaints."""
    evidence = min(-log10(max(c.adjusted, 1e-15)), 15)
    weight = 0.8 if c.direction == "better" else 0.9 if c.measure == "praise" else 1.0
    return weight * evidence * log10(10 + abs(c.excess))


def _where_is(scope: str) -> str:
    """Return "column group" as "column is group"."""
    column, _, value = scope.partition(" ")
    return f"{column} is {value}"


def _begin(scope: str, since: str) -> str:
    return f"{scope[0].upper() + scope[1:]}: since {since}," if scope else f"Since {since},"


def _driver_finding(driver: Driver, p: float, name: str, rating: Rating | None) -> Finding:
    total = rating.modelled if rating else driver.reviews
    verb = "praise" if driver.polarity == "positive" else "blame"
    quantifier = "more" if driver.effect > 0 else "fewer"
    low, high = sorted((abs(driver.low), abs(driver.high)))
    text = (
        f"Reviews that {verb} {name} give {abs(driver.effect):.1f} {quantifier} stars, everything else equal"
        f" (95 %: {low:.1f} to {high:.1f}); {percent(driver.share)} of reviews do ({driver.reviews:,} of {total:,})."
    )
    kind = ("costs" if driver.effect < 0 else "brings") if rating else "rating"
    score = min(-log10(max(p, 1e-15)), 15) * log10(10 + abs(driver.impact) * total)
    return Finding(
        id=f"rating:{driver.topic or driver.category}:{verb}:{kind}",
        text=text,
        kind="rating",
        category=driver.category,
        topic=driver.topic,
        measure="effect",
        base="reviews",
        column=None,
        group=None,
        since=None,
        n=driver.reviews,
        total=total,
        share=driver.share,
        n_before=0,
        total_before=0,
        share_before=0.0,
        p=p,
        direction="worse" if driver.effect < 0 else "better",
        excess=round(driver.impact, 4),
        score=round(score, 3),
    )


def apply_trends(topics: Sequence[TopicResult], search: FindingSearch) -> tuple[TopicResult, ...]:
    """Return the topics with their trend: new, rising, falling, gone or steady."""
    trends = search.topic_trends()
    result = []
    for n, steady in enumerate(topics):
        topic = steady
        if c := trends.get(n):
            name = "new" if c.other_hits == 0 else "gone" if c.hits == 0 else "rising" if c.excess > 0 else "falling"
            topic = replace(topic, trend=name, since=search.starts[c.split or 0])
        result.append(topic)
    return tuple(result)


def findings(insights: Insights) -> list[str]:
    """Return the overview, then the findings, as sentences."""
    return [*overview(insights), *(finding.text for finding in insights.findings)]


def overview(insights: Insights) -> list[str]:
    """Return sentences on the most mentioned, praised and blamed categories and words."""
    lines: list[str] = []
    if not insights.categories:
        return lines
    frequent = [f"{c.category} ({percent(c.mentions.value)})" for c in insights.categories[:3]]
    lines.append(f"Reviews speak most of {enumeration(frequent)}.")
    candidates = [c for c in insights.categories if c.reviews >= MIN_REVIEWS and c.praising + c.blaming]
    if len(candidates) > 1:
        best = max(candidates, key=lambda c: c.praising)
        worst = max(candidates, key=lambda c: c.blaming)
        total = insights.reviews
        lines.append(
            f"{best.category} is praised most: by {percent(best.praising / total)} of all reviews ({best.praising:,}). "
            f"{worst.category} is blamed most: by {percent(worst.blaming / total)} ({worst.blaming:,})."
        )
    for name, polarity in (("praised", "positive"), ("blamed", "negative")):
        counts = sorted(((getattr(w, polarity), w.word) for w in insights.words), key=lambda pair: (-pair[0], pair[1]))
        if words := [f"{word} ({count:,})" for count, word in counts[:4] if count > 1]:
            lines.append(f"The words most {name} are {enumeration(words)}.")
    return lines


def reportable_changes(changes: Sequence[Change]) -> list[Change]:
    """Return the changes of at least a percentage point, in order of their p-values."""
    return [change for change in changes if is_reportable(change.adjusted, change.after.value - change.before.value)]


def change_sentence(change: Change, grain: str | None) -> str:
    """Return the date and the shares before and after a change as a sentence."""
    share_before, share_after = change.before.value, change.after.value
    direction = "more" if share_after > share_before else "fewer"
    base = "of the reviews that mention it" if change.base == "mentions" and change.measure != "mentions" else "reviews"
    scope = f"{change.column} {change.group}" if change.column else ""
    begin = _begin(scope, period_name(change.since, grain))
    return (
        f"{begin} {direction} {base} {VERBS[change.measure]} {change.category}: "
        f"{percent(share_after)}, before {percent(share_before)}."
    )


def contrast_sentence(comparison: Comparison, contrast: Contrast) -> str:
    """Return the difference between a group and all other reviews as a sentence, with the interval in points."""
    base = "reviews" if contrast.measure == "mentions" else "reviews that mention it"
    ends = [points(contrast.difference.low), points(contrast.difference.high)]
    return (
        f"Where {comparison.column} is {contrast.value}, {percent(contrast.share.value)} of the {base} "
        f"{VERBS[contrast.measure]} {contrast.category}, elsewhere {percent(contrast.rest)} "
        f"(a difference of {' to '.join(dict.fromkeys(ends))} points)."
    )


def reportable_contrasts(comparison: Comparison) -> list[Contrast]:
    """Return the reportable differences of groups that are not pooled, the largest first."""
    pooled = {group.value for group in comparison.groups if group.pooled}
    contrasts = [
        c for c in comparison.contrasts if is_reportable(c.adjusted, c.difference.value) and c.value not in pooled
    ]
    return sorted(contrasts, key=lambda contrast: -abs(contrast.difference.value))


def impact_sentence(rating: Rating | None) -> str:
    """Return the category whose blame costs most stars as a sentence, or why there is no effect to report."""
    if rating is None:
        return ""
    drivers = [d for d in rating.drivers if d.topic is None and d.adjusted < SIGNIFICANCE_LEVEL]
    costs = [d for d in drivers if d.impact < 0]
    gains = [d for d in drivers if d.impact > 0]
    if not drivers:
        return (
            f"The mean of {rating.rated:,} ratings is {rating.mean:.2f} stars. No category has a significant effect on"
            " the stars."
        )
    parts = [f"The mean of {rating.rated:,} ratings is {rating.mean:.2f} stars."]
    for ranked, verb in ((costs, "costs"), (gains, "brings")):
        if ranked:
            first = ranked[0]
            act = "praise of" if first.polarity == "positive" else "blame of"
            parts.append(
                f"{act.capitalize()} {first.category} {verb} most: {abs(first.effect):.1f} stars in each of the"
                f" {percent(first.share)} of reviews with it, so {abs(first.impact):.2f} stars in the mean."
            )
    return " ".join(parts)


def reportable_differences(compared: RangeComparison) -> list[RangeDifference]:
    """Return the significant differences of at least a point between two ranges, the most significant first.

    Of mentions, praise and blame of the same subject in the same group, the most significant one is returned.
    """
    best: dict[tuple[object, ...], RangeDifference] = {}
    for d in sorted(compared.differences, key=lambda d: (d.adjusted, d.p, d.measure == "mentions")):
        if is_reportable(d.adjusted, d.difference.value):
            best.setdefault((d.column, d.group, d.category, d.topic), d)
    return list(best.values())


def range_sentence(insights: Insights, difference: RangeDifference) -> str:
    """Return a difference between two ranges as a sentence with its counts."""
    d = difference
    names = {topic.id: topic.name for topic in insights.topics}
    name = d.category if d.topic is None else f"“{names.get(d.topic, d.topic)}” ({d.category})"
    scope = f"{d.column} {d.group}: " if d.column else ""
    quantifier = "more" if d.difference.value > 0 else "fewer"
    text = (
        f"{scope}{quantifier} reviews {VERBS[d.measure]} {name}: {percent(d.share.value)} ({d.hits:,} of {d.total:,});"
        f" before, {percent(d.share_before.value)} ({d.hits_before:,} of {d.total_before:,})."
    )
    return text[0].upper() + text[1:]
