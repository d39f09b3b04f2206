"""Measure the effect of a change of the training recipe over several seeds.

    python benchmarks/recipes.py DATA [--map FILE.json] [--seeds 1 2 3] [--share 0.5 | --reviews 200]
        [--unlabelled FILE ...] [--set noisy_share=0 ...] [--trial NAME[=VALUE] ...] [--json]

For each seed the data is split and a model trained. The development split is the validation split, or a fifth of the
reviews of data without splits. A twentieth of the other reviews calibrates. Figures are exact-match F1 in points, fp32.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from machine import argument_parser, print_table
from rich.table import Table
from trials import TRIALS, trial

from reviews_parsing import data
from reviews_parsing.batch import read_texts
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.parser import AspectParser
from reviews_parsing.pipelines import find_checkpoint
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.training import fit as fitting
from reviews_parsing.training.distillation import distill
from reviews_parsing.training.evaluate import evaluate
from reviews_parsing.training.export import calibrate, write_fp32
from reviews_parsing.training.fit import Recipe

DEVELOPMENT_SHARE = 0.2
# Share of the training reviews for calibration and early stopping.
VALIDATION_SHARE = 0.05


def development(splits: dict[str, list[Review]], seed: int) -> tuple[list[Review], list[Review], list[Review]]:
    """Return the reviews for training, calibration and scoring."""
    parts = splits
    if "all" in splits:
        parts = data.split(splits["all"], seed, {"train": 1 - DEVELOPMENT_SHARE, "validation": DEVELOPMENT_SHARE})
    inner = data.split(parts["train"], seed, {"train": 1 - VALIDATION_SHARE, "validation": VALIDATION_SHARE})
    return inner["train"], inner["validation"], parts["validation"]


def measure(
    splits: dict[str, list[Review]],
    recipe: Recipe,
    folder: Path,
    *,
    share: float = 1.0,
    count: int | None = None,
    texts: Sequence[str] = (),
    foundation: Path | None = None,
) -> dict[str, float]:
    """Train on a part of the training reviews, and texts without labels, and return figures of the development split.

    The part is `count` labelled reviews, a tenth of which calibrates, or the given share of the training reviews.
    """
    train, validation, scored = development(splits, recipe.seed)
    if count is not None:
        calibrating = max(1, count // 10)
        pool = [*train, *validation]
        random.Random(recipe.seed).shuffle(pool)  # noqa: S311
        train, validation = pool[calibrating:count], pool[:calibrating]
    elif share < 1:
        train = data.split(train, recipe.seed, {"train": share, "unused": 1 - share})["train"]
    parser, seconds = train_parser(train, validation, recipe, folder, foundation, texts)
    evaluation = evaluate(parser, scored)
    metrics = evaluation.metrics()
    names = ("tasd_f1", "implicit_f1", "quad_f1", "span_ece", "polarity_ece")
    figures = {name: metrics[name] for name in names if name in metrics}
    return {"reviews": len(train), **evaluation.f1s, **figures, "seconds": seconds}


def train_parser(
    train: list[Review],
    validation: list[Review],
    recipe: Recipe,
    folder: Path,
    foundation: Path | None = None,
    texts: Sequence[str] = (),
) -> tuple[AspectParser, float]:
    """Return a calibrated fp32 parser, distilled if there are texts without labels, and the seconds of fitting it."""
    taxonomy = Taxonomy.of(train)
    begin = time.monotonic()
    if texts:
        result = distill(train, validation, texts, taxonomy, recipe, folder, foundation=foundation)
    else:
        result = fitting.fit(train, validation, taxonomy, recipe, folder, foundation=foundation)
    seconds = time.monotonic() - begin
    write_fp32(result.checkpoint, taxonomy, recipe, folder)
    calibrate(folder, validation)
    return AspectParser(folder), seconds


def change(recipe: Recipe, settings: list[str]) -> Recipe:
    """Return the recipe with settings NAME=VALUE. Raises ValueError if a field does not exist or a value is invalid."""
    types = {"int": int, "float": float, "bool": bool, "str": str}
    field_types = {f.name: types[str(f.type).removesuffix(" | None")] for f in fields(recipe)}
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in field_types:
            raise ValueError(f"a recipe has no '{name}': set one of {', '.join(field_types)}")
        values[name] = value == "true" if field_types[name] is bool else field_types[name](value)
    return replace(recipe, **values)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", help="labelled reviews, as in `train`")
    parser.add_argument("--map", type=Path, help="JSON file that renames or drops categories")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of splits and trainings")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--share", type=float, default=1.0, help="share of the training reviews, for learning curves")
    part.add_argument("--reviews", type=int, metavar="N", help="labelled reviews in all")
    parser.add_argument(
        "--unlabelled", nargs="+", default=[], metavar="FILE", help="texts without labels, as in `train`"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of the recipe to change")
    trials_help = f"changes that are not in the package (trials.py): {', '.join(TRIALS)}"
    parser.add_argument("--trial", nargs="*", default=[], metavar="NAME[=VALUE]", help=trials_help)
    options = parser.parse_args()
    if not 0 < options.share <= 1:
        parser.error("--share must be above 0 and at most 1")
    if options.reviews is not None and options.reviews < 2:
        parser.error("--reviews must be at least 2")
    try:
        recipe = change(Recipe(), options.set)
        splits = data.read_splits(options.data, data.read_mapping(options.map) if options.map else {})
        texts = [text for text, _ in read_texts(options.unlabelled)] if options.unlabelled else []
        runs = []
        for seed in options.seeds:
            seeded = replace(recipe, seed=seed)
            with tempfile.TemporaryDirectory() as folder, ExitStack() as trials:
                foundation = find_checkpoint(seeded.foundation_name, seeded.backbone, Path(folder))
                for setting in options.trial:
                    trials.enter_context(trial(setting))
                sizes = {"share": options.share, "count": options.reviews}
                runs.append(measure(splits, seeded, Path(folder), **sizes, texts=texts, foundation=foundation))
            print(f"seed {seed}: {runs[-1]}", file=sys.stderr)
    except (ReviewsParsingError, ValueError) as error:
        sys.exit(f"error: {error}")
    means = {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}
    if options.json:
        report = {"data": options.data, "recipe": asdict(recipe), "trial": options.trial, "runs": runs, "mean": means}
        print(json.dumps(report, indent=2))
        return
    changes = " ".join([*options.set, *options.trial]) or "the default recipe"
    table = Table(title=f"{options.data}, means over {len(runs)} seeds; {changes}")
    for name in means:
        table.add_column(name, justify="right")
    table.add_row(
        *(f"{value:.0f}" if name in ("seconds", "reviews") else f"{100 * value:.1f}" for name, value in means.items())
    )
    print_table(table)


if __name__ == "__main__":
    main()
