"""Targets and opinion expressions of each category; forms of a target are merged by lemma and case."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights.counts import NEGATIVE, POSITIVE
from reviews_parsing.insights.results import Judgement, Word
from reviews_parsing.insights.reviews import Reviews

MAX_FORMS = 5000
"""Forms of a category that are merged, the most frequent first."""
MAX_WORDS = 12
"""Words of a category that are listed, for praise and for blame each."""
MAX_OPINIONS = 3
MAX_JUDGEMENTS = 10

Lemmatise = Callable[[str], str]
_ARTICLES = frozenset(("the", "a", "an", "their", "its", "our", "my", "your", "this", "these", "that", "those"))


def lemmatiser(language: str) -> Lemmatise:
    """Return a function that maps a target to lower case, without articles and with the lemma of its last word.

    Raises DataError if the language is unknown or simplemma is not installed.
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
        # The last word is a noun: "seating" must not become "seat", nor "well done" "well do".
        if parts and not (language == "en" and parts[-1].endswith(("ing", "ed"))):
            parts[-1] = str(simplemma.lemmatize(parts[-1], lang=language)).casefold()
        return " ".join(parts)

    return lemmatise


@dataclass
class _Target:
    """Counts of all forms with the same lemma."""

    aspects: int = 0
    positive: int = 0
    negative: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    spellings: Counter[str] = field(default_factory=Counter)


def read_words(
    reviews: Reviews, order: Sequence[str], lemmatise: Lemmatise
) -> tuple[tuple[Word, ...], tuple[Judgement, ...]]:
    """Return the most praised and most blamed targets of each category, and its opinion expressions."""
    targets = _targets(reviews, lemmatise)
    lemmas = {category: _top_lemmas(targets[category]) for category in order}
    rows = [
        (category, form, lemma)
        for category in order
        for lemma in lemmas[category]
        for form in targets[category][lemma].forms
    ]
    reviews.connection.execute("CREATE TABLE top_forms (category VARCHAR, form VARCHAR, lemma VARCHAR)")
    if rows:
        import pyarrow as pa

        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        reviews.connection.register("rows", pa.table(columns, ["category", "form", "lemma"]))
        reviews.connection.execute("INSERT INTO top_forms SELECT * FROM rows")
        reviews.connection.unregister("rows")
    opinions = _opinions(reviews)
    words = tuple(
        Word(
            category=category,
            word=_spelling(target),
            forms=tuple(form for form, _ in target.forms.most_common()),
            aspects=target.aspects,
            positive=target.positive,
            negative=target.negative,
            praised_with=opinions[category, lemma, POSITIVE],
            blamed_with=opinions[category, lemma, NEGATIVE],
        )
        for category in order
        for lemma, target in ((lemma, targets[category][lemma]) for lemma in lemmas[category])
    )
    return words, _judgements(reviews, order)


def _targets(reviews: Reviews, lemmatise: Lemmatise) -> dict[str, dict[str, _Target]]:
    rows = reviews.rows(
        f"""
        SELECT a.entity_group, lower(trim(a.word)) AS form,
            CASE WHEN bool_or(trim(a.word) = lower(trim(a.word))) THEN form ELSE mode(trim(a.word)) END, count(*) AS n,
            count(*) FILTER (a.polarity = '{POSITIVE}'), count(*) FILTER (a.polarity = '{NEGATIVE}')
        FROM (SELECT unnest(aspects) AS a FROM dated) WHERE trim(a.word) <> ''
        GROUP BY 1, 2 QUALIFY row_number() OVER (PARTITION BY a.entity_group ORDER BY n DESC, form) <= {MAX_FORMS}
        ORDER BY n DESC, form
        """
    )
    targets: dict[str, dict[str, _Target]] = defaultdict(lambda: defaultdict(_Target))
    for category, form, spelling, aspects, positive, negative in cast(list[tuple[str, str, str, int, int, int]], rows):
        target = targets[category][lemmatise(form)]
        target.aspects += aspects
        target.positive += positive
        target.negative += negative
        target.forms[form] += aspects
        target.spellings[" ".join(spelling.split())] += aspects
    return targets


def _spelling(target: _Target) -> str:
    """Return the most frequent spelling, preferably in lower case: a capital may only begin a sentence."""
    lower = Counter({form: n for form, n in target.spellings.items() if form == form.lower()})
    return (lower or target.spellings).most_common(1)[0][0]


def _top_lemmas(targets: dict[str, _Target]) -> list[str]:
    """Return the most praised and the most blamed lemmas, sorted by frequency."""
    lemmas: set[str] = set()
    for polarity in (POSITIVE, NEGATIVE):
        counts = {lemma: count for lemma, target in targets.items() if (count := getattr(target, polarity))}
        lemmas.update(sorted(counts, key=lambda lemma: (-counts[lemma], lemma))[:MAX_WORDS])
    return sorted(lemmas, key=lambda lemma: (-targets[lemma].aspects, lemma))


def _opinions(reviews: Reviews) -> dict[tuple[str, str, str], tuple[str, ...]]:
    rows = reviews.rows(
        f"""
        SELECT category, lemma, polarity, list(opinion ORDER BY n DESC, opinion)[:{MAX_OPINIONS}] FROM (
            SELECT c.category, c.lemma, a.polarity, lower(trim(a.opinion.word)) AS opinion, count(*) AS n
            FROM (SELECT unnest(aspects) AS a FROM dated) JOIN top_forms c
            ON a.entity_group = c.category AND lower(trim(a.word)) = c.form
            WHERE trim(a.opinion.word) <> '' AND a.polarity IN ('{POSITIVE}', '{NEGATIVE}') GROUP BY ALL
        ) GROUP BY ALL
        """
    )
    opinions: dict[tuple[str, str, str], tuple[str, ...]] = defaultdict(tuple)
    for category, lemma, polarity, expressions in cast(list[tuple[str, str, str, list[str]]], rows):
        opinions[category, lemma, polarity] = tuple(expressions)
    return opinions


def _judgements(reviews: Reviews, order: Sequence[str]) -> tuple[Judgement, ...]:
    rows = reviews.rows(
        f"""
        SELECT a.entity_group, a.polarity, lower(trim(a.opinion.word)) AS opinion, count(*) AS n
        FROM (SELECT unnest(aspects) AS a FROM dated)
        WHERE trim(a.opinion.word) <> '' AND a.polarity IN ('{POSITIVE}', '{NEGATIVE}') GROUP BY 1, 2, 3
        QUALIFY row_number() OVER (PARTITION BY a.entity_group, a.polarity ORDER BY n DESC, opinion)
            <= {MAX_JUDGEMENTS}
        """
    )
    judgements = [Judgement(*cast(tuple[str, str, str, int], row)) for row in rows]
    rank = {category: n for n, category in enumerate(order)}
    return tuple(sorted(judgements, key=lambda j: (rank[j.category], j.polarity != POSITIVE, -j.aspects, j.opinion)))
