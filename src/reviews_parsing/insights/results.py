"""Tables of an analysis. Shares are in [0, 1]; intervals cover 95 %."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple


class Share(NamedTuple):
    """A share of reviews with its interval (Wilson's)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Category:
    """Counts of one category.

    `mentions` is the share of all reviews that mention it; `praise` and `blame` are the shares of those `reviews` with
    a positive or a negative aspect of it. A review can do both. The other fields count aspects: `implicit` ones have no
    span, `other` ones have another polarity or none.
    """

    category: str
    reviews: int
    mentions: Share
    praising: int
    praise: Share
    blaming: int
    blame: Share
    aspects: int
    implicit: int
    positive: int
    neutral: int
    negative: int
    other: int


@dataclass(frozen=True, slots=True)
class Period:
    """Counts of one category in the period that begins at `start`; `total` counts all reviews of the period."""

    start: date
    category: str
    total: int
    reviews: int
    mentions: Share
    praising: int
    praise: Share
    blaming: int
    blame: Share


@dataclass(frozen=True, slots=True)
class Change:
    """A change point of a measure of a category: its share before the period `since`, and from that period on.

    The share is of the reviews that mention the category, or of all reviews, as `base` says; in one `group` of a
    column, or overall. `n_before` and `n_after` are the numbers of these reviews. `p` is corrected for the choice among
    all periods (Bonferroni), `adjusted` for all tests of the analysis (Benjamini and Hochberg). Only significant
    changes (5 %) are listed.
    """

    category: str
    measure: str
    since: date
    before: Share
    after: Share
    p: float
    adjusted: float
    base: str = "mentions"
    column: str | None = None
    group: str | None = None
    n_before: int = 0
    n_after: int = 0


@dataclass(frozen=True, slots=True)
class Word:
    """A target with all its `forms`; `word` is the most frequent spelling. Counts are of aspects.

    `praised_with` and `blamed_with` are its opinion expressions, the most frequent first.
    """

    category: str
    word: str
    forms: tuple[str, ...]
    aspects: int
    positive: int
    negative: int
    praised_with: tuple[str, ...]
    blamed_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Number of aspects of a category with an opinion expression, in lower case."""

    category: str
    polarity: str
    opinion: str
    aspects: int


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a text that name a category."""

    start: int
    end: int
    category: str
    polarity: str | None


@dataclass(frozen=True, slots=True)
class QuotedReview:
    """The review of a quote; `name` is its id, or its file and row."""

    name: str
    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A quote on a category: `sentence[start:end] == word`.

    `review` is the index of its review in `Insights.shown`. `probability` is the product of the scores of category and
    polarity, as far as the model gave them.
    """

    category: str
    polarity: str
    sentence: str
    start: int
    end: int
    word: str
    probability: float | None
    review: int
    review_name: str
    place: str | None = None
    day: date | None = None
    stars: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Reviews with the same value in a column; `pooled` is the number of small groups that it merges."""

    value: str
    reviews: int
    pooled: int = 0


@dataclass(frozen=True, slots=True)
class Contrast:
    """A group against all other reviews: `hits` of its `reviews` mention, praise or blame the category.

    For praise and blame, `reviews` are those that mention the category. `difference` is `share` minus the share of the
    other reviews, with Newcombe's interval. `p` tests for no difference; `adjusted` is corrected for all contrasts of
    the column (Benjamini and Hochberg).
    """

    value: str
    category: str
    measure: str
    reviews: int
    hits: int
    share: Share
    rest: float
    difference: Share
    test: str
    p: float
    adjusted: float


@dataclass(frozen=True, slots=True)
class Test:
    """Test of whether the groups of a column differ in a measure of a category; `effect` is Cramer's V in [0, 1]."""

    category: str
    measure: str
    test: str
    statistic: float
    p: float
    adjusted: float
    effect: float


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """Comparison of the groups of one column; `note` says why they cannot be compared."""

    column: str
    groups: tuple[Group, ...]
    tests: tuple[Test, ...]
    contrasts: tuple[Contrast, ...]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Driver:
    """Stars that go with praise or blame of a category or topic, all other categories being equal.

    `effect` is the coefficient of a linear model with its interval [low, high]; `share` is the share of rated reviews
    with that praise or blame. `impact` is share times effect: the stars that it adds to the mean over all reviews.
    """

    category: str
    topic: str | None
    polarity: str
    reviews: int
    share: float
    effect: float
    low: float
    high: float
    p: float
    adjusted: float
    impact: float


@dataclass(frozen=True, slots=True)
class Rating:
    """The column of ratings and the model of stars; `rated` reviews have a rating, `modelled` ones were fitted."""

    column: str
    scale: str
    rated: int
    mean: float
    modelled: int
    method: str
    drivers: tuple[Driver, ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A review with four or more stars that only blames, or two or fewer that only praises."""

    name: str
    place: str | None
    day: date | None
    stars: float
    side: str
    probability: float
    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """Targets gathered under one head noun or by the topic file; `id` is the same in every run.

    `net` is the share of its reviews that praise it minus the share that blame it. `trend` is new, rising, falling,
    gone or steady; `since` dates a trend. `counts` are its reviews in each period.
    """

    id: str
    category: str
    name: str
    forms: tuple[str, ...]
    reviews: int
    mentions: Share
    praising: int
    blaming: int
    net: float
    trend: str
    since: date | None
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SimilarTopics:
    """Two topics of a category whose names mean the same, or nearly so; `topic` has more mentions than `other`.

    `similarity` is the cosine of their word embeddings.
    """

    topic: str
    other: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A significant fact, with the numbers behind it.

    `kind` is change, group, group_change, topic, topic_change, new_topic, rating, rating_change or rating_group. `p` is
    adjusted for all tests of the analysis. `n` reviews of `total` show the fact (in the group, since the date),
    `n_before` of `total_before` the comparison (before the date, or elsewhere). `direction` is worse, better, more or
    fewer. `excess` is the number of reviews above or below what the comparison would give.
    """

    id: str
    text: str
    kind: str
    category: str | None
    topic: str | None
    measure: str
    base: str
    column: str | None
    group: str | None
    since: date | None
    n: int
    total: int
    share: float
    n_before: int
    total_before: int
    share_before: float
    p: float
    direction: str
    excess: float
    score: float


@dataclass(frozen=True, slots=True)
class RangeDifference:
    """A measure of a category or topic in the current and the previous range, in one group or overall."""

    column: str | None
    group: str | None
    category: str
    topic: str | None
    measure: str
    total: int
    hits: int
    share: Share
    total_before: int
    hits_before: int
    share_before: Share
    difference: Share
    p: float
    adjusted: float


@dataclass(frozen=True, slots=True)
class RangeComparison:
    """Two ranges of days, both inclusive, and the differences between them."""

    name: str
    first: date
    last: date
    first_before: date
    last_before: date
    reviews: int
    reviews_before: int
    differences: tuple[RangeDifference, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """Counts of a category in the reviews with the same value in every column of `by`, where there are two or more."""

    values: tuple[str, ...]
    category: str
    total: int
    reviews: int
    praising: int
    blaming: int


@dataclass(frozen=True, slots=True)
class Insights:
    """Result of an analysis. Tables are sorted by frequency; periods by category, then time.

    `time` is the column of dates and `grain` the length of a period (day, week, month, quarter, year); both are None if
    no column has dates. `notes` are sentences on what could not be used. `starts` are the periods. `place` is the
    column of places. `evidence` holds all sentences (see `read_evidence`) if there are few enough reviews for a page.
    `empty` rows have an empty text, and `foreign` are the numbers of reviews by language that the model does not read;
    no other figure counts them.
    """

    sources: tuple[str, ...]
    min_score: float
    by: tuple[str, ...]
    reviews: int
    with_aspects: int
    aspects: int
    implicit: int
    time: str | None
    grain: str | None
    first: date | None
    last: date | None
    dated: int
    categories: tuple[Category, ...]
    periods: tuple[Period, ...]
    changes: tuple[Change, ...]
    words: tuple[Word, ...]
    judgements: tuple[Judgement, ...]
    sentences: tuple[Sentence, ...]
    shown: tuple[QuotedReview, ...]
    comparisons: tuple[GroupComparison, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
    starts: tuple[date, ...] = ()
    topics: tuple[Topic, ...] = ()
    similar_topics: tuple[SimilarTopics, ...] = ()
    findings: tuple[Finding, ...] = ()
    rating: Rating | None = None
    disagreements: tuple[Disagreement, ...] = ()
    disagreement_counts: tuple[int, int] = (0, 0)
    compared: RangeComparison | None = None
    place: str | None = None
    evidence: dict[str, Any] | None = None
    empty: int = 0
    foreign: tuple[tuple[str, int], ...] = ()
