"""Names of polarities in label files, and their standard forms."""

from __future__ import annotations

from collections.abc import Collection

from reviews_parsing.data.similarity import is_similar

_STANDARD_NAMES = {
    **dict.fromkeys(("positive", "pos"), "positive"),
    **dict.fromkeys(("negative", "neg"), "negative"),
    **dict.fromkeys(("neutral", "neu"), "neutral"),
    **{name: name for name in ("conflict", "mixed")},
}
POLARITIES = tuple(dict.fromkeys(_STANDARD_NAMES.values()))


def standardise(name: str) -> str | None:
    """Return the standard name of a polarity (`POS` is `positive`), None for any other string."""
    return _STANDARD_NAMES.get(name.strip().casefold())


def are_polarities(names: Collection[str]) -> bool:
    """Return True if there are names, and all are polarities."""
    return bool(names) and all(standardise(name) is not None for name in names)


def resembles_polarity(name: str) -> bool:
    """Return True for a polarity with a typing error, or a name that has one among its words (`very positive`)."""
    words = name.casefold().replace("_", " ").replace("-", " ").split()
    return any(word in POLARITIES or any(is_similar(word, polarity) for polarity in POLARITIES) for word in words)
