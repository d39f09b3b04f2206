"""Search for findings: the significant tests, one for each fact, ranked.

A fact shows in many tests: a place that got worse changes the total, differs from other places, and has a topic behind
it. So a test is dropped if it is no longer significant without the reviews of a more specific finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log10
from typing import TYPE_CHECKING

from reviews_parsing.insights.candidates import MIN_REVIEWS, Candidate, CountTests
from reviews_parsing.insights.results import Change, Driver, Finding, Rating, Topic
from reviews_parsing.insights.statistics import (
    MIN_DIFFERENCE,
    SIGNIFICANCE_LEVEL,
    best_splits,
    two_share_p,
    welch_p,
    wilson,
)
from reviews_parsing.insights.text import VERBS, begin_sentence, percent, period_name

if TYPE_CHECKING:
    import numpy as np

MIN_EXCESS = 3
EXPLAINED_P = 1e-3
"""A test without the reviews of another finding is explained by it if its p-value is larger."""
STRONGER = 0.1
"""A change in mentions is the fact, rather than the praise or blame in them, if its p-value is that much smaller."""
EXPLAINED_SHARE = 0.6
"""A category is explained by a topic with that share of its excess reviews."""


class FindingSearch:
    """Search for findings in the counts of one analysis."""

    def __init__(self, tests: CountTests, rating: Rating | None, eligible_topics: int, grain: str | None) -> None:
        """Run all tests. `eligible_topics` is the number of topics that the counted ones were chosen from."""
        self.tests, self.rating, self.grain = tests, rating, grain
        self.categories, self.topics, self.starts = tests.categories, tests.topics, tests.starts
        self.dimensions = tests.dimensions
        self.candidates, self.drivers = tests.run(rating, eligible_topics)

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
                group=None if c.dimension is None else self.tests.group(c).value,
                n_before=c.other_total,
                n_after=c.total,
            )
            for c in significant_changes
        )

    def topic_trends(self) -> dict[int, Candidate]:
        """Return the most significant change in mentions of each topic over all reviews."""
        trends: dict[int, Candidate] = {}
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
            and not (c.group is not None and self.tests.group(c).pooled)
        ]
        candidates = self._best_measures([c for c in significant if c.measure != "stars"])
        candidates = self._drop_explained_scopes(candidates)
        candidates = self._drop_explained_levels(candidates)
        candidates = self._drop_other_columns(candidates)
        stars = self._drop_explained_scopes(self._best_measures([c for c in significant if c.measure == "stars"]))
        candidates += self._attach_stars(stars, candidates)
        findings = [self._finding(c) for c in candidates]
        if self.rating is not None:
            reviews = self.rating.modelled
            findings += [_driver_finding(driver, p, self._name(driver), reviews) for driver, p in self._best_drivers()]
        tiers = {"mentions": 2, "effect": 1}
        findings.sort(key=lambda f: (tiers.get(f.measure, 0), -f.score, f.p, f.id))
        return tuple(findings)

    def _best_measures(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the strongest measure of each subject and scope; mentions only if no judgement tells the same."""
        best: dict[tuple[object, ...], Candidate] = {}
        for c in sorted(
            candidates, key=lambda c: (c.measure == "mentions", c.p, c.measure != "blame", c.base != "reviews")
        ):
            key = (c.topic, c.subject, c.key)
            stronger = 1 if c.hits == 0 else STRONGER
            if key not in best or (c.measure == "mentions" and c.p < stronger * best[key].p):
                best[key] = c
        return list(best.values())

    def _drop_explained_scopes(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Drop tests of the same subject that a change within a group explains, and the reverse."""
        unexplained: list[Candidate] = []
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

    def _drop_reflections(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Drop groups that differ from the others only because another group differs in the opposite direction."""
        unexplained: list[Candidate] = []
        for c in sorted(candidates, key=lambda c: c.p):
            opposite = [k for k in unexplained if c.kind == k.kind == "group" and not _agree(k, c)]
            if self._remains(c, opposite):
                unexplained.append(c)
        return unexplained

    def _is_general(self, change: Candidate, group_changes: Sequence[Candidate]) -> bool:
        """Tell whether a change happened in most groups, rather than in those few with a change of their own."""
        if self._remains(change, group_changes):
            return True
        # All together explain it: it is general if they hold most reviews.
        d = group_changes[0].dimension
        same_direction = [c for c in group_changes if c.dimension == d and c.direction == change.direction]
        total = sum(self.tests.group(c).reviews for c in same_direction)
        return len(same_direction) > 1 and total > 0.5 * sum(g.reviews for g in self.dimensions[d or 0].groups)

    def _differs_from_rest(self, change: Candidate) -> bool:
        """Tell whether the share of a group after its change differs from the other groups in the same time."""
        d, g, t = change.dimension or 0, change.group or 0, change.split or 0
        if change.measure == "stars":
            stars = self.tests.cube(d, False).stars[:, t : len(self.starts)].sum(axis=1)
            p = welch_p(stars[:, [g]], (stars.sum(axis=1) - stars[:, g])[:, None])
            return bool(p[0] < EXPLAINED_P)
        hits, total = self.tests.arrays(change, d)
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

    def _remains(self, c: Candidate, explanations: Sequence[Candidate]) -> bool:
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
            arrays = [self.tests.cube(dimension, False).stars.copy()]
        else:
            arrays = [array.copy() for array in self.tests.arrays(c, dimension)]
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

    def _stars_remain(self, c: Candidate, stars: np.ndarray) -> bool:
        if c.kind == "group":
            sums = stars[:, :, c.group or 0].sum(axis=1)
            rest_sums = stars.sum(axis=(1, 2)) - sums
        else:
            series = stars[:, : len(self.starts)].sum(axis=2)
            rest_sums, sums = series[:, : c.split].sum(axis=1), series[:, c.split :].sum(axis=1)
        return bool(
            min(sums[0], rest_sums[0]) >= MIN_REVIEWS and welch_p(sums[:, None], rest_sums[:, None])[0] < EXPLAINED_P
        )

    def _drop_explained_levels(self, candidates: list[Candidate]) -> list[Candidate]:
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

    def _is_whole_category(self, topic: Candidate) -> bool:
        """Tell whether a topic makes up half of its category, as "service" of SERVICE."""
        name = self.topics[topic.subject][1]
        whole = self.tests.overall[0].hits[self.categories.index(name), 0].sum() if name in self.categories else 0
        return bool(2 * self.tests.overall[1].hits[topic.subject, 0].sum() > whole)

    def _drop_other_columns(self, candidates: list[Candidate]) -> list[Candidate]:
        """Keep the strongest of the facts on one category in columns or scopes that share reviews."""
        strongest: list[Candidate] = []
        for c in sorted(candidates, key=lambda c: -_score(c)):
            rivals = [
                k for k in strongest if self._category(k) == self._category(c) and _agree(k, c) and k.key != c.key
            ]
            overlapping = (k for k in rivals if k.dimension != c.dimension or k.group == c.group)
            if not any(abs(c.excess) <= 1.3 * abs(k.excess) and k.topic >= c.topic for k in overlapping):
                strongest.append(c)
        return strongest

    def _attach_stars(self, stars: Sequence[Candidate], candidates: Sequence[Candidate]) -> list[Candidate]:
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

    def _finding(self, c: Candidate) -> Finding:
        kind = self._kind(c)
        subject = None if c.measure == "stars" else self.topics[c.subject] if c.topic else None
        since = None if c.split is None else self.starts[c.split]
        column = None if c.dimension is None else self.dimensions[c.dimension].column
        group = None if c.group is None else self.tests.group(c).value
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

    def _kind(self, c: Candidate) -> str:
        if c.measure == "stars":
            return "rating_group" if c.split is None else "rating_change"
        if c.topic:
            if self._is_new(c):
                return "new_topic"
            return "topic" if c.split is None else "topic_change"
        return c.kind

    def _is_new(self, c: Candidate) -> bool:
        """Tell whether no review mentioned a topic before its change."""
        return c.topic and c.split is not None and c.mentions_before == 0

    def _text(self, c: Candidate) -> str:
        """Return the fact as a sentence with its counts."""
        group_filter = (
            ""
            if c.group is None or c.dimension is None
            else f"{self.dimensions[c.dimension].column} {self.tests.group(c).value}"
        )
        since = "" if c.split is None else period_name(self.starts[c.split], self.grain)
        beginning = begin_sentence(group_filter, since)
        if c.measure == "stars":
            values = f"{c.hits:.1f} ({c.total:,} reviews)", f"{c.other_hits:.1f} ({c.other_total:,})"
            if c.split is None:
                return f"Where {_where_is(group_filter)}, mean stars are {values[0]}; elsewhere {values[1]}."
            return f"{beginning} mean stars are {values[0]}; before, {values[1]}."
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
                f"{beginning} {counts[0]} of the {base} {verb} {name}, which is new: none of the"
                f" {c.other_total:,} before did."
            )
        if c.topic and c.hits == 0:
            return f"{beginning} no review {verb}s {name} ({c.total:,} reviews); before, {counts[1]}."
        direction = "more" if c.excess > 0 else "fewer"
        return f"{beginning} {direction} {base} {verb} {name}: {counts[0]}; before, {counts[1]}."

    def _subject_name(self, c: Candidate) -> str:
        if not c.topic:
            return self.categories[c.subject]
        return f"“{self.topics[c.subject][2]}” ({self.topics[c.subject][1]})"

    def _name(self, driver: Driver) -> str:
        names = {topic: f"“{name}” ({category})" for topic, category, name in self.topics}
        return driver.category if driver.topic is None else names.get(driver.topic, driver.topic)

    def _category(self, c: Candidate) -> str | None:
        if c.measure == "stars":
            return None
        return self.topics[c.subject][1] if c.topic else self.categories[c.subject]


def _as_array(value: object) -> np.ndarray:
    import numpy as np

    return np.array([value])


def _agree(first: Candidate, second: Candidate) -> bool:
    """Tell whether two tests can show the same fact: both better or worse, or one of them mentions only."""
    if "mentions" in (first.measure, second.measure):
        return first.measure != second.measure or first.direction == second.direction
    return first.direction == second.direction


def _score(c: Candidate) -> float:
    """Return evidence times volume; improvements and missing praise count a little less than complaints."""
    evidence = min(-log10(max(c.adjusted, 1e-15)), 15)
    weight = 0.8 if c.direction == "better" else 0.9 if c.measure == "praise" else 1.0
    return weight * evidence * log10(10 + abs(c.excess))


def _where_is(scope: str) -> str:
    """Return "column group" as "column is group"."""
    column, _, value = scope.partition(" ")
    return f"{column} is {value}"


def _driver_finding(driver: Driver, p: float, name: str, total: int) -> Finding:
    """Return the effect of a driver as a finding; `name` is its category or topic, `total` the modelled reviews."""
    verb = "praise" if driver.polarity == "positive" else "blame"
    quantifier = "more" if driver.effect > 0 else "fewer"
    low, high = sorted((abs(driver.low), abs(driver.high)))
    text = (
        f"Reviews that {verb} {name} give {abs(driver.effect):.1f} {quantifier} stars, everything else equal"
        f" (95 %: {low:.1f} to {high:.1f}); {percent(driver.share)} of reviews do ({driver.reviews:,} of {total:,})."
    )
    kind = "costs" if driver.effect < 0 else "brings"
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


def apply_trends(topics: Sequence[Topic], search: FindingSearch) -> tuple[Topic, ...]:
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
