"""Planted facts are the first finding, each once, and random reviews have no findings."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path

import pytest

from insights.making import parquet, review
from insights.planting import Draft, Plant, planted
from reviews_parsing.insights import analyse

NULL_SETS = 100
MAX_FALSE_ALARMS = 5


def replace_aspect(draft: Draft, category: str, word: str, sign: str) -> None:
    draft.aspects = [aspect for aspect in draft.aspects if aspect[0] != category] + [(category, word, sign)]


def worse_service_at_a_place(draft: Draft, chance: random.Random) -> None:
    if draft.place == "Hill" and draft.day < date(2024, 8, 1):
        draft.aspects = [a if a[0] != "SERVICE" else (*a[:2], "+") for a in draft.aspects]
    elif draft.place == "Hill" and chance.random() < 0.55:
        replace_aspect(draft, "SERVICE", chance.choice(("service", "wait")), "-")


def new_complaint_within_a_month(draft: Draft, chance: random.Random) -> None:
    if draft.place == "Quay" and draft.day >= date(2024, 12, 1) and chance.random() < 0.5:
        draft.aspects.append(("ROOM", "bedbugs", "-"))


def dropped_dish(draft: Draft, chance: random.Random) -> None:
    if draft.day >= date(2024, 7, 1):
        draft.aspects = [aspect for aspect in draft.aspects if aspect[1] != "ramen"]


def price_rise(draft: Draft, chance: random.Random) -> None:
    if draft.day >= date(2024, 5, 1) and chance.random() < 0.25:
        replace_aspect(draft, "PRICE", chance.choice(("prices", "bill")), "-")


def slow_mondays(draft: Draft, chance: random.Random) -> None:
    if draft.day.weekday() == 0 and chance.random() < 0.4:
        replace_aspect(draft, "SERVICE", "wait", "-")


def better_receptionist(draft: Draft, chance: random.Random) -> None:
    if draft.day >= date(2024, 6, 1) and chance.random() < 0.15:
        draft.aspects.append(("STAFF", "receptionist", "+"))


def better_garden_at_a_place(draft: Draft, chance: random.Random) -> None:
    if draft.place == "Park" and chance.random() < 0.6:
        replace_aspect(draft, "AMBIENCE", chance.choice(("garden", "music", "lighting")), "+")


def staff_costs_stars(draft: Draft, chance: random.Random) -> None:
    if draft.blames("STAFF"):
        draft.stars = max(1, draft.stars - 2)


def stars_fall_at_a_place(draft: Draft, chance: random.Random) -> None:
    if draft.place == "Mill" and draft.day >= date(2024, 7, 1):
        draft.stars = max(1, draft.stars - 2)


def parking_at_a_place(draft: Draft, chance: random.Random) -> None:
    if draft.place == "Station" and chance.random() < 0.2:
        draft.aspects.append(("AMBIENCE", "parking", "-"))


def repaired_shower(draft: Draft, chance: random.Random) -> None:
    if draft.day < date(2024, 6, 1) and chance.random() < 0.2:
        draft.aspects.append(("ROOM", "shower", "-"))


def rising_topic(draft: Draft, chance: random.Random) -> None:
    if draft.day >= date(2024, 9, 1) and chance.random() < 0.12:
        draft.aspects.append(("FOOD", "dumplings", "+" if chance.random() < 0.75 else "-"))


@pytest.mark.parametrize(
    ("plant", "category", "words", "group", "direction"),
    [
        (worse_service_at_a_place, "SERVICE", ("since Aug 2024", "blame"), "Hill", "worse"),
        (new_complaint_within_a_month, "ROOM", ("bedbugs", "which is new", "since Dec 2024"), "Quay", "worse"),
        (dropped_dish, "FOOD", ("Since Jul 2024", "no review mentions “ramen”"), None, "fewer"),
        (price_rise, "PRICE", ("Since ", "more reviews blame PRICE"), None, "worse"),
        (slow_mondays, "SERVICE", ("weekday is 1 Monday", "blame “wait”"), "1 Monday", "worse"),
        (better_receptionist, "STAFF", ("Since Jun 2024", "praise “receptionist”"), None, "better"),
        (better_garden_at_a_place, "AMBIENCE", ("business is Park", "praise AMBIENCE"), "Park", "better"),
        (staff_costs_stars, "STAFF", ("blame STAFF", "fewer stars"), None, "worse"),
        (stars_fall_at_a_place, None, ("since Jul 2024", "mean stars are 2."), "Mill", "worse"),
        (parking_at_a_place, "AMBIENCE", ("business is Station", "parking"), "Station", "worse"),
        (repaired_shower, "ROOM", ("Since Jun 2024", "fewer reviews blame “shower”"), None, "better"),
        (rising_topic, "FOOD", ("Since Sep 2024", "dumplings"), None, "better"),
    ],
)
def test_a_planted_fact_is_the_first_finding(
    tmp_path: Path, plant: Plant, category: str | None, words: tuple[str, ...], group: str | None, direction: str
) -> None:
    rated = plant in (staff_costs_stars, stars_fall_at_a_place)
    insights = analyse([planted(tmp_path, 7, 1000, plant, rated)], ["business"], with_evidence=False)
    first, *others = insights.findings
    assert (first.category, first.group, first.direction) == (category, group, direction)
    assert all(word in first.text for word in words), first.text
    assert first.p < 0.001
    assert first.n <= first.total
    # One finding for the fact; with twelve sets of data, chance may add one at the level of five per cent.
    assert sum(other.score > first.score / 2 for other in others) == 0
    assert not [other for other in others if (other.category, other.group) == (category, group) and other.p < 0.001]


def test_the_change_at_one_place_of_the_issue(tmp_path: Path) -> None:
    """One place's SERVICE blame goes from 0 of 19 to 37 of 64 reviews, and its stars fall, among seven other places."""
    chance = random.Random(3)
    rows = []

    def add(place: str, month: int, service: str) -> None:
        soup = f"A [soup](FOOD{'-' if chance.random() < 0.2 else '+'}), warm. " if chance.random() < 0.6 else ""
        stars = chance.choice((1, 2, 3) if "-" in service else (3, 4, 5))
        day = f"2024-{month:02}-{chance.randrange(28) + 1:02}"
        rows.append(review(soup + service + "We came by car.", business=place, date=day, stars=stars))

    for n in range(400):
        service = chance.choice(("", "", "[Service](SERVICE-) was slow. ", *["[Service](SERVICE+) was quick. "] * 3))
        add(chance.choice(("Ladle", "Lane", "Nonna", "Yard", "Fern", "Anchor", "Mews")), n % 12 + 1, service)
    for n in range(83):
        blames = 19 <= n < 19 + 37
        add("Hollow", n % 6 + (7 if n >= 19 else 1), "The [service](SERVICE-) was slow. " if blames else "")
    insights = analyse([parquet(tmp_path / "p.parquet", rows)], ["business"])
    first, *others = insights.findings
    assert (first.kind, first.category, first.group) == ("group_change", "SERVICE", "Hollow")
    assert (first.n, first.total, first.n_before, first.total_before) == (37, 64, 0, 19)
    assert "Mean stars: " in first.text
    assert not [finding for finding in others if finding.group == "Hollow"]


def test_random_reviews_have_no_findings(tmp_path: Path) -> None:
    alarms = []
    for seed in range(NULL_SETS):
        path = planted(tmp_path, seed, 400, rated=seed % 2 == 0)
        if findings := analyse([path], ["business"], with_evidence=False).findings:
            alarms.append((seed, [finding.text for finding in findings]))
        path.unlink()
    assert len(alarms) <= MAX_FALSE_ALARMS, alarms


def test_figures_do_not_depend_on_the_run(tmp_path: Path) -> None:
    path = planted(tmp_path, 7, 500, price_rise, rated=True)
    assert analyse([path], ["business"]) == analyse([path], ["business"])
