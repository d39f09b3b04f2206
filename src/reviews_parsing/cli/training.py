"""`reviews-parsing train` and `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviews_parsing.cli import output
from reviews_parsing.cli.options import (
    AsJson,
    Domain,
    Format,
    LabelsField,
    Map,
    Split,
    TextField,
    load_parser,
    read_texts,
    registered_model,
)

if TYPE_CHECKING:
    from reviews_parsing.pipelines import EvaluationReport
    from reviews_parsing.training.evaluate import Mistake
    from reviews_parsing.training.metrics import Scores

# Fields of the recipe by their names in --student.
STUDENT_SIZES = {"layers": "layers", "feed-forward": "feed_forward", "texts": "student_texts"}
STUDENT_FORM = "layers=N, feed-forward=N or both, and texts=N; for example layers=3,feed-forward=768"


def train(
    data: Annotated[
        str, typer.Argument(help="File, folder or hub dataset of labelled reviews, or 'corpus'.")
    ] = "corpus",
    data_format: Format = None,
    map_file: Map = None,
    text_field: Annotated[
        str | None,
        typer.Option(
            help="Field of the text in JSON of other tools; of --add, if DATA is the corpus. Default: inferred."
        ),
    ] = None,
    labels_field: LabelsField = None,
    add: Annotated[
        list[Path] | None, typer.Option("--add", help="Labelled reviews for the training split alone; repeatable.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="minilm-l6 (embedded), a local folder, or a hub name.")] = "minilm-l6",
    epochs: Annotated[int | None, typer.Option(min=1, help="Maximum number of passes over the training split.")] = None,
    foundation: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint that training starts from: pretrained, none (the backbone alone), a checkpoint folder or "
            "runs:/ID. Default: pretrained for minilm-l6, else none."
        ),
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(help="Reviews without labels, which teachers label for the model to learn from; repeatable."),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column of the text in --unlabelled. Default: text, review, ...")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Backbone of the teachers, such as a larger one; with --student the finished teacher: pretrained, "
            "runs:/ID or a checkpoint folder. Default: --backbone, trained first."
        ),
    ] = None,
    teachers: Annotated[int | None, typer.Option(min=1, help="Number of teachers, with different seeds.")] = None,
    student: Annotated[
        str | None,
        typer.Option(
            metavar="layers=N,feed-forward=N",
            help="Train a smaller, faster model that imitates a whole one: fewer layers, fewer units in their "
            "feed-forward parts, or both. texts=N: learn N texts instead of 150,000.",
        ),
    ] = None,
    foundation_epochs: Annotated[int | None, typer.Option(hidden=True)] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak learning rate of the encoder.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Windows per step.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after this number of epochs without a better one; keep the best.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Random seed; metrics are reproducible on one machine.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the same call after it was killed.")] = False,
    push_to_hub: Annotated[str | None, typer.Option(help="Upload checkpoint and card to this hub repository.")] = None,
    domain: Domain = None,
    as_json: AsJson = False,
) -> None:
    """Train a model, evaluate it, log the run and register it as a new version.

    Examples:

        reviews-parsing train

        reviews-parsing train my-reviews/ --epochs 20 --seed 1

        reviews-parsing train restaurants.xml --map categories.json --backbone ./my-encoder

        reviews-parsing train annotations.jsonl --text-field comment --labels-field gold

        reviews-parsing train corpus --add corrections.jsonl

        reviews-parsing train my-reviews.jsonl --unlabelled all-reviews.csv --foundation none

        reviews-parsing train my-reviews.jsonl --unlabelled all-reviews.csv --student layers=3

        reviews-parsing train corpus --teacher pretrained --student layers=3,feed-forward=768

        reviews-parsing train gym-reviews.jsonl --domain gym
    """
    from reviews_parsing import pipelines
    from reviews_parsing.data import Fields, read_mapping
    from reviews_parsing.training.fit import Recipe

    options: dict[str, Any] = {
        "epochs": epochs,
        "foundation": _foundation(foundation, foundation_epochs),
        "teacher": teacher,
        "teachers": teachers,
        **_parse_student(student),
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "patience": patience,
        "seed": seed,
    }
    recipe = Recipe(backbone=backbone, **{key: value for key, value in options.items() if value is not None})
    with output.progress_bar("training") as update:
        run = pipelines.train(
            data,
            recipe,
            mapping=read_mapping(map_file) if map_file else None,
            data_format=data_format,
            fields=Fields(text_field, labels_field),
            extra_files=[str(file) for file in add or ()],
            texts=read_texts([str(file) for file in unlabelled or ()], text_column),
            resume=resume,
            progress=output.epoch_progress(update),
            say=output.print_line,
            model_name=registered_model(domain),
        )
    if push_to_hub:
        pipelines.push_to_hub(run.run_id, push_to_hub)
    metrics = run.result.test.metrics()
    if as_json:
        result = {"seconds": run.result.seconds, "precision": run.result.precision, "f1": run.result.validation.f1s}
        output.print_json({"run_id": run.run_id, "version": run.version, **result, "test": metrics})
        return
    output.scores_table("Test split, exact match", metrics)
    output.out.print(
        f"\nrun {run.run_id}, {run.result.seconds:.0f} s of training, weights stored as {run.result.precision}"
    )
    option = f" --domain {domain}" if domain else ""
    output.out.print(f"next: reviews-parsing promote --version {run.version}{option}")


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            help="models:/NAME@ALIAS, models:/NAME/N, a run's id, a folder or pretrained. "
            "[default: champion, else pretrained]"
        ),
    ] = None,
    data: Annotated[
        str, typer.Argument(help="Labelled reviews: a file, a folder, a hub dataset, or 'corpus'.")
    ] = "corpus",
    data_format: Format = None,
    map_file: Map = None,
    text_field: TextField = None,
    labels_field: LabelsField = None,
    split: Split = "test",
    against: Annotated[str | None, typer.Option(help="Another model to compare with on the same reviews.")] = None,
    mistakes: Annotated[int, typer.Option(min=0, help="Number of most confident mistakes to print.")] = 10,
    log: Annotated[bool, typer.Option("--log", help="Log metrics, plots and mistakes as a run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model on labelled reviews. --map also applies to the model's answers.

    Examples:

        reviews-parsing evaluate

        reviews-parsing evaluate models:/reviews-parsing-ner-aspects/3 gold.xml --map categories.json

        reviews-parsing evaluate models:/reviews-parsing-ner-aspects/3 --against models:/reviews-parsing-ner-aspects/2
    """
    from reviews_parsing import pipelines
    from reviews_parsing.data import Fields, read_mapping

    parser, mapping = load_parser(model), read_mapping(map_file) if map_file else None
    report = pipelines.evaluate_model(
        parser,
        data,
        split=split,
        mapping=mapping,
        data_format=data_format,
        fields=Fields(text_field, labels_field),
        model=model,
        against_parser=load_parser(against) if against else None,
        against=against,
    )
    if unknown := report.count_unknown(parser.taxonomy, mapping):
        names = ", ".join(list(unknown)[:10])
        message = f"{unknown.total()} labels have names that the model does not know ({names}): rename them with --map"
        output.print_line(f"warning: {message}")
    run_id = pipelines.log_evaluation(report) if log else None
    if as_json:
        output.print_json(report.to_json(mistakes, run_id))
        return
    _print_evaluation(report, mistakes)
    if run_id:
        output.out.print(f"logged as run {run_id}")


def _print_evaluation(report: EvaluationReport, max_mistakes: int) -> None:
    """Print the tables of an evaluation and the comparison with another model."""
    from reviews_parsing.training.evaluate import calibration_line
    from reviews_parsing.training.metrics import flatten

    result, metrics = report.result, report.result.metrics()
    output.scores_table(f"{report.source}, {len(report.reviews):,} reviews, exact match", metrics)
    output.out.print()
    output.scores_table("By polarity, span and category right too", flatten(result.by_polarity))
    output.out.print()
    output.scores_table("By words in a review", flatten(result.by_words))
    output.out.print()
    _print_thresholds("Precision and recall of spans by minimum probability", result.by_score)
    if result.mistakes and max_mistakes:
        output.out.print()
        _print_mistakes("The most confident mistakes", result.mistakes[:max_mistakes])
    output.out.print(f"\nexpected calibration error: {calibration_line(metrics)}")
    output.out.print(f"{metrics['reviews_per_second']:,.0f} reviews a second")
    if report.difference:
        mean, low, high = (100 * figure for figure in report.difference)
        difference = f"F1 of span + category {mean:+.1f} points against {report.against}"
        output.out.print(f"{difference}, 95 % interval {low:+.1f} to {high:+.1f}")


def _print_thresholds(title: str, by_score: Mapping[str, Mapping[float, Scores]]) -> None:
    """Print precision and recall of each category by minimum probability."""
    thresholds = list(next(iter(by_score.values())))
    columns = [f"{figure} {threshold:g}" for threshold in thresholds for figure in ("P", "R")]
    rows = [
        [name, *(figure for t in thresholds for figure in (scores[t].precision, scores[t].recall))]
        for name, scores in by_score.items()
    ]
    output.table(title, ["", *columns], rows)


def _print_mistakes(title: str, mistakes: Sequence[Mistake]) -> None:
    """Print mistakes with the label, the answer and the context."""
    rows = [[m.kind, f"{m.probability:.2f}", m.gold, m.predicted, m.context.replace("\n", " ")] for m in mistakes]
    output.table(title, ["mistake", "probability", "labelled", "answered", "in"], rows)


def _parse_student(student: str | None) -> dict[str, int]:
    """Return the fields of the recipe in `--student layers=N,feed-forward=N`."""
    sizes: dict[str, int] = {}
    for part in student.split(",") if student is not None else ():
        name, _, count = part.strip().partition("=")
        field = STUDENT_SIZES.get(name)
        if field is None or field in sizes or not (count.isascii() and count.isdecimal() and int(count)):
            raise typer.BadParameter(f"'{student}' is not {STUDENT_FORM}", param_hint="--student")
        sizes[field] = int(count)
    if sizes.keys() == {"student_texts"}:
        raise typer.BadParameter(f"'{student}' names no size: give {STUDENT_FORM}", param_hint="--student")
    return sizes


def _foundation(foundation: str | None, epochs: int | None) -> str | None:
    """Return `--foundation`; `--foundation-epochs`, its predecessor, still works for one release."""
    if epochs is None:
        return foundation
    output.err.print("warning: --foundation-epochs is replaced by --foundation pretrained or --foundation none")
    return foundation or (None if epochs else "none")
