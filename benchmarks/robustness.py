"""What a model loses where reviews are rough: F1 on the same reviews, clean and disturbed in one way at a time.

    python benchmarks/robustness.py [MODEL] [DATA] [--map FILE.json] [--split test] [--seed 0] [--json]

Labels move with the text, so that a span is still the same words. Figures are exact-match F1 in points.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from reviews_parsing import data
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.settings import Settings
from reviews_parsing.training.augmentation import rewrite
from reviews_parsing.training.evaluate import evaluate

# A disturbance says, for each code point of a review, what stands there instead.
Disturbance = Callable[[Review, random.Random], list[str]]
# Of words for a typo and for a doubled letter, of gaps between words for an emoji.
TYPOS, DOUBLED, EMOJI = 0.1, 0.1, 0.1
FACES = "😀😋😍😡🙄🤮👍👎🍕🔥"
CURLY = str.maketrans({"'": "’", '"': "”"})
LONG_WORDS = 2000
NAMES = {"span": "span", "span_category": "and category", "span_category_polarity": "and polarity"}


def typos(review: Review, rng: random.Random) -> list[str]:
    """In some words of four letters or more: two letters swapped, one left out, or a neighbour hit instead."""
    pieces = list(review.text)
    for start, end in words(review.text):
        if end - start >= 4 and rng.random() < TYPOS:
            at = rng.randrange(start + 1, end - 1)
            match rng.randrange(3):
                case 0:
                    pieces[at], pieces[at + 1] = pieces[at + 1], pieces[at]
                case 1:
                    pieces[at] = ""
                case _:
                    pieces[at] = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return pieces


def doubled_letters(review: Review, rng: random.Random) -> list[str]:
    pieces = list(review.text)
    for start, end in words(review.text):
        if end - start >= 3 and rng.random() < DOUBLED:
            at = rng.randrange(start, end)
            pieces[at] *= rng.randint(2, 4)
    return pieces


def emoji(review: Review, rng: random.Random) -> list[str]:
    """Between words, but within no label."""
    labelled = {at for aspect in review.aspects for at in range(*(aspect.span or (0, 0)))}
    gap = [at for at, character in enumerate(review.text) if character == " " and at not in labelled]
    chosen = {at for at in gap if rng.random() < EMOJI}
    return [f" {rng.choice(FACES)} " if at in chosen else its for at, its in enumerate(review.text)]


DISTURBANCES: dict[str, Disturbance] = {
    "typos": typos,
    "capitals": lambda review, _: [character.upper() for character in review.text],
    "lower case": lambda review, _: [character.lower() for character in review.text],
    "no punctuation": lambda review, _: [its if its.isalnum() or its.isspace() else "" for its in review.text],
    "emoji": emoji,
    "curly quotes": lambda review, _: list(review.text.translate(CURLY)),
    "doubled letters": doubled_letters,
}


def words(text: str) -> list[tuple[int, int]]:
    """(start, end) of runs of letters."""
    found, start = [], None
    for at, character in enumerate([*text, " "]):
        if character.isalpha() and start is None:
            start = at
        elif not character.isalpha() and start is not None:
            found.append((start, at))
            start = None
    return found


def joined(reviews: Sequence[Review]) -> list[Review]:
    """The same reviews, one after the other, in texts of LONG_WORDS words."""
    found, text, aspects = [], "", list[Aspect]()
    for number, review in enumerate(reviews):
        moved = [
            replace(a, start=a.span[0] + len(text), end=a.span[1] + len(text), opinion=None)
            for a in review.aspects
            if a.span
        ]
        aspects += moved
        text += review.text + "\n"
        if len(text.split()) >= LONG_WORDS or number == len(reviews) - 1:
            found.append(Review(f"joined {len(found)}", text, tuple(aspects)))
            text, aspects = "", []
    return found


def measure(
    parser: AspectParser, reviews: Sequence[Review], seed: int, mapping: dict[str, str | None]
) -> dict[str, Any]:
    """F1 by disturbance, `clean` first."""
    sets = {"clean": list(reviews)}
    for name, disturbance in DISTURBANCES.items():
        rng = random.Random(seed)  # noqa: S311
        sets[name] = [rewrite(review, disturbance(review, rng)) for review in reviews]
    sets[f"texts of {LONG_WORDS:,} words"] = joined(reviews)
    rows = track(sets.items(), "reading", console=Console(stderr=True))
    return {name: evaluate(parser, its, mapping).f1s for name, its in rows}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument(
        "model", nargs="?", default=Settings().champion_uri, help="as in `evaluate`; runs:/ID for a run"
    )
    arguments.add_argument("data", nargs="?", default="corpus", help="labelled reviews, as in `evaluate`")
    arguments.add_argument("--map", type=Path, help="JSON file that renames or drops categories")
    arguments.add_argument("--split", default="test")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = arguments.parse_args()
    try:
        mapping = data.read_mapping(options.map) if options.map else {}
        splits = data.read_splits(options.data, mapping)
        reviews = splits.get("all") or splits[options.split]
        f1 = measure(AspectParser.load(options.model), reviews, options.seed, mapping)
    except ReviewsParsingError as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps({"model": options.model, "data": options.data, "seed": options.seed, "f1": f1}, indent=2))
        return
    table = Table(title=f"{options.model} on {options.data}, {len(reviews):,} reviews")
    for heading in ("", *NAMES.values(), "lost"):
        table.add_column(heading, justify="right" if heading else "left")
    clean = f1["clean"]
    for name, figures in f1.items():
        lost = max(100 * (clean[key] - figures[key]) for key in figures)
        table.add_row(name, *(f"{100 * figures[key]:.1f}" for key in NAMES if key in figures), f"{lost:.1f}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
