"""Suggestions: what the model doubts comes first, and no two of a kind."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from data.strategies import properties
from reviews_parsing import AspectParser, data, suggest
from reviews_parsing.cli.app import app
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.schema import ParsedReview
from reviews_parsing.training.evaluate import evaluate

SURE = ["The pizza was great.", "Great coffee.", "The waiter was rude.", "Lovely staff.", "The soup was cold."]
MURKY = [
    "Cold brew flat, chai like dishwater, matcha grainy; only the cinnamon knots and the window seat redeem it.",
    "Sauce from a jar, tables from a skip, bill from another planet, yet somehow the dumplings forgive it all.",
    "Skip the tasting menu, sit at the counter, let the old man choose the fish and argue about the rice.",
]


def picked(parser: AspectParser, texts: list[str], wanted: int, **more: Any) -> list[str]:
    pool = ((text, {}) for text in texts)
    return [found.parsed.text for found in suggest.suggest(parser, pool, wanted, **more)]


def test_what_the_model_doubts_comes_first(parser: AspectParser) -> None:
    for order in (SURE + MURKY, MURKY + SURE):
        assert set(picked(parser, order, 3)) == set(MURKY)


def test_the_errors_expected_are_those_that_are_made(parser: AspectParser) -> None:
    reviews = data.read_splits("corpus")["test"][:100]
    pool = [(review.text, {"at": at}) for at, review in enumerate(reviews)]
    found = suggest.suggest(parser, pool, len(reviews))
    expected = {one.given["at"]: one.errors for one in found}
    right, answered, wanted = evaluate(parser, reviews).counts.T
    made = answered + wanted - 2 * right
    by_doubt = sorted(expected, key=lambda at: expected[at])
    half = len(by_doubt) // 2
    assert sum(made[at] for at in by_doubt[half:]) > 1.5 * sum(made[at] for at in by_doubt[:half])


def test_of_reviews_that_say_the_same_one_is_picked(parser: AspectParser) -> None:
    alike = [f"{MURKY[1]} {MURKY[0]} Table {number}." for number in range(2, 30)]
    found = picked(parser, [*alike, MURKY[2], *SURE], 3)
    assert len(set(found) & set(alike)) == 1
    assert MURKY[2] in found


def test_blank_known_and_repeated_texts_are_left_out(parser: AspectParser) -> None:
    texts = ["", " \n", *SURE, "great  COFFEE.", MURKY[0]]
    assert sorted(picked(parser, texts, 99, known=[MURKY[0].upper()])) == sorted(SURE)
    assert picked(parser, [], 5) == []


def test_a_large_pool_keeps_only_the_best_candidates(parser: AspectParser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggest, "AT_LEAST", 3)
    monkeypatch.setattr(suggest, "CANDIDATES", 1)
    assert set(picked(parser, SURE + MURKY, 2)) <= set(MURKY)


doubts = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 3), min_size=1)


@properties
@given(pool=st.lists(st.tuples(doubts, st.integers(1, 50)), max_size=8), wanted=st.integers(1, 8))
def test_the_choice_is_what_looking_at_all_candidates_each_time_gives(
    pool: list[tuple[dict[str, float], int]], wanted: int
) -> None:
    candidates, total = [], defaultdict(float)
    for number, (its, words) in enumerate(pool):
        one = suggest.Suggestion({"at": number}, ParsedReview("", ()), 0)
        candidates.append(suggest._Candidate(0, -number, math.sqrt(words), defaultdict(float, its), one))
        for key, share in its.items():
            total[key] += share

    left, covered, best = list(range(len(pool))), defaultdict(float), []
    while left and len(best) < wanted:

        def gain(at: int) -> float:
            its, words = pool[at]
            rise = (math.sqrt(total[f]) * math.log1p(x / (covered[f] + suggest.HALF)) for f, x in its.items())
            return sum(rise) / math.sqrt(words)

        best.append(max(left, key=lambda at: (gain(at), -at)))
        left.remove(best[-1])
        for key, share in pool[best[-1]][0].items():
            covered[key] += share
    assert [one.given["at"] for one in suggest._chosen(candidates, total, wanted)] == best


def command(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["data", "suggest", *map(str, arguments)])
    if isinstance(done.exception, ReviewsParsingError):
        return str(done.exception)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_pool_of_files_becomes_tasks_to_label(champion_folder: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"id": n, "comment": text, "stars": 3}) for n, text in enumerate(SURE + MURKY)]
    (tmp_path / "pool.jsonl").write_text("\n".join(rows))
    options = (tmp_path / "pool.jsonl", "-n", 2, "--model", champion_folder, "--text-column", "comment")
    lines = [json.loads(line) for line in command(*options).splitlines()]
    assert {line["text"] for line in lines} <= set(MURKY)
    assert all(line["stars"] == 3 and line["errors"] > 0 and int(line["id"]) >= len(SURE) for line in lines)
    command(*options, "-o", tmp_path / "tasks.json", "--to", "label-studio", "--config", tmp_path / "labels.xml")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["text"] for task in tasks] == [line["text"] for line in lines]
    assert all("annotations" not in task and task["predictions"] for task in tasks)
    assert "AMBIENCE" in (tmp_path / "labels.xml").read_text()
    command(*options, "-o", tmp_path / "first.jsonl")
    rest = command(*options, "--labelled", tmp_path / "first.jsonl", "--json")
    assert not {one["text"] for one in json.loads(rest)} & {line["text"] for line in lines}


def test_a_pool_that_cannot_be_read_is_one_line(champion_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text("a,b\n1,2\n")
    (tmp_path / "numbers.jsonl").write_text('{"text": "Fine."}\n{"text": 7}\n')
    model = ("--model", champion_folder)
    assert "name the text column, one of a, b" in command(tmp_path / "pool.csv", *model)
    assert "row 2: 'text' is int, not a string" in command(tmp_path / "numbers.jsonl", *model)
    assert "does not exist" in command(tmp_path / "none.csv", *model)
