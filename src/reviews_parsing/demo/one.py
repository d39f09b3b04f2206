"""One review: its aspects, of two versions beside each other where there are two, and their correction."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from typing import Any

from reviews_parsing.corrections import CorrectionStore
from reviews_parsing.demo import correct, marks
from reviews_parsing.demo.client import Answer, Client, Served
from reviews_parsing.errors import InferenceError, ReviewsParsingError
from reviews_parsing.schema import Aspect, ParsedReview

EXAMPLES = {
    "A noodle bar": "The dan dan noodles were fiery and generous, and at nine pounds I can't complain. Shame about "
    "the wait: forty minutes, and nobody so much as looked at us.",
    "A hotel": "Woke up to the whole harbour from our balcony. The bed was a plank, though, and the woman at the desk "
    "charged us for a minibar that we never opened.",
    "A café": "Best flat white in the street! The cardamom buns were gone by ten, so come early. Cosy, a bit loud.",
    "A bar": "We paid eighteen dollars for a mojito that was mostly ice. The bartender was charming, at least.",
    "In a few words": "Yum! We'll be back.",
}
NOTHING = "There is nothing to parse yet: write or paste a review."


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows of a review: its messages, the answer and that of the second server as HTML, and the answer.

    `serving` is what `Reviews.serving` says now, None where nobody answered.
    """

    message: str
    first: str = ""
    second: str = ""
    answer: dict[str, Any] | None = None
    serving: tuple[str, str] | None = None


class Reviews:
    """Parses and corrects single reviews. `rival` is the server whose answers are shown beside, if there is one."""

    def __init__(self, client: Client, rival: Client | None, store: CorrectionStore) -> None:
        self._client = client
        self._rival = rival
        self._store = store

    def serving(self) -> tuple[str, str]:
        """Which versions answer, or that none does, and the signs of the model's polarities; as HTML."""
        clients = [self._client, *([self._rival] if self._rival else [])]
        found = [_described(client) for client in clients]
        known = {name for its in found if isinstance(its, Served) and its.taxonomy for name in its.taxonomy.polarities}
        said = [_serving(its, client.url) for its, client in zip(found, clients, strict=True)]
        return "".join(said), marks.legend(sorted(known))

    def show(self, text: str, least: float) -> Shown:
        """The answer to a text; a failure in words, never an error."""
        if not text.strip():
            return Shown(note(NOTHING, "hint"))
        with ThreadPoolExecutor(2) as beside:
            serving = beside.submit(self.serving)
            other = beside.submit(_asked, self._rival, text) if self._rival else None
            try:
                served, answer = self._client.describe(), self._client.parse([text])
            except InferenceError as error:
                return Shown(note(f"{error}. Your text is still here."))
            second = other.result() if other else None
        [parsed] = answer.reviews
        known = served.taxonomy.categories if served.taxonomy else ()
        theirs = second.reviews[0] if isinstance(second, Answer) else None
        first = _column(answer.version, marks.review(parsed, known, least, theirs.aspects if theirs else None))
        if isinstance(second, Answer) and theirs:
            beside_it = _column(second.version, marks.review(theirs, known, least, parsed.aspects))
        else:
            beside_it = note(str(second)) if second else ""
        kept = {"text": text, "aspects": parsed.to_json(), "version": answer.version}
        return Shown("", first, beside_it, kept, serving.result())

    def draft(self, kept: Mapping[str, Any] | None, least: float) -> tuple[str, correct.Draft | None]:
        """A message and what the editor begins with: the aspects that are shown, or what was saved of them before."""
        if not kept:
            return note("Parse a review first.", "hint"), None
        parsed = ParsedReview(kept["text"], tuple(map(Aspect.from_json, kept["aspects"])))
        try:
            served = self._client.describe()
            latest = self._store.find_latest(parsed.text)
        except ReviewsParsingError as error:
            return note(str(error)), None
        # The answer is that of the version that gave it, whichever is served by now.
        begun = correct.draft(parsed, Served(served.name, kept["version"], served.taxonomy), latest)
        if latest is None:
            begun["aspects"] = parsed.only(least).to_json()
        return "", begun

    def save(self, edited: Mapping[str, Any]) -> correct.Draft:
        return correct.save(self._store, edited)


def note(words: str, kind: str = "error") -> str:
    """A message on the page; `kind` is error or hint."""
    return f'<p class="rp-note rp-{kind}" role="{"alert" if kind == "error" else "status"}">{escape(words)}</p>'


def _asked(client: Client, text: str) -> Answer | InferenceError:
    try:
        # The first answer does not wait long for the second.
        return client.parse([text], patience=1)
    except InferenceError as error:
        return error


def _column(version: str, review: str) -> str:
    return f'<section class="rp-answer"><h3>Version {escape(version)}</h3>{review}</section>'


def _described(client: Client) -> Served | InferenceError:
    try:
        return client.describe()
    except InferenceError as error:
        return error


def _serving(found: Served | InferenceError, url: str) -> str:
    if isinstance(found, InferenceError):
        return note(str(found))
    return (
        f'<p class="rp-serving"><b>Version {escape(found.version)}</b> of {escape(found.name)}, at '
        f"<span>{escape(url)}</span></p>"
    )
