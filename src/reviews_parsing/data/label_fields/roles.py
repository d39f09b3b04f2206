"""Roles of the keys of items: offsets, words, category, polarity and opinion, inferred from the values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reviews_parsing.data import polarities
from reviews_parsing.data.label_fields.items import (
    Item,
    compute_stop,
    cut_span,
    flatten,
    is_null,
    occurrences,
    offsets,
    to_int,
)
from reviews_parsing.data.label_fields.shapes import is_strings, quote
from reviews_parsing.data.label_fields.units import find_other_unit, is_aligned
from reviews_parsing.errors import DataError

LABEL_NAME = re.compile(r"(^|[._])(labels?|entity(_?(type|group))?|category|type|tags?|class|ner)$", re.IGNORECASE)
_WORD_NAME = re.compile(
    r"(^|[._])(text|value|word|surface|surface_form|term|span|aspect|target|aspect_term|mention)$", re.IGNORECASE
)
_OPINION_NAME = re.compile(r"opinion|expression|opinion_term", re.IGNORECASE)
_START_NAME = re.compile(r"(^|[._])(start|begin|from|first|offset|char_?start)", re.IGNORECASE)
_END_NAME = re.compile(r"(^|[._])(end|stop|to|last|char_?end)([._]|$|offset|char|_)", re.IGNORECASE)
_LENGTH_NAME = re.compile(r"(^|[._])(len|length|size)$", re.IGNORECASE)
_ORDINAL_NAME = re.compile(r"(^|[._])(ordinal|occurrence)$", re.IGNORECASE)
_NOT_OFFSET_NAME = re.compile(
    r"(^|[._])(id|user|annotator|token.*|.*_id|confidence|count|.*(polarity|sentiment).*)$", re.IGNORECASE
)
_POLARITY_NAME = re.compile(r"polarity|sentiment", re.IGNORECASE)


class AmbiguityError(DataError):
    """Error for labels that fit a text in several ways, even if they fit another text of the record in one way."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Keys of an item and the parts of a label that they hold; `end_mode` is end, inclusive or length."""

    start: str | None = None
    end: str | None = None
    end_mode: str = "end"
    word: str | None = None
    category: str | None = None
    polarity: str | None = None
    opinion: str | None = None
    ordinal: str | None = None
    is_verified: bool = False


def count_labels(value: Any) -> int:
    """Return the number of polarities in a list, and of objects with one or a string under a usual name of a label."""
    members = value if isinstance(value, list) else []
    items = [flatten(item) for item in members if isinstance(item, dict)]
    return sum(isinstance(member, str) and polarities.standardise(member) is not None for member in members) + sum(
        any(
            isinstance(member, str) and (LABEL_NAME.search(key) or polarities.standardise(member))
            for key, member in item.items()
        )
        for item in items
    )


def infer_roles(rows: Sequence[tuple[Item, str]], has_tokens: bool) -> Roles:
    """Return the roles of the keys. Raises DataError if the items are not labels of the texts, or ambiguous."""
    keys = list(dict.fromkeys(key for item, _ in rows for key in item))
    ints = [
        key
        for key in keys
        if all(to_int(item.get(key)) is not None for item, _ in rows) and not _NOT_OFFSET_NAME.search(key)
    ]
    strings = [
        key
        for key in keys
        if key not in ints
        and all(item.get(key) is None or isinstance(item[key], str) for item, _ in rows)
        and any(item.get(key) for item, _ in rows)
    ]
    lists = [key for key in keys if all(is_strings(item.get(key)) and len(item[key]) for item, _ in rows)]
    for key in lists:
        if all(" ".join(item[key]) in text for item, text in rows):
            raise DataError(f"'{key}' holds tokens, so its offsets may count tokens")
    candidates = [key for key in strings if not polarities.are_polarities([i[key] for i, _ in rows if i.get(key)])]
    verified = _verify_offsets(rows, ints, candidates, is_only=not lists and len(candidates) == len(strings))
    if verified is not None:
        return _name_roles(rows, verified, strings, lists)
    for word in candidates:
        has_offsets = len([key for key in ints if not _ORDINAL_NAME.search(key)]) > 1
        if has_offsets and _WORD_NAME.search(word) and any(not is_null(item.get(word)) for item, _ in rows):
            raise DataError(f"the offsets do not fit the words in '{word}'")
    fitting = [
        (start, end, mode)
        for start, end, mode in _list_offsets(ints)
        if mode != "inclusive"
        and (mode == "length") == bool(_LENGTH_NAME.search(end))
        and all(cut_span(t, *offsets(i, start, end), mode) for i, t in rows)
    ]
    named = [entry for entry in fitting if _START_NAME.search(entry[0]) and _is_end_name(entry[1])]
    fitting = named if len(named) == 1 else fitting
    if len(fitting) == 1:
        _check_alignment(rows, *fitting[0], has_tokens)
        return _name_roles(rows, Roles(*fitting[0]), strings, lists)
    if len(fitting) > 1:
        raise DataError(f"{len(ints)} numbers may be offsets ({', '.join(ints)})")
    if len([key for key in ints if not _ORDINAL_NAME.search(key)]) > 1:
        raise DataError("the offsets lie outside the text")
    return _infer_words(rows, strings, lists, ints)


def _verify_offsets(
    rows: Sequence[tuple[Item, str]], ints: Sequence[str], candidates: Sequence[str], is_only: bool
) -> Roles | None:
    """Return the roles of offsets that fit the words of a key, None if no key has such words.

    `is_only` tells that the candidates are the only keys of names. Raises DataError if several roles fit.
    """
    options: dict[tuple[tuple[int, str], ...], Roles] = {}
    for word in sorted(candidates, key=lambda key: not _WORD_NAME.search(key)):
        if any(not isinstance(item.get(word), str) for item, _ in rows):
            continue
        for start, end, mode in _list_offsets(ints):
            if all(cut_span(t, *offsets(i, start, end), mode) == i[word] for i, t in rows):
                spans = tuple((offsets(item, start, end)[0], item[word]) for item, _ in rows)
                options.setdefault(spans, Roles(start, end, mode, word, is_verified=True))
    named = [roles for roles in options.values() if _WORD_NAME.search(roles.word or "")]
    choices = named or list(options.values())
    if not choices:
        return None
    if len(choices) > 1:
        raise AmbiguityError(f"{quote([roles.word or '' for roles in choices])} all fit the offsets")
    if len(candidates) == 1 and is_only and not named:
        if LABEL_NAME.search(choices[0].word or ""):
            return None
        raise AmbiguityError(f"it is unclear whether '{choices[0].word}' holds words or categories")
    return choices[0]


def _is_end_name(name: str) -> bool:
    return bool(_END_NAME.search(name) or _LENGTH_NAME.search(name))


def _list_offsets(ints: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for mode in ("end", "inclusive", "length"):
        for start in ints:
            for end in ints:
                if start != end:
                    yield start, end, mode


def _check_alignment(rows: Sequence[tuple[Item, str]], start: str, end: str, mode: str, has_tokens: bool) -> None:
    """Raise AmbiguityError if offsets without words do not fall on words: they count something else."""
    misaligned = _count_misaligned(rows, start, end, mode)
    if misaligned and (unit := find_other_unit([(text, offsets(i, start, end)) for i, text in rows], mode)):
        raise AmbiguityError(f"the offsets seem to count {unit}: convert them to characters of the text")
    has_better = misaligned and mode == "end" and _count_misaligned(rows, start, end, "inclusive") < misaligned
    if misaligned and (has_tokens or has_better or 2 * misaligned > len(rows)):
        raise AmbiguityError(
            f"{misaligned} of {len(rows)} spans cut words: they may count tokens or bytes, or include the last one"
        )
    if has_tokens:
        raise AmbiguityError("the offsets may count tokens or characters")


def _count_misaligned(rows: Sequence[tuple[Item, str]], start: str, end: str, mode: str) -> int:
    """Return the number of spans with an edge inside a word or beside white space."""
    spans = ((text, *offsets(item, start, end)) for item, text in rows)
    return sum(not is_aligned(text, first, compute_stop(first, last, mode)) for text, first, last in spans)


def _infer_words(
    rows: Sequence[tuple[Item, str]], strings: Sequence[str], lists: Sequence[str], ints: Sequence[str]
) -> Roles:
    """Return the roles of items without offsets, whose words are located in the text."""
    in_text = [
        key
        for key in strings
        if all(is_null(item.get(key)) or occurrences(item[key], text) for item, text in rows)
        and any(not is_null(item.get(key)) for item, _ in rows)
        and not polarities.are_polarities([item[key] for item, _ in rows if item.get(key)])
    ]
    if not in_text:  # implicit aspects only
        in_text = [k for k in strings if _WORD_NAME.search(k) and all(is_null(item.get(k)) for item, _ in rows)]
    elif all(_OPINION_NAME.search(key) for key in in_text):
        in_text += [k for k in strings if _WORD_NAME.search(k) and all(is_null(item.get(k)) for item, _ in rows)]
    found = [key for key in in_text if not _OPINION_NAME.search(key)]
    if len(found) > 1:
        found = [key for key in found if not LABEL_NAME.search(key)]
    if len(found) > 1:
        found = [key for key in found if _WORD_NAME.search(key)]
    if len(found) != 1:
        problem = f"{quote(in_text)} all hold words of the text" if in_text else "no offsets and no words"
        raise DataError(problem)
    if any(key not in in_text and _WORD_NAME.search(key) and not key.endswith("value") for key in strings):
        raise DataError("the words are not in the text")
    ordinal = next((key for key in ints if _ORDINAL_NAME.search(key)), None)
    return _name_roles(rows, Roles(word=found[0], ordinal=ordinal, is_verified=True), strings, lists)


def _check_polarities(rows: Sequence[tuple[Item, str]], keys: Sequence[str], has_polarity: bool) -> None:
    """Raise DataError if a key holds polarities in an unknown form: misspelt, as numbers, or of other scales.

    `has_polarity` tells that another key holds polarities, whose scores numbers may be.
    """
    for key in dict.fromkeys(key for item, _ in rows for key in item if not has_polarity):
        if _POLARITY_NAME.search(key) and any(isinstance(item.get(key), int | float) for item, _ in rows):
            raise DataError(f"the polarities in '{key}' are numbers: export their names")
    for key in keys:
        names = list(dict.fromkeys(str(item[key]) for item, _ in rows if not is_null(item.get(key))))
        unknown = [name for name in names if polarities.standardise(name) is None]
        is_mixed = len(unknown) < len(names) and any(map(polarities.resembles_polarity, unknown))
        if unknown and (is_mixed or _POLARITY_NAME.search(key)):
            raise DataError(
                f"'{key}' holds {quote(unknown)[:60]}, not only polarities: write {', '.join(polarities.POLARITIES)}"
            )


def _name_roles(rows: Sequence[tuple[Item, str]], roles: Roles, strings: Sequence[str], lists: Sequence[str]) -> Roles:
    """Complete the roles: polarity, opinion and category."""
    others = [key for key in strings if key != roles.word]
    polarity_keys = [
        key for key in others if polarities.are_polarities([i[key] for i, _ in rows if not is_null(i.get(key))])
    ]
    others = [key for key in others if key not in polarity_keys]
    _check_polarities(rows, others, bool(polarity_keys))
    opinions = [
        key
        for key in others
        if _OPINION_NAME.search(key)
        and all(is_null(item.get(key)) or occurrences(item[key], text) for item, text in rows)
    ]
    others = [key for key in [*others, *lists] if key not in opinions]
    named = [key for key in others if not key.endswith("id")]
    if others and not named:
        raise DataError(f"{quote(others)} may be an id or a category")
    others = named
    if len(others) > 1:
        others = [key for key in others if LABEL_NAME.search(key)]
        if len(others) != 1:
            raise DataError(f"it is unclear which of {', '.join([*strings, *lists])} is the category")
    used = (roles.start, roles.end, roles.ordinal)
    unnamed = [key for item, _ in rows for key in item if key.isdecimal() and type(item[key]) is int]
    if unknown := [key for key in dict.fromkeys(unnamed) if key not in used]:
        raise DataError(
            f"the numbers at position {unknown[0]} of each item may be polarities or ids: name or remove them"
        )
    if len(polarity_keys) > 1 or len(opinions) > 1:
        raise DataError(f"{quote(polarity_keys if len(polarity_keys) > 1 else opinions)} have the same role")
    if (
        not others
        and not polarity_keys
        and any(
            LABEL_NAME.search(key) and not isinstance(item.get(key), str | list) for item, _ in rows for key in item
        )
    ):
        raise DataError("its labels are numbers without names: export their names")
    return Roles(
        roles.start,
        roles.end,
        roles.end_mode,
        roles.word,
        others[0] if others else None,
        polarity_keys[0] if polarity_keys else None,
        opinions[0] if opinions else None,
        roles.ordinal,
        roles.is_verified,
    )
