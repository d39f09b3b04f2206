"""Compare labels selected by `data suggest` with labels of random reviews, by learning curves.

    python benchmarks/suggestions.py [DATA] [--start 200] [--step 100] [--steps 4] [--seeds 1 2 3]
                                     [--set epochs=8 ...] [-o curve.json] [--plot curve.svg]

Training starts with `start` random reviews of the training split. Each step adds `step` reviews, suggested by the model
of the previous step or, in the other arm, random ones, and trains on all of them. The validation split calibrates; the
test split is scored, in fp32, exact match, F1 in points. Points in the output file are not measured again, so an
interrupted run continues.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from machine import argument_parser, print_table
from recipes import change, train_parser
from rich.table import Table

from reviews_parsing import data
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.io.files import write_bytes
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.suggest import suggest
from reviews_parsing.training.evaluate import evaluate
from reviews_parsing.training.fit import Recipe

ARMS = ("suggested", "random")
START = "start"
Point = dict[str, Any]


class Sizes(NamedTuple):
    """Number of reviews at the start, reviews per step, number of steps."""

    start: int
    step: int
    steps: int


def select(arm: str, labelled: Sequence[Review], pool: Sequence[Review], step: int, parser: AspectParser) -> list[str]:
    """Return the ids of the next `step` reviews of `pool`, which is in random order."""
    if arm == "random":
        return [review.id for review in pool[:step]]
    rows = ((review.text, {"id": review.id}) for review in pool)
    return [s.source_row["id"] for s in suggest(parser, rows, step, [review.text for review in labelled])]


def learnable(reviews: Sequence[Review], labelled: Sequence[Review]) -> list[Review]:
    """Return the reviews without aspects of categories that `labelled` lacks."""
    taxonomy = Taxonomy.of(labelled)
    return [
        replace(
            review,
            aspects=tuple(
                a for a in review.aspects if a.entity_group in (taxonomy.categories if a.span else taxonomy.implicit)
            ),
        )
        for review in reviews
    ]


def measure_curve(
    splits: dict[str, list[Review]], recipe: Recipe, sizes: Sizes, points: list[Point], add: Callable[[Point], None]
) -> None:
    """Measure the points that `points` lacks and `add` them; a point has the ids of the next reviews."""
    pool = random.Random(recipe.seed).sample(splits["train"], len(splits["train"]))  # noqa: S311
    by_id = {review.id: review for review in pool}

    def measure_point(arm: str, number: int, labelled: list[Review]) -> Point:
        for point in points:
            if (point["arm"], point["seed"], point["step"]) == (arm, recipe.seed, number):
                return point
        labelled_ids = {review.id for review in labelled}
        unlabelled = [review for review in pool if review.id not in labelled_ids]
        with tempfile.TemporaryDirectory() as folder:
            validation = learnable(splits["validation"], labelled)
            parser, seconds = train_parser(labelled, validation, recipe, Path(folder))
            scores = evaluate(parser, splits["test"]).f1s
            arms = ARMS if arm == START else (arm,)
            selections = {arm: select(arm, labelled, unlabelled, sizes.step, parser) for arm in arms}
        words = sum(len(review.text.split()) for review in labelled)
        facts = {"arm": arm, "seed": recipe.seed, "step": number, "reviews": len(labelled), "words": words}
        add(facts | scores | {"seconds": seconds, "next": selections})
        return points[-1]

    start = measure_point(START, 0, pool[: sizes.start])
    for arm in ARMS:
        labelled, point = pool[: sizes.start], start
        for number in range(1, sizes.steps + 1):
            labelled = labelled + [by_id[review_id] for review_id in point["next"][arm]]
            point = measure_point(arm, number, labelled)


def table(points: list[Point], metric: str) -> Table:
    """Return means over the seeds by number of labelled reviews."""
    grid = Table(title=f"F1 of {metric}, means over {len({p['seed'] for p in points})} seeds")
    for column in ("reviews", "suggested", "random", "difference", "words suggested", "words random"):
        grid.add_column(column, justify="right")
    for reviews in sorted({point["reviews"] for point in points}):
        arms = [[p for p in points if p["arm"] in (arm, START) and p["reviews"] == reviews] for arm in ARMS]
        if all(arms):
            f1 = [100 * statistics.fmean(p[metric] for p in arm_points) for arm_points in arms]
            words = [statistics.fmean(p["words"] for p in arm_points) for arm_points in arms]
            row = [f"{figure:.1f}" for figure in (*f1, f1[0] - f1[1])] + [f"{figure:,.0f}" for figure in words]
            grid.add_row(str(reviews), *row)
    return grid


def plot(points: list[Point], metric: str, target: Path) -> None:
    """Plot the mean curves of both arms, and each seed as a thin line."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "suggestions"
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for arm, colour, dashes in zip(ARMS, ("#0072B2", "#D55E00"), ("-", "--"), strict=True):
        arm_points = [point for point in points if point["arm"] in (arm, START)]
        sizes = sorted({point["reviews"] for point in arm_points})
        for seed in sorted({point["seed"] for point in arm_points}):
            line = sorted((p["reviews"], 100 * p[metric]) for p in arm_points if p["seed"] == seed)
            axes.plot(*zip(*line, strict=True), colour, linestyle=dashes, linewidth=0.6, alpha=0.5)
        means = [100 * statistics.fmean(p[metric] for p in arm_points if p["reviews"] == size) for size in sizes]
        axes.plot(sizes, means, colour, linestyle=dashes, linewidth=2, marker="o", label=arm)
    axes.set(xlabel="labelled reviews", ylabel=f"F1 of {metric.replace('_', ' + ')}, test split")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


def main() -> None:
    parser = argument_parser(__doc__, with_json=False)
    parser.add_argument("data", nargs="?", default="corpus", help="labelled reviews, as in `train`")
    parser.add_argument("--start", type=int, default=200, help="number of labelled reviews at the start")
    parser.add_argument("--step", type=int, default=100, help="number of reviews labelled in a step")
    parser.add_argument("--steps", type=int, default=4, help="number of steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of samples and trainings")
    set_help = "fields of the recipe to change"
    parser.add_argument("--set", nargs="*", default=["epochs=8"], metavar="NAME=VALUE", help=set_help)
    parser.add_argument("--scored", type=int, help="number of test reviews to score; unset: all")
    measure_help = "span, span_category or span_category_polarity"
    parser.add_argument("--measure", default="span_category", help=measure_help)
    parser.add_argument("-o", "--output", type=Path, default=Path("suggestions.json"), help="file of the points")
    parser.add_argument("--plot", type=Path, help="file for a plot of the curves, such as curve.svg")
    options = parser.parse_args()
    try:
        recipe = change(Recipe(), options.set)
        splits = data.read_splits(options.data)
        splits["test"] = splits["test"][: options.scored]
        about = {"data": options.data, "recipe": asdict(recipe), "start": options.start, "step": options.step}
        about["scored"] = len(splits["test"])
        sizes = Sizes(options.start, options.step, options.steps)
        points: list[Point] = []
        if options.output.exists():
            content = json.loads(options.output.read_text())
            if content["about"] != about:
                sys.exit(f"error: {options.output} belongs to another experiment: name another file with -o")
            points = content["points"]

        def add(point: Point) -> None:
            points.append(point)
            write_bytes(options.output, json.dumps({"about": about, "points": points}, indent=1).encode())
            print({key: value for key, value in point.items() if key != "next"}, file=sys.stderr, flush=True)

        for seed in options.seeds:
            measure_curve(splits, replace(recipe, seed=seed), sizes, points, add)
    except (ReviewsParsingError, ValueError) as error:
        sys.exit(f"error: {error}")
    print_table(table(points, options.measure))
    if options.plot:
        plot(points, options.measure, options.plot)


if __name__ == "__main__":
    main()
