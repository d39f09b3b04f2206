"""Words and topics: targets merged by lemma, and gathered under a head noun or by a topic file.

Everything comes from the stored spans, so that topics are the same in every run and need no model. A compound joins the
head that is a target by itself ("short rib" joins "rib", but "ice cream" does not join "cream"), accents and rare
misspellings join the usual spelling, and a topic file merges synonyms.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

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
MIN_TOPIC_ASPECTS = 3
MAX_TOPICS, MAX_RECENT_TOPICS = 300, 100
"""Topics that are counted: the most frequent ones, and more with the largest recent rise."""
RECENT_PERIODS = 0.125
HEAD_SHARE = 0.25
"""A compound joins its head if the head alone is a target at least that often."""
MIN_MISSPELLED_LENGTH, MISSPELLING_RATIO = 7, 20

Lemmatise = Callable[[str], str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARTICLES = _words("the a an their its our my your this these that those")
_PREPOSITIONS = _words("of with in at on from for by to near without")
# "Glass of wine" is about wine: the first noun only measures or counts.
_MEASURES = _words(
    "glass cup bottle plate bowl slice piece portion selection choice variety range lot type kind sort side order bit"
    " pint pot number array couple pair basket"
)
# "Pool area" is not about areas: these nouns do not head a topic.
_LIGHT_HEADS = _words(
    "area section selection option choice variety quality quantity size part side kind type thing place stuff style"
    " level time way bit item list range experience"
)


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

    @cache
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
class TopicTarget:
    """Counts of all forms with the same lemma in a category."""

    aspects: int = 0
    positive: int = 0
    negative: int = 0
    recent: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    spellings: Counter[str] = field(default_factory=Counter)

    def spelling(self) -> str:
        """Return the most frequent spelling, preferably in lower case: a capital may only begin a sentence."""
        lower = Counter({form: n for form, n in self.spellings.items() if form == form.lower()})
        return (lower or self.spellings).most_common(1)[0][0]


Targets = Mapping[str, Mapping[str, TopicTarget]]
"""Targets by category and lemma."""


def read_targets(reviews: Reviews, lemmatise: Lemmatise, periods: int) -> Targets:
    """Return the targets of all categories; `recent` counts aspects in the last eighth of the periods."""
    recent = max(1, periods - max(1, round(RECENT_PERIODS * periods)))
    rows = reviews.rows(
        f"""
        SELECT a.entity_group, lower(trim(a.word)) AS form,
            CASE WHEN bool_or(trim(a.word) = lower(trim(a.word))) THEN form ELSE mode(trim(a.word)) END, count(*) AS n,
            count(*) FILTER (a.polarity = '{POSITIVE}'), count(*) FILTER (a.polarity = '{NEGATIVE}'),
            count(*) FILTER (t >= {recent} AND t < {periods})
        FROM (SELECT unnest(aspects) AS a, t FROM coded) WHERE trim(a.word) <> ''
        GROUP BY 1, 2 QUALIFY row_number() OVER (PARTITION BY a.entity_group ORDER BY n DESC, form) <= {MAX_FORMS}
        ORDER BY n DESC, form
        """
    )
    targets: dict[str, dict[str, TopicTarget]] = defaultdict(lambda: defaultdict(TopicTarget))
    for category, form, spelling, *counts in cast(list[tuple[str, str, str, int, int, int, int]], rows):
        target = targets[category][lemmatise(form)]
        target.aspects += counts[0]
        target.positive += counts[1]
        target.negative += counts[2]
        target.recent += counts[3]
        target.forms[form] += counts[0]
        target.spellings[" ".join(spelling.split())] += counts[0]
    return targets


def read_words(
    reviews: Reviews, order: Sequence[str], targets: Targets
) -> tuple[tuple[Word, ...], tuple[Judgement, ...]]:
    """Return the most praised and most blamed targets of each category, and its opinion expressions."""
    lemmas = {category: _top_lemmas(targets.get(category, {})) for category in order}
    rows = [
        (category, form, lemma)
        for category in order
        for lemma in lemmas[category]
        for form in targets[category][lemma].forms
    ]
    columns = {name: [row[n] for row in rows] for n, name in enumerate(("category", "form", "lemma"))}
    reviews.insert("top_forms", columns, ["VARCHAR"] * 3)
    opinions = _opinions(reviews)
    words = tuple(
        Word(
            category=category,
            word=target.spelling(),
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


def _top_lemmas(targets: Mapping[str, TopicTarget]) -> list[str]:
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


@dataclass
class TopicForms:
    """A topic before its reviews are counted: `forms` are (category, form)."""

    id: str
    category: str
    name: str
    aspects: int
    recent: int
    forms: list[tuple[str, str]]


@dataclass(frozen=True)
class TopicEdits:
    """A topic file: topics to merge, forms to split off, new names, and topics to hide."""

    merge: Mapping[str, Sequence[str]]
    split: Mapping[str, Sequence[str]]
    rename: Mapping[str, str]
    hide: Sequence[str]


def read_topic_file(path: Path | None) -> TopicEdits:
    """Read a topic file (TOML). Raises DataError if it cannot be read or has unknown sections."""
    if path is None:
        return TopicEdits({}, {}, {}, ())
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not TOML ({error}): see docs/how-to/insights.md for an example") from None
    section_types = {"merge": list, "split": list, "rename": str}
    for section, entries in document.items():
        if section == "hide" and isinstance(entries, dict) and set(entries) == {"ids"} and _is_strings(entries["ids"]):
            continue
        section_type = section_types.get(section)
        if section_type is None or not isinstance(entries, dict):
            raise DataError(f"{path}: section '{section}' is unknown: give merge, split, rename, or hide with ids")
        for name, value in entries.items():
            if not (isinstance(value, str) if section_type is str else _is_strings(value)):
                form = "a text" if section_type is str else "a list of texts"
                raise DataError(f"{path}: '{name}' in section '{section}' is not {form}")
    return TopicEdits(
        document.get("merge", {}),
        document.get("split", {}),
        document.get("rename", {}),
        document.get("hide", {}).get("ids", ()),
    )


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def gather_topics(
    targets: Targets, order: Sequence[str], lemmatise: Lemmatise, language: str, edits: TopicEdits, periods: int
) -> tuple[list[TopicForms], int, list[str]]:
    """Return the topics to count, the number of all topics, and notes on the topic file."""
    topics: dict[str, TopicForms] = {}
    for category in order:
        for key, members in _gather(targets.get(category, {}), lemmatise, language).items():
            name = (targets[category].get(key) or max(members, key=lambda m: m.aspects)).spelling()
            forms = [(category, form) for member in members for form, _ in member.forms.most_common()]
            size, recent = sum(m.aspects for m in members), sum(m.recent for m in members)
            topics[topic_id(category, key)] = TopicForms(topic_id(category, key), category, name, size, recent, forms)
    notes = _apply(topics, edits, targets, lemmatise)
    hidden = set(edits.hide)
    counted = [topic for topic in topics.values() if topic.aspects >= MIN_TOPIC_ASPECTS and topic.id not in hidden]
    counted.sort(key=lambda topic: (-topic.aspects, topic.id))
    total = sum(topic.aspects for topic in counted) or 1
    share = sum(topic.recent for topic in counted) / total

    def rise(topic: TopicForms) -> float:
        expected = topic.aspects * share
        return float((topic.recent - expected) / (expected**0.5 + 1))

    rising = sorted(counted[MAX_TOPICS:], key=lambda topic: (-rise(topic), topic.id))[:MAX_RECENT_TOPICS]
    return counted[:MAX_TOPICS] + (rising if periods > 1 else []), len(counted), notes


def topic_id(category: str, key: str) -> str:
    """Return the id of a topic, such as FOOD/short-rib."""
    return f"{category}/{'-'.join(key.split())}"


def _gather(targets: Mapping[str, TopicTarget], lemmatise: Lemmatise, language: str) -> dict[str, list[TopicTarget]]:
    """Return the targets of each topic of a category by its key."""
    sizes: Counter[str] = Counter()
    keys = {lemma: _key(lemma, lemmatise, language) for lemma in targets}
    for lemma, target in targets.items():
        sizes[keys[lemma]] += target.aspects
    parents = {**dict(_misspellings(sizes)), **_joined(sizes)}
    for key in sizes:
        if language == "en" and key not in parents and (head := _head(key, sizes)):
            parents[key] = head
    topics: dict[str, list[TopicTarget]] = defaultdict(list)
    for lemma, target in targets.items():
        key, steps = keys[lemma], 0
        while key in parents and steps < 5:
            key, steps = parents[key], steps + 1
        topics[key].append(target)
    return topics


def _key(lemma: str, lemmatise: Lemmatise, language: str) -> str:
    """Return a target without accents, hyphens and outer punctuation; of "glass of wine" the wine."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", lemma) if not unicodedata.combining(c))
    text = re.sub(r"^[\W_]+|[\W_]+$", "", re.sub(r"[-_/\s]+", " ", plain if plain.isascii() else lemma))
    if language != "en":
        return text or lemma
    words = text.split()
    for n, word in enumerate(words[1:-1], start=1):
        if word in _PREPOSITIONS:
            measured = word == "of" and lemmatise(words[n - 1]) in _MEASURES
            return _key(lemmatise(" ".join(words[n + 1 :] if measured else words[:n])), lemmatise, language)
    return lemmatise(" ".join(words)) or lemma


def _head(key: str, sizes: Mapping[str, int]) -> str | None:
    """Return the longest ending of a compound that is a target by itself often enough."""
    words = key.split()
    if not words or words[-1] in _LIGHT_HEADS:
        return None
    for n in range(1, len(words)):
        head = " ".join(words[n:])
        if sizes.get(head, 0) >= max(2, HEAD_SHARE * sizes[key]):
            return head
    return None


def _joined(sizes: Mapping[str, int]) -> dict[str, str]:
    """Return compounds in two spellings, such as "key card" and "keycard": the rarer one with the more frequent one."""
    pairs = [(key, joined) for key in sizes if " " in key and (joined := key.replace(" ", "")) in sizes]
    return {(a if sizes[a] < sizes[b] else b): (b if sizes[a] < sizes[b] else a) for a, b in pairs}


def _misspellings(sizes: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield rare words with the frequent word that differs in one letter after the first."""
    frequent: dict[str, str] = {}
    for key in sorted(sizes, key=lambda key: (-sizes[key], key)):
        if sizes[key] >= MISSPELLING_RATIO and len(key) >= MIN_MISSPELLED_LENGTH - 1:
            for form in _deletions(key):
                frequent.setdefault(form, key)
    for key, size in sizes.items():
        if len(key) >= MIN_MISSPELLED_LENGTH and not key[-1].isdigit():
            usual = next((frequent[form] for form in _deletions(key) if form in frequent), None)
            if usual and usual != key and usual[0] == key[0] and sizes[usual] >= MISSPELLING_RATIO * size:
                yield key, usual


def _deletions(word: str) -> list[str]:
    return [word, *(word[:n] + word[n + 1 :] for n in range(1, len(word)))]


def _apply(topics: dict[str, TopicForms], edits: TopicEdits, targets: Targets, lemmatise: Lemmatise) -> list[str]:
    """Split, merge and rename topics. Returns notes on ids and forms that no review has."""
    unknown: list[str] = []
    for source, split_forms in edits.split.items():
        topic = topics.get(source)
        for form in split_forms:
            lemma = lemmatise(form)
            moved = [pair for pair in topic.forms if lemmatise(pair[1]) == lemma] if topic else []
            if not topic or not moved:
                unknown.append(f"{source}: {form}" if topic else source)
                continue
            counts = [targets[category][lemma] for category in {category for category, _ in moved}]
            size, recent = sum(t.aspects for t in counts), sum(t.recent for t in counts)
            new = topic_id(topic.category, lemma)
            topic.forms = [pair for pair in topic.forms if pair not in moved]
            topic.aspects, topic.recent = topic.aspects - size, topic.recent - recent
            topics[new] = TopicForms(new, topic.category, counts[0].spelling(), size, recent, moved)
    for goal, sources in edits.merge.items():
        merged = [topics[source] for source in dict.fromkeys(sources) if source in topics and source != goal]
        unknown += [source for source in sources if source not in topics]
        if not merged:
            continue
        category, _, key = goal.partition("/")
        topic = topics.get(goal) or TopicForms(goal, category, key.replace("-", " "), 0, 0, [])
        if category not in {t.category for t in [*merged, topic] if t.forms} or not key:
            unknown.append(goal)
            continue
        for source_topic in merged:
            topic.forms += source_topic.forms
            topic.aspects += source_topic.aspects
            topic.recent += source_topic.recent
            del topics[source_topic.id]
        topics[goal] = topic
    for name, new_name in edits.rename.items():
        if name in topics:
            topics[name].name = new_name
        else:
            unknown.append(name)
    unknown += [name for name in edits.hide if name not in topics]
    names = ", ".join(dict.fromkeys(unknown))
    return [f"The topic file names topics that no review has: {names}."] if unknown else []


def insert_topic_forms(reviews: Reviews, topics: Iterable[TopicForms]) -> None:
    """Create the table `topic_forms` for the counts."""
    rows = [(category, form, number) for number, topic in enumerate(topics) for category, form in topic.forms]
    columns = {name: [row[n] for row in rows] for n, name in enumerate(("category", "form", "topic"))}
    reviews.insert("topic_forms", columns, ["VARCHAR", "VARCHAR", "INTEGER"])
