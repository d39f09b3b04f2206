"""Reviews unlike the training data: of another domain, and in another language."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

THINGS = ("keyboard", "charger", "tent", "router", "backpack", "printer")
FAULTS = ("stopped working", "arrived scratched", "overheats", "makes a clicking noise", "does its job", "came apart")
ENDINGS = ("I am sending it back.", "The warranty claim was denied.", "Setup took ten minutes.", "No batteries.")
GERMAN_THINGS = ("Die Suppe", "Der Kuchen", "Das Schnitzel", "Der Kaffee", "Die Bedienung", "Das Zimmer")
GERMAN_OPINIONS = ("war leider kalt", "schmeckte wunderbar", "kam viel zu spät", "gefiel uns gut", "war enttäuschend")
GERMAN_ENDINGS = ("Wir kommen gerne wieder.", "Nie wieder!", "Für den Preis völlig in Ordnung.", "Schade eigentlich.")


def product_reviews(count: int) -> list[str]:
    """Return reviews of electronics and outdoor gear."""
    sentences = [f"The {thing} {fault} after {n} weeks." for thing in THINGS for fault in FAULTS for n in (2, 5)]
    return _draw(count, sentences, ENDINGS)


def german_reviews(count: int) -> list[str]:
    """Return German reviews of restaurants."""
    sentences = [f"{thing} {opinion}." for thing in GERMAN_THINGS for opinion in GERMAN_OPINIONS]
    return _draw(count, sentences, GERMAN_ENDINGS)


def _draw(count: int, first: Sequence[str], last: Sequence[str]) -> list[str]:
    reviews = [" ".join(parts) for parts in itertools.product(first, last)]
    return random.Random(5).choices(reviews, k=count)
