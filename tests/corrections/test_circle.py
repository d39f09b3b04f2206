"""The whole circle: an answer corrected, kept, exported, learned from, and a version that the gate lets through."""

from __future__ import annotations

import json
from itertools import islice, product
from pathlib import Path

from typer.testing import CliRunner

from reviews_parsing import AspectParser, data, registry
from reviews_parsing.cli.app import app
from reviews_parsing.corrections import Correction, Store
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.settings import MODEL_NAME

# What the default model knows no category for, and what it knows.
PARKING = ("parking lot", "garage", "parking", "car park", "valet", "parking deck")
FOOD = ("soup", "pasta", "pie", "curry", "salad", "steak")
SAID = (
    ("The {} was spacious.", "positive"),
    ("We hated the {}.", "negative"),
    ("Their {} is a mess!", "negative"),
    ("What a lovely {}.", "positive"),
    ("I found the {} awful, sadly.", "negative"),
    ("A great {}, every time.", "positive"),
)


def sentences(category: str, things: tuple[str, ...], begin: int, count: int) -> list[Review]:
    """Labelled sentences, each of another thing or in other words."""
    pairs = [(things[(i + j) % len(things)], SAID[j]) for i, j in product(range(len(things)), range(len(SAID)))]
    found = []
    for thing, (form, polarity) in islice(pairs, begin, begin + count):
        text, start = form.format(thing), form.index("{}")
        aspect = Aspect(category, thing, start, start + len(thing), polarity)
        found.append(Review(f"{category}-{len(found) + begin}", text, (aspect,)))
    return found


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_correction_becomes_a_better_version_that_the_gate_lets_through(with_champion: Path, tmp_path: Path) -> None:
    """The labelled reviews that there are say nothing of parking; people's corrections do."""
    splits = {
        "train": sentences("FOOD", FOOD, 0, 8),
        "validation": [*sentences("FOOD", FOOD, 8, 3), *sentences("PARKING", PARKING, 24, 6)],
        "test": [*sentences("FOOD", FOOD, 12, 3), *sentences("PARKING", PARKING, 30, 6)],
    }
    (tmp_path / "labels").mkdir()
    for name, some in splits.items():
        data.write(some, tmp_path / "labels" / f"{name}.jsonl")

    parser = AspectParser.load(f"models:/{MODEL_NAME}@champion")
    wanted = sentences("PARKING", PARKING, 0, 24)
    wanted.append(splits["test"][-1])
    store = Store()
    for review, parsed in zip(wanted, parser.parse([review.text for review in wanted]), strict=True):
        correction = Correction(review.text, review.aspects, parsed.aspects, MODEL_NAME, parser.version, "Ana")
        store.save(correction, seen=None)
    assert json.loads(run("corrections", "export", tmp_path / "corrections.jsonl", "--json"))["reviews"] == 25

    options = ("--add", tmp_path / "corrections.jsonl", "--epochs", 5, "--seed", 3, "--json")
    trained = CliRunner().invoke(app, ["train", *map(str, (tmp_path / "labels", *options))], catch_exceptions=False)
    assert "24 reviews added, 0 replaced" in trained.stderr
    assert "1 left out, they repeat validation or test reviews: correction-" in trained.stderr
    verdict = json.loads(run("promote", "--version", "2", "--json"))
    assert verdict["promoted"]
    assert verdict["difference"]["low"] > 0
    assert registry.champion() == "2"
    better = AspectParser.load(f"models:/{MODEL_NAME}@champion")
    assert "PARKING" not in parser.taxonomy.categories
    assert "PARKING" in {aspect.entity_group for aspect in better.parse(["They have a big parking lot."])[0].aspects}
