"""Which things are named, in which words they are judged; forms of a word are merged by lemma and case."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights.counting import NEGATIVE, POSITIVE
from reviews_parsing.insights.source import Reviews
from reviews_parsing.insights.tables import Judgement, Word

MOST_FORMS = 5000
"""Of each category as many forms are merged, the most frequent; rarer ones cannot come to the top."""
MOST_WORDS = 12
"""As many words are kept of a category for praise, and for blame."""
MOST_OPINIONS = 3
MOST_JUDGEMENTS = 10

Lemmatise = Callable[[str], str]
_ARTICLES = frozenset(("the", "a", "an", "their", "its", "our", "my", "your", "this", "these", "that", "those"))


def lemmatiser(language: str) -> Lemmatise:
    """What maps a thing's name to the one it is counted under: in lower case, its last word as its lemma.

    Raises DataError where the language is unknown, or the library is not installed.
    """
    try:
        import simplemma
    except ImportError:
        raise DataError("insights need simplemma: pip install 'reviews-parsing[insights]'") from None
    try:
        simplemma.lemmatize("a", lang=language)
    except ValueError:
        raise DataError(f"language '{language}' has no lemmas here: give a code such as en, de or fr") from None

    def lemmatise(word: str) -> str:
        parts = word.casefold().split()
        while language == "en" and len(parts) > 1 and parts[0] in _ARTICLES:
            parts = parts[1:]
        # As a noun: the lemma of "seating" is not "seat", that of "well done" is not "well do".
        if parts and not (language == "en" and parts[-1].endswith(("ing", "ed"))):
            parts[-1] = str(simplemma.lemmatize(parts[-1], lang=language)).casefold()
        return " ".join(parts)

    return lemmatise


@dataclass
class _Thing:
    """What is counted under one lemma in one category."""

    aspects: int = 0
    positive: int = 0
    negative: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)


def find(
    reviews: Reviews, order: Sequence[str], lemmatise: Lemmatise
) -> tuple[tuple[Word, ...], tuple[Judgement, ...]]:
    """The words most praised and most blamed in each category, and the words that judge it."""
    things = _things(reviews, lemmatise)
    kept = {category: _kept(things[category]) for category in order}
    chosen = [
        (category, form, lemma)
        for category, lemmas in kept.items()
        for lemma in lemmas
        for form in things[category][lemma].forms
    ]
    reviews.connection.execute("CREATE TABLE chosen (category VARCHAR, form VARCHAR, lemma VARCHAR)")
    if chosen:
        import pyarrow as pa

        columns = [pa.array(column, pa.string()) for column in zip(*chosen, strict=True)]
        rows = pa.table(columns, ["category", "form", "lemma"])
        reviews.connection.register("rows", rows)
        reviews.connection.execute("INSERT INTO chosen SELECT * FROM rows")
        reviews.connection.unregister("rows")
    opinions = _opinions(reviews)
    named = tuple(
        Word(
            category=category,
            word=_spelling(thing),
            forms=tuple(form for form, _ in thing.forms.most_common()),
            aspects=thing.aspects,
            positive=thing.positive,
            negative=thing.negative,
            praised_with=opinions[category, lemma, POSITIVE],
            blamed_with=opinions[category, lemma, NEGATIVE],
        )
        for category in order
        for lemma, thing in ((lemma, things[category][lemma]) for lemma in kept[category])
    )
    return named, _judgements(reviews, order)


def _things(reviews: Reviews, lemmatise: Lemmatise) -> dict[str, dict[str, _Thing]]:
    rows = reviews.rows(
        f"""
        SELECT a.entity_group, lower(trim(a.word)) AS form,
            CASE WHEN bool_or(trim(a.word) = lower(trim(a.word))) THEN form ELSE mode(trim(a.word)) END, count(*) AS n,
            count(*) FILTER (a.polarity = '{POSITIVE}'), count(*) FILTER (a.polarity = '{NEGATIVE}')
        FROM (SELECT unnest(aspects) AS a FROM dated) WHERE trim(a.word) <> ''
        GROUP BY 1, 2 QUALIFY row_number() OVER (PARTITION BY a.entity_group ORDER BY n DESC, form) <= {MOST_FORMS}
        ORDER BY n DESC, form
        """
    )
    things: dict[str, dict[str, _Thing]] = defaultdict(lambda: defaultdict(_Thing))
    for category, form, written, aspects, positive, negative in cast(list[tuple[str, str, str, int, int, int]], rows):
        thing = things[category][lemmatise(form)]
        thing.aspects += aspects
        thing.positive += positive
        thing.negative += negative
        thing.forms[form] += aspects
        thing.written[" ".join(written.split())] += aspects
    return things


def _spelling(thing: _Thing) -> str:
    """The form most written; in lower case, if any is: capitals are then those of beginnings of sentences."""
    lower = Counter({form: n for form, n in thing.written.items() if form == form.lower()})
    return (lower or thing.written).most_common(1)[0][0]


def _kept(things: dict[str, _Thing]) -> list[str]:
    """The lemmas most praised and those most blamed, the most frequent first."""
    kept: set[str] = set()
    for side in ("positive", "negative"):
        named = [lemma for lemma, thing in things.items() if getattr(thing, side)]
        kept.update(sorted(named, key=lambda lemma: (-getattr(things[lemma], side), lemma))[:MOST_WORDS])
    return sorted(kept, key=lambda lemma: (-things[lemma].aspects, lemma))


def _opinions(reviews: Reviews) -> dict[tuple[str, str, str], tuple[str, ...]]:
    rows = reviews.rows(
        f"""
        SELECT category, lemma, polarity, list(opinion ORDER BY n DESC, opinion)[:{MOST_OPINIONS}] FROM (
            SELECT c.category, c.lemma, a.polarity, lower(trim(a.opinion.word)) AS opinion, count(*) AS n
            FROM (SELECT unnest(aspects) AS a FROM dated) JOIN chosen c
            ON a.entity_group = c.category AND lower(trim(a.word)) = c.form
            WHERE trim(a.opinion.word) <> '' AND a.polarity IN ('{POSITIVE}', '{NEGATIVE}') GROUP BY ALL
        ) GROUP BY ALL
        """
    )
    known = {
        (category, lemma, polarity): tuple(opinions)
        for category, lemma, polarity, opinions in cast(list[tuple[str, str, str, list[str]]], rows)
    }
    return defaultdict(tuple, known)


def _judgements(reviews: Reviews, order: Sequence[str]) -> tuple[Judgement, ...]:
    rows = reviews.rows(
        f"""
        SELECT a.entity_group, a.polarity, lower(trim(a.opinion.word)) AS opinion, count(*) AS n
        FROM (SELECT unnest(aspects) AS a FROM dated)
        WHERE trim(a.opinion.word) <> '' AND a.polarity IN ('{POSITIVE}', '{NEGATIVE}') GROUP BY 1, 2, 3
        QUALIFY row_number() OVER (PARTITION BY a.entity_group, a.polarity ORDER BY n DESC, opinion)
            <= {MOST_JUDGEMENTS}
        """
    )
    found = [Judgement(*cast(tuple[str, str, str, int], row)) for row in rows]
    place = {category: n for n, category in enumerate(order)}
    return tuple(sorted(found, key=lambda j: (place[j.category], j.polarity != POSITIVE, -j.aspects, j.opinion)))
