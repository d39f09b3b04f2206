"""Drafts of corrections: what the editor in the browser is given, and what it gives back to be saved.

A draft is JSON and holds all that saving needs, so that nothing is lost where the page's server starts anew meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reviews_parsing.corrections import Correction, CorrectionConflict, CorrectionRevision, CorrectionStore
from reviews_parsing.demo.client import Served
from reviews_parsing.demo.marks import hues
from reviews_parsing.errors import DataError, ReviewsParsingError
from reviews_parsing.schema import Aspect, ParsedReview, Taxonomy
from reviews_parsing.tagging import words

Draft = dict[str, Any]
NEW = "This is what the model answered. Change what is wrong, then save."


def draft(parsed: ParsedReview, served: Served, latest: CorrectionRevision | None) -> Draft:
    """What the editor begins with: the latest correction of the text, or else the answer."""
    known = _known(served.taxonomy, parsed.aspects, latest.correction.aspects if latest else ())
    return {
        "text": parsed.text,
        "words": words(parsed.text),
        "aspects": _forms(latest.correction.aspects if latest else parsed.aspects),
        "answer": _forms(parsed.aspects),
        "model": served.name,
        "version": served.version,
        "seen": latest.number if latest else None,
        "categories": known.categories,
        "implicit": known.implicit,
        "polarities": known.polarities,
        "hues": hues((*known.categories, *known.implicit)),
        "notice": f"{_who(latest)} corrected this review before; you go on from there." if latest else NEW,
    }


def save(store: CorrectionStore, edited: Mapping[str, Any]) -> Draft:
    """Save a draft as it comes back, and what the editor goes on with: saved, refused in words, or told of another's.

    A draft that no editor made raises DataError.
    """
    try:
        text, seen = edited["text"], edited["seen"]
        aspects, answer = (tuple(Aspect.from_json(form) for form in edited[name]) for name in ("aspects", "answer"))
        model, version, author = edited["model"], edited["version"], edited.get("author")
    except (KeyError, TypeError) as error:
        raise DataError(f"a correction lacks {error}: load the page anew") from None
    continuation = {**edited, "words": words(text), "theirs": None, "saved": False, "said": ""}
    correction = Correction(text, _ordered(aspects), answer, model, version or None, (author or "").strip() or None)
    try:
        revision = store.save(correction, seen)
    except CorrectionConflict as conflict:
        other = conflict.latest
        notice = f"{_who(other)} saved another version of this correction meanwhile. Yours is not saved yet."
        theirs = {"aspects": _forms(other.correction.aspects), "seen": other.number, "notice": notice}
        return {**continuation, "theirs": theirs}
    except ReviewsParsingError as error:
        return {**continuation, "said": str(error)}
    return {**continuation, "seen": revision, "saved": True, "said": f"Saved as revision {revision}. Thank you."}


def _known(taxonomy: Taxonomy | None, *answers: Sequence[Aspect]) -> Taxonomy:
    """The model's taxonomy, and what answers hold beside it: another version may have known more."""
    found = taxonomy or Taxonomy(())
    aspects = [aspect for answer in answers for aspect in answer]
    categories = {*found.categories, *(a.entity_group for a in aspects if a.span)}
    implicit = {*found.implicit, *(a.entity_group for a in aspects if not a.span)}
    polarities = {*found.polarities, *(a.polarity for a in aspects if a.polarity)}
    return Taxonomy(tuple(sorted(categories)), tuple(sorted(polarities)), tuple(sorted(implicit)))


def _forms(aspects: Iterable[Aspect]) -> list[dict[str, Any]]:
    return [aspect.to_json() for aspect in aspects]


def _ordered(aspects: Iterable[Aspect]) -> tuple[Aspect, ...]:
    """In the order of the text, then what has no words: two people who say the same say it in the same order."""
    return tuple(sorted(aspects, key=lambda a: (a.span is None, a.span or (0, 0), a.entity_group, a.polarity or "")))


def _who(saved: CorrectionRevision) -> str:
    return f"{saved.correction.author or 'Somebody'} ({saved.correction.corrected_at:%Y-%m-%d %H:%M} UTC)"
