"""Random reviews of six places over a year, into which facts are planted."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from insights.making import Row, parquet, review

PLACES = ("Harbour", "Hill", "Mill", "Park", "Quay", "Station")
VOCABULARY = {
    "FOOD": ("soup", "ribs", "short rib", "ramen", "salad", "bread", "steak", "dumplings"),
    "STAFF": ("waiter", "receptionist", "manager", "barista"),
    "SERVICE": ("service", "check-in", "wait"),
    "PRICE": ("prices", "bill"),
    "ROOM": ("bed", "bathroom", "window", "shower"),
    "AMBIENCE": ("music", "garden", "lighting"),
}
BLAME = {"FOOD": 0.2, "STAFF": 0.2, "SERVICE": 0.3, "PRICE": 0.5, "ROOM": 0.3, "AMBIENCE": 0.15}
FREQUENCY = {"FOOD": 0.6, "STAFF": 0.4, "SERVICE": 0.35, "PRICE": 0.25, "ROOM": 0.3, "AMBIENCE": 0.25}


@dataclass
class Draft:
    """A review before it is written: its place, day, stars, and (category, word, sign) of each aspect."""

    place: str
    day: date
    stars: float
    aspects: list[tuple[str, str, str]] = field(default_factory=list)

    def blames(self, category: str) -> bool:
        return any(name == category and sign == "-" for name, _, sign in self.aspects)


Plant = Callable[[Draft, random.Random], None]


def drafts(seed: int, number: int = 1000, plant: Plant | None = None, rated: bool = False) -> list[Draft]:
    """Return reviews without any pattern but the plant; rated ones have stars that depend on nothing."""
    chance = random.Random(seed)
    result = []
    for _ in range(number):
        draft = Draft(chance.choice(PLACES), date(2024, 1, 1) + timedelta(days=chance.randrange(366)), 0)
        for category, words in VOCABULARY.items():
            if chance.random() < FREQUENCY[category]:
                sign = "-" if chance.random() < BLAME[category] else "=" if chance.random() < 0.1 else "+"
                draft.aspects.append((category, chance.choice(words), sign))
        draft.stars = chance.choices((1, 2, 3, 4, 5), (1, 1, 2, 4, 5))[0] if rated else 0
        if plant:
            plant(draft, chance)
        result.append(draft)
    return result


def rows(reviews: list[Draft]) -> list[Row]:
    result = []
    for n, draft in enumerate(reviews):
        words = {"+": "fine", "-": "awful", "=": "there"}
        text = " ".join(f"The [{word}]({category}{sign}) was {words[sign]}." for category, word, sign in draft.aspects)
        columns: Row = {"id": f"r{n}", "business": draft.place, "date": draft.day.isoformat()}
        if draft.stars:
            columns["stars"] = draft.stars
        result.append(review(text or "We came on a Monday.", **columns))
    return result


def planted(folder: Path, seed: int, number: int = 1000, plant: Plant | None = None, rated: bool = False) -> Path:
    """Write a file of reviews, with a fact planted."""
    return parquet(folder / f"planted-{seed}.parquet", rows(drafts(seed, number, plant, rated)))
