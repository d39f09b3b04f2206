"""Suggestions of reviews to label: uncertain ones first, no near-duplicates."""

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

CERTAIN = ["The pizza was great.", "Great coffee.", "The waiter was rude.", "Lovely staff.", "The soup was cold."]
UNCERTAIN = [
    "Cold brew flat, chai like dishwater, matcha grainy; only the cinnamon knots and the window seat redeem it.",
    "Sauce from a jar, tables from a skip, bill from another planet, yet somehow the dumplings forgive it all.",
    "Skip the tasting menu, sit at the counter, let the old man choose the fish and argue about the rice.",
]


def suggest_texts(parser: AspectParser, texts: list[str], count: int, **options: Any) -> list[str]:
    pool = ((text, dict[str, Any]()) for text in texts)
    return [suggestion.parsed_review.text for suggestion in suggest.suggest(parser, pool, count, **options)]


def test_uncertain_reviews_come_first(parser: AspectParser) -> None:
    for order in (CERTAIN + UNCERTAIN, UNCERTAIN + CERTAIN):
        assert set(suggest_texts(parser, order, 3)) == set(UNCERTAIN)


def test_expected_errors_correlate_with_actual_errors(parser: AspectParser) -> None:
    reviews = data.read_splits("corpus")["test"][:100]
    pool = [(review.text, {"number": number}) for number, review in enumerate(reviews)]
    suggestions = suggest.suggest(parser, pool, len(reviews))
    expected = {suggestion.source_row["number"]: suggestion.errors for suggestion in suggestions}
    correct, predicted, labelled = evaluate(parser, reviews).counts.T
    actual = predicted + labelled - 2 * correct
    order = sorted(expected, key=lambda number: expected[number])
    half = len(order) // 2
    assert sum(actual[number] for number in order[half:]) > 1.5 * sum(actual[number] for number in order[:half])


def test_one_of_several_near_duplicates_is_suggested(parser: AspectParser) -> None:
    near_duplicates = [f"{UNCERTAIN[1]} {UNCERTAIN[0]} Table {number}." for number in range(2, 30)]
    texts = suggest_texts(parser, [*near_duplicates, UNCERTAIN[2], *CERTAIN], 3)
    assert len(set(texts) & set(near_duplicates)) == 1
    assert UNCERTAIN[2] in texts


def test_blank_excluded_and_repeated_texts_are_skipped(parser: AspectParser) -> None:
    texts = ["", " \n", *CERTAIN, "great  COFFEE.", UNCERTAIN[0]]
    assert sorted(suggest_texts(parser, texts, 99, excluded_texts=[UNCERTAIN[0].upper()])) == sorted(CERTAIN)
    assert suggest_texts(parser, [], 5) == []


def test_only_the_best_candidates_of_a_large_pool_are_in_memory(
    parser: AspectParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggest, "MIN_CANDIDATES", 3)
    monkeypatch.setattr(suggest, "CANDIDATES_PER_SUGGESTION", 1)
    assert set(suggest_texts(parser, CERTAIN + UNCERTAIN, 2)) <= set(UNCERTAIN)


expected_errors = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 3), min_size=1)


@properties
@given(pool=st.lists(st.tuples(expected_errors, st.integers(1, 50)), max_size=8), count=st.integers(1, 8))
def test_lazy_selection_equals_exhaustive_greedy_selection(
    pool: list[tuple[dict[str, float], int]], count: int
) -> None:
    candidates, pool_errors = [], defaultdict[str, float](float)
    for number, (errors, words) in enumerate(pool):
        suggestion = suggest.Suggestion({"number": number}, ParsedReview("", ()), 0)
        candidates.append(suggest._RankedReview(0, -number, math.sqrt(words), defaultdict(float, errors), suggestion))
        for feature, expected in errors.items():
            pool_errors[feature] += expected

    remaining, covered, best = list(range(len(pool))), defaultdict[str, float](float), list[int]()
    while remaining and len(best) < count:

        def gain(number: int) -> float:
            errors, words = pool[number]
            gains = (
                math.sqrt(pool_errors[feature])
                * math.log1p(expected / (covered[feature] + suggest.HALF_SATURATION_ERRORS))
                for feature, expected in errors.items()
            )
            return sum(gains) / math.sqrt(words)

        best.append(max(remaining, key=lambda number: (gain(number), -number)))
        remaining.remove(best[-1])
        for feature, expected in pool[best[-1]][0].items():
            covered[feature] += expected
    selected = suggest._select(candidates, pool_errors, count)
    assert [suggestion.source_row["number"] for suggestion in selected] == best


def command(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["data", "suggest", *map(str, arguments)])
    if isinstance(result.exception, ReviewsParsingError):
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_suggestions_from_files_are_written_as_tasks(champion_folder: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"id": n, "comment": text, "stars": 3}) for n, text in enumerate(CERTAIN + UNCERTAIN)]
    (tmp_path / "pool.jsonl").write_text("\n".join(rows))
    options = (tmp_path / "pool.jsonl", "-n", 2, "--model", champion_folder, "--text-column", "comment")
    lines = [json.loads(line) for line in command(*options).splitlines()]
    assert {line["text"] for line in lines} <= set(UNCERTAIN)
    assert all(line["stars"] == 3 and line["errors"] > 0 and int(line["id"]) >= len(CERTAIN) for line in lines)
    command(*options, "-o", tmp_path / "tasks.json", "--to", "label-studio", "--config", tmp_path / "labels.xml")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["text"] for task in tasks] == [line["text"] for line in lines]
    assert all("annotations" not in task and task["predictions"] for task in tasks)
    assert "AMBIENCE" in (tmp_path / "labels.xml").read_text()
    command(*options, "-o", tmp_path / "first.jsonl")
    remaining = command(*options, "--labelled", tmp_path / "first.jsonl", "--json")
    assert not {review["text"] for review in json.loads(remaining)} & {line["text"] for line in lines}


def test_unreadable_pools_are_one_line_errors(champion_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text("a,b\n1,2\n")
    (tmp_path / "numbers.jsonl").write_text('{"text": "Fine."}\n{"text": 7}\n')
    model = ("--model", champion_folder)
    assert "name the text column by --text-column, one of a, b" in command(tmp_path / "pool.csv", *model)
    assert "numbers.jsonl:2: 'text' is a number, not a string" in command(tmp_path / "numbers.jsonl", *model)
    assert "does not exist" in command(tmp_path / "none.csv", *model)
