"""The words of the room: what an analysis found, as tables. Shares are in [0, 1], intervals cover 95 %."""

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
    """What was said of one category.

    `mentions` is the share of all reviews that speak of it, `praise` and `blame` the shares of those `reviews` with at
    least one positive, or negative, aspect of it; a review can do both. The other figures count aspects: `implicit`
    are those of no word in particular, `other` those of another polarity or none.
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
    """One category in one stretch of time, from `start`; `total` reviews were written in it, on whatever."""

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
    """Since when a measure of a category is another: `before` that period, and from it on, `after`.

    The period is the one that parts the time best; `p` is corrected for the choice among all periods (Bonferroni), and
    `adjusted` for all categories and measures (Benjamini and Hochberg). Only changes that are significant at 5 % are
    kept.
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
    """A thing that reviews name, all its `forms` together; `word` is the one most written. The figures count aspects.

    `praised_with` and `blamed_with` are the words that judge it, the most frequent first.
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
    """How often words judge a category, in lower case."""

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
class Shown:
    """A review that a telling sentence is from; `name` is its id, or its file and row."""

    name: str
    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sure, short sentence that shows what is said of a category: `sentence[start:end] == word`.

    `review` is the index of its review in `Insights.shown`; `probability` that of the category times that of the
    polarity, where they are known.
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
    """Reviews that share a value of a column; `pooled` where it stands for that many values, too small each."""

    value: str
    reviews: int
    pooled: int = 0


@dataclass(frozen=True, slots=True)
class Contrast:
    """A group against all the other reviews: `hits` of its `reviews` mention, praise or blame the category.

    For praise and blame, `reviews` are those that mention it. `difference` is `share` less the share of the rest, with
    Newcombe's interval; `p` that of a test of no difference, `adjusted` for all contrasts of the column by Benjamini
    and Hochberg's procedure.
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
    """Whether the groups of a column differ at all in a measure of a category; `effect` is Cramer's V in [0, 1]."""

    category: str
    measure: str
    test: str
    statistic: float
    p: float
    adjusted: float
    effect: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The groups of one column, held against each other; `note` says why there is nothing to compare."""

    column: str
    groups: tuple[Group, ...]
    tests: tuple[Test, ...]
    contrasts: tuple[Contrast, ...]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A category in the reviews that share a value of each column of `by`, where there are several."""

    values: tuple[str, ...]
    category: str
    total: int
    reviews: int
    praising: int
    blaming: int


@dataclass(frozen=True, slots=True)
class Insights:
    """What parsed reviews say. Tables are sorted, the most frequent first; periods by category, then time.

    `time` is the column that dates the reviews, `grain` the length of a period (day, week, month, quarter, year);
    both are None where no column does. `notes` are sentences that a reader should know.
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
    shown: tuple[Shown, ...]
    comparisons: tuple[Comparison, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
