"""The digest says what changed since the last one, and alerts fire on changes and thresholds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from insights.making import parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import Insights, alerts, analyse, make_digest, parse_alerts, write_digest


def insights(path: Path, months: int, stars: bool = False) -> Insights:
    """Tea is blamed from September on."""
    rows = [
        review(
            f"The [tea](BEVERAGE{'-' if month > 8 and n % 4 else '+'}) <b>again</b>.",
            date=f"2024-{month:02}-{n + 1:02}",
            **({"stars": 2 + n % 3} if stars else {}),
        )
        for month in range(1, months + 1)
        for n in range(20)
    ]
    return analyse([parquet(path / f"{months}.parquet", rows)], with_evidence=False)


def test_a_change_is_new_once(tmp_path: Path) -> None:
    folder = tmp_path / "digest"
    first = make_digest(insights(tmp_path, 8), folder)
    assert first.new == ()
    write_digest(first, folder)
    second = make_digest(later := insights(tmp_path, 12), folder)
    assert [finding.category for finding in second.new] == ["BEVERAGE"]
    assert len(alerts(later, second, True, ())) == 1
    write_digest(second, folder)
    text = (folder / "digest.txt").read_text(encoding="utf-8")
    assert "New since the last digest" in text
    assert "Reviews: 240, in the last digest 160." in text
    assert "of all reviews blame BEVERAGE, in the last digest 0" in text
    assert later.findings[0].text in text
    third = make_digest(later, folder)
    assert third.new == ()
    assert alerts(later, third, True, ()) == []
    write_digest(third, folder)
    assert "Nothing new is significant." in (folder / "digest.txt").read_text(encoding="utf-8")
    back = make_digest(insights(tmp_path, 8), folder)
    assert any(heading == "No longer significant" for heading, _ in back.sections)


def test_the_page_and_the_text_say_the_same(tmp_path: Path) -> None:
    digest = make_digest(insights(tmp_path, 12), None)
    write_digest(digest, tmp_path / "digest")
    page = (tmp_path / "digest" / "digest.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count("<li>") == sum(len(lines) for _, lines in digest.sections)
    assert len(page) < 50_000
    assert sorted(path.name for path in (tmp_path / "digest").iterdir()) == ["digest.html", "digest.json", "digest.txt"]


@pytest.mark.parametrize(
    ("rule", "fires"),
    [
        ("blame:BEVERAGE>20%", True),
        ("blame:BEVERAGE>0.2", True),
        ("blame:BEVERAGE>30%", False),
        ("praise:BEVERAGE<80%", True),
        ("mentions:BEVERAGE<50%", False),
        ("stars<3.5", True),
        ("stars < 2,5", False),
        ("stars>2.5", True),
    ],
)
def test_thresholds(tmp_path: Path, rule: str, fires: bool) -> None:
    result = insights(tmp_path, 12, stars=True)
    changes, thresholds = parse_alerts([rule])
    lines = alerts(result, make_digest(result, None), changes, thresholds)
    assert bool(lines) is fires
    assert all(line.startswith(f"{rule}: it is ") for line in lines)


@pytest.mark.parametrize(
    "rule", ["blame>20%", "stars:FOOD<3", "blame:FOOD>120%", "stars<80%", "anything", "blame:FOOD=2"]
)
def test_rules_that_are_none_are_refused(rule: str) -> None:
    with pytest.raises(DataError, match=f"'{re.escape(rule)}'"):
        parse_alerts([rule])


def test_thresholds_of_what_is_not_there_are_refused(tmp_path: Path) -> None:
    result = insights(tmp_path, 2)
    for rule, message in (
        ("blame:BEVRAGE>2%", "the categories are BEVERAGE"),
        ("stars<3", "needs a column of ratings"),
    ):
        with pytest.raises(DataError, match=message):
            alerts(result, make_digest(result, None), *parse_alerts([rule]))


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"version": 2}), '{"version": 1, "findings": []}'])
def test_a_damaged_state_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "digest.json").write_text(content)
    with pytest.raises(DataError, match=r"digest\.json is not the state of a digest: delete it"):
        make_digest(insights(tmp_path, 1), tmp_path)
