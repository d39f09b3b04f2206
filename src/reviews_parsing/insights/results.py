"""Tables of an analysis. Shares are in [0, 1]; intervals cover 95 %."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple


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

    `p` is corrected for the choice among all periods (Bonferroni), `adjusted` for all categories and measures
    (Benjamini and Hochberg). Only changes significant at 5 % are listed.
    """

    category: str
    measure: str
    since: date
    before: Share
    after: Share
    p: float
    adjusted: float


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
class Comparison:
    """Comparison of the groups of one column; `note` says why they cannot be compared."""

    column: str
    groups: tuple[Group, ...]
    tests: tuple[Test, ...]
    contrasts: tuple[Contrast, ...]
    note: str | None = None


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
    no column has dates. `notes` are sentences on what could not be used.
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
    comparisons: tuple[Comparison, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
