"""Measure the loss of F1 on noisy reviews, with one kind of noise at a time.

    python benchmarks/robustness.py [MODEL] [DATA] [--map FILE.json] [--split test] [--seed 0] [--json]

Labels move with the text, so spans keep their words. Figures are exact-match F1 in points.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import regex
from machine import argument_parser, print_table
from rich.console import Console
from rich.progress import track
from rich.table import Table

from reviews_parsing import data
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.settings import Settings
from reviews_parsing.training.augmentation import LETTERS, rewrite
from reviews_parsing.training.evaluate import evaluate

# Returns the replacement of each code point of a review.
Noise = Callable[[Review, random.Random], list[str]]
# Share of words with a typo or a doubled letter, share of spaces with an emoji.
TYPO_SHARE, DOUBLED_SHARE, EMOJI_SHARE = 0.1, 0.1, 0.1
EMOJI = "😀😋😍😡🙄🤮👍👎🍕🔥"
CURLY = str.maketrans({"'": "’", '"': "”"})
LONG_WORDS = 2000
NAMES = {"span": "span", "span_category": "and category", "span_category_polarity": "and polarity"}


def typos(review: Review, rng: random.Random) -> list[str]:
    """Swap, drop or replace a letter in some words of four letters or more."""
    characters = list(review.text)
    for start, end in words(review.text):
        if end - start >= 4 and rng.random() < TYPO_SHARE:
            i = rng.randrange(start + 1, end - 1)
            match rng.randrange(3):
                case 0:
                    characters[i], characters[i + 1] = characters[i + 1], characters[i]
                case 1:
                    characters[i] = ""
                case _:
                    characters[i] = rng.choice(LETTERS)
    return characters


def doubled_letters(review: Review, rng: random.Random) -> list[str]:
    """Repeat a letter two to four times in some words of three letters or more."""
    characters = list(review.text)
    for start, end in words(review.text):
        if end - start >= 3 and rng.random() < DOUBLED_SHARE:
            characters[rng.randrange(start, end)] *= rng.randint(2, 4)
    return characters


def emoji(review: Review, rng: random.Random) -> list[str]:
    """Insert emoji at some spaces outside labelled spans."""
    labelled = {i for aspect in review.aspects for i in range(*(aspect.span or (0, 0)))}
    spaces = [i for i, character in enumerate(review.text) if character == " " and i not in labelled]
    chosen = {i for i in spaces if rng.random() < EMOJI_SHARE}
    return [f" {rng.choice(EMOJI)} " if i in chosen else character for i, character in enumerate(review.text)]


NOISES: dict[str, Noise] = {
    "typos": typos,
    "capitals": lambda review, _: [character.upper() for character in review.text],
    "lower case": lambda review, _: [character.lower() for character in review.text],
    "no punctuation": lambda review, _: [c if c.isalnum() or c.isspace() else "" for c in review.text],
    "emoji": emoji,
    "curly quotes": lambda review, _: list(review.text.translate(CURLY)),
    "doubled letters": doubled_letters,
}


def words(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of runs of letters."""
    return [match.span() for match in regex.finditer(r"\p{L}+", text)]


def join(reviews: Sequence[Review]) -> list[Review]:
    """Join the reviews to texts of LONG_WORDS words."""
    texts, text, aspects = list[Review](), "", list[Aspect]()
    for number, review in enumerate(reviews):
        aspects += [
            replace(a, start=a.span[0] + len(text), end=a.span[1] + len(text), opinion=None)
            for a in review.aspects
            if a.span
        ]
        text += review.text + "\n"
        if len(text.split()) >= LONG_WORDS or number == len(reviews) - 1:
            texts.append(Review(f"joined {len(texts)}", text, tuple(aspects)))
            text, aspects = "", []
    return texts


def measure(
    parser: AspectParser, reviews: Sequence[Review], seed: int, mapping: dict[str, str | None]
) -> dict[str, Any]:
    """Return F1 by kind of noise, `clean` first."""
    versions = {"clean": list(reviews)}
    for name, noise in NOISES.items():
        rng = random.Random(seed)  # noqa: S311
        versions[name] = [rewrite(review, noise(review, rng)) for review in reviews]
    versions[f"texts of {LONG_WORDS:,} words"] = join(reviews)
    rows = track(versions.items(), "evaluating", console=Console(stderr=True))
    return {name: evaluate(parser, version, mapping).f1s for name, version in rows}


def main() -> None:
    parser = argument_parser(__doc__)
    model_help = "model, as in `evaluate`; runs:/ID for a run"
    parser.add_argument("model", nargs="?", default=Settings().champion_uri, help=model_help)
    parser.add_argument("data", nargs="?", default="corpus", help="labelled reviews, as in `evaluate`")
    parser.add_argument("--map", type=Path, help="JSON file that renames or drops categories")
    parser.add_argument("--split", default="test", help="split to evaluate on")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise")
    options = parser.parse_args()
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
    for heading in ("", *NAMES.values(), "largest loss"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in f1.items():
        loss = max(100 * (f1["clean"][key] - figures[key]) for key in figures)
        table.add_row(name, *(f"{100 * figures[key]:.1f}" for key in NAMES if key in figures), f"{loss:.1f}")
    print_table(table)


if __name__ == "__main__":
    main()
