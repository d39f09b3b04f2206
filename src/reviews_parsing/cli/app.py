"""Every command. Each reads its options, calls one room and prints what came back."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from reviews_parsing.cli import output
from reviews_parsing.cli.corrections import corrections_app
from reviews_parsing.cli.data import data_app
from reviews_parsing.cli.demo import demo
from reviews_parsing.cli.insights import insights
from reviews_parsing.cli.monitor import monitor
from reviews_parsing.cli.options import AsJson, Model, load_parser
from reviews_parsing.cli.parse import parse
from reviews_parsing.cli.rollout import rollout_app
from reviews_parsing.errors import DataError, ReviewsParsingError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
app.add_typer(corrections_app, name="corrections")
app.add_typer(rollout_app, name="rollout")

app.command()(parse)
app.command()(insights)
app.command()(demo)

Map = Annotated[
    Path | None, typer.Option("--map", help='JSON file that renames or drops categories: {"OLD": "NEW", "X": null}.')
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", help="jsonl, conll, hf, semeval14, semeval16, acos or label-studio. Default: by the file."
    ),
]


def _print_version(value: bool) -> None:
    if value:
        import reviews_parsing

        typer.echo(f"reviews-parsing {reviews_parsing.__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Reads public reviews and returns their aspects: what people talk about, and how they feel about it.

    [bold]First steps[/bold]

        reviews-parsing train

        reviews-parsing promote --version 1

        reviews-parsing parse "The pho was lovely, the waiter less so."

        reviews-parsing parse reviews.csv -o parsed.parquet

        reviews-parsing serve
    """


@app.command()
def train(
    data: Annotated[
        str, typer.Argument(help="File, folder or hub dataset of labelled reviews, or 'corpus'.")
    ] = "corpus",
    data_format: Format = None,
    map_file: Map = None,
    add: Annotated[
        list[Path] | None, typer.Option("--add", help="Labelled reviews for the training split alone; repeatable.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="minilm-l6 (embedded), a local folder, or a hub name.")] = "minilm-l6",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training split at most.")] = None,
    foundation: Annotated[
        str | None,
        typer.Option(
            help="What training begins with: pretrained, none (the backbone alone), a checkpoint folder or runs:/ID. "
            "Default: pretrained for minilm-l6, else none."
        ),
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(help="Reviews without labels, which teachers answer for the model to learn from; repeatable."),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column of the text in --unlabelled. Default: text, review, ...")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Backbone of the teachers, such as a larger one. Default: --backbone.")
    ] = None,
    teachers: Annotated[int | None, typer.Option(min=1, help="How many teachers, with different seeds.")] = None,
    foundation_epochs: Annotated[int | None, typer.Option(hidden=True)] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak learning rate of the encoder.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Windows in a step.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a better one, and keep the best.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Same seed, same metrics on one machine.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the same call where it was killed.")] = False,
    push_to_hub: Annotated[str | None, typer.Option(help="Upload checkpoint and card to this hub repository.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model, evaluate it, log the run and register it as a new version.

    Examples:

        reviews-parsing train

        reviews-parsing train my-reviews/ --epochs 20 --seed 1

        reviews-parsing train restaurants.xml --map categories.json --backbone ./my-encoder

        reviews-parsing train corpus --add corrections.jsonl

        reviews-parsing train my-reviews.jsonl --unlabelled all-reviews.csv --foundation none
    """
    from reviews_parsing import pipelines
    from reviews_parsing.data import read_mapping
    from reviews_parsing.training.fit import Recipe

    given: dict[str, Any] = {
        "epochs": epochs,
        "foundation": _foundation(foundation, foundation_epochs),
        "teacher": teacher,
        "teachers": teachers,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "patience": patience,
        "seed": seed,
    }
    recipe = Recipe(backbone=backbone, **{key: value for key, value in given.items() if value is not None})
    with output.progress_bar("training") as update:

        def progress(share: float, metrics: dict[str, float]) -> None:
            update(share)
            if metrics:
                line = f"epoch {metrics['epoch']:.0f}/{metrics['epochs']:.0f}  loss {metrics.get('loss', 0):.3f}  "
                line += f"validation F1 {metrics['eval_aggregated_f1']:.3f}"
                update(share, line) if output.err.is_terminal else output.err.print(line)

        run = pipelines.train(
            data,
            recipe,
            mapping=read_mapping(map_file) if map_file else None,
            data_format=data_format,
            more=[str(file) for file in add or ()],
            texts=_texts([str(file) for file in unlabelled or ()], text_column),
            resume=resume,
            progress=progress,
            say=lambda line: output.err.print(line, markup=False, soft_wrap=True),
        )
    if push_to_hub:
        pipelines.push_to_hub(run.run_id, push_to_hub)
    metrics = run.result.test.metrics()
    if as_json:
        output.print_json(
            {
                "run_id": run.run_id,
                "version": run.version,
                "seconds": run.result.seconds,
                "precision": run.result.precision,
                "f1": run.result.validation.f1s,
                "test": metrics,
            }
        )
        return
    output.scores_table("Test split, exact match", metrics)
    output.out.print(
        f"\nrun {run.run_id}, {run.result.seconds:.0f} s of training, weights kept as {run.result.precision}"
    )
    output.out.print(f"next: reviews-parsing promote --version {run.version}")


def _texts(files: list[str], column: str | None) -> list[str]:
    """Return the texts in files of reviews without labels."""
    from contextlib import closing

    from reviews_parsing.batch import read_rows
    from reviews_parsing.batch.columns import texts_of

    if not files:
        return []
    with closing(read_rows(files)) as rows:
        return [text for text, _ in texts_of(rows, ", ".join(files), column)]


def _foundation(foundation: str | None, epochs: int | None) -> str | None:
    """Return `--foundation`; `--foundation-epochs`, its predecessor, still works for one release."""
    if epochs is None:
        return foundation
    output.err.print("warning: --foundation-epochs is replaced by --foundation pretrained or --foundation none")
    return foundation or (None if epochs else "none")


@app.command()
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
    split: Annotated[str, typer.Option(help="Which split, where the data has splits.")] = "test",
    against: Annotated[str | None, typer.Option(help="Another model, to compare with on the same reviews.")] = None,
    mistakes: Annotated[int, typer.Option(min=0, help="How many of the surest mistakes are printed.")] = 10,
    log: Annotated[bool, typer.Option("--log", help="Log figures, pictures and mistakes as a run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model on labelled reviews. --map also applies to the model's answers.

    Examples:

        reviews-parsing evaluate

        reviews-parsing evaluate models:/reviews-parsing-ner-aspects/3 gold.xml --map categories.json

        reviews-parsing evaluate models:/reviews-parsing-ner-aspects/3 --against models:/reviews-parsing-ner-aspects/2
    """
    from reviews_parsing import pipelines
    from reviews_parsing.data import read_mapping, read_splits
    from reviews_parsing.training import evaluate as room
    from reviews_parsing.training.metrics import flatten, paired_bootstrap

    mapping = read_mapping(map_file) if map_file else {}
    splits = read_splits(data, mapping, data_format)
    reviews = splits.get("all") or splits.get(split)
    if not reviews:
        raise DataError(f"{data} has no split '{split}'; it has {', '.join(splits)}")
    parser = load_parser(model)
    result = room.evaluate(parser, reviews, mapping)
    rival = room.evaluate(load_parser(against), reviews, mapping) if against else None
    difference = paired_bootstrap(result.counts, rival.counts) if rival else None
    metrics = result.metrics()
    name = model or f"version {parser.version}"
    run_id = pipelines.log_evaluation(name, data, reviews, result) if log else None
    if as_json:
        document = {
            "model": name,
            "data": data,
            "reviews": len(reviews),
            "f1": result.f1s,
            "tasd_f1": metrics.get("tasd_f1"),
            "implicit_f1": metrics.get("implicit_f1"),
            "quad_f1": metrics.get("quad_f1"),
            "ece": metrics["span_ece"],
            "polarity_ece": metrics.get("polarity_ece"),
            "by_polarity": {name: asdict(its) for name, its in result.by_polarity.items()},
            "by_words": {name: asdict(its) for name, its in result.by_words.items()},
            "by_score": {
                name: {str(least): asdict(its) for least, its in rows.items()} for name, rows in result.by_score.items()
            },
            "mistakes": [asdict(mistake) for mistake in result.mistakes[:mistakes]],
            "metrics": metrics,
            "run_id": run_id,
        }
        if rival and difference:
            document["against"] = {"model": against, "f1": rival.f1s, "difference": difference._asdict()}
        output.print_json(document)
        return
    output.scores_table(f"{data}, {len(reviews):,} reviews, exact match", metrics)
    output.out.print()
    output.scores_table("By polarity, span and category right too", flatten(result.by_polarity))
    output.out.print()
    output.scores_table("By words in a review", flatten(result.by_words))
    output.out.print()
    output.thresholds("Precision and recall of spans at least so probable", result.by_score)
    if result.mistakes and mistakes:
        output.out.print()
        output.mistakes("The surest mistakes", result.mistakes[:mistakes])
    output.out.print(f"\nexpected calibration error: {room.calibration_line(metrics)}")
    output.out.print(f"{metrics['reviews_per_second']:,.0f} reviews a second")
    if difference:
        mean, low, high = (100 * figure for figure in difference)
        output.out.print(
            f"F1 of span + category {mean:+.1f} points against {against}, 95 % interval {low:+.1f} to {high:+.1f}"
        )
    if run_id:
        output.out.print(f"logged as run {run_id}")


@app.command()
def promote(
    run_id: Annotated[str | None, typer.Option(help="Run whose model is the challenger.")] = None,
    version: Annotated[str | None, typer.Option(help="Registered version that is the challenger.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote even if it is worse; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why it is forced; recorded with the version.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare; change and record nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a model champion if it is not worse than the champion on the same test split.

    Examples:

        reviews-parsing promote --run-id 0a1b2c...

        reviews-parsing promote --version 4 --dry-run

        reviews-parsing promote --version 4 --force --reason "new category VIEW"
    """
    from reviews_parsing import pipelines

    if (run_id is None) == (version is None):
        raise typer.BadParameter("give one of --run-id and --version")
    if force and not reason:
        raise typer.BadParameter("--force needs --reason")
    if dry_run and version is None:
        raise typer.BadParameter("--dry-run needs --version: a run would first have to be registered")
    verdict = pipelines.promote(run_id=run_id, version=version, force=force, reason=reason, dry_run=dry_run)
    if as_json:
        output.print_json(output.verdict_form(verdict, dry_run))
    else:
        output.verdict(verdict, dry_run)
    pipelines.require(verdict)


@app.command()
def register(
    model: Annotated[
        str, typer.Argument(help="pretrained, a model folder, models:/NAME/N or a run's model (runs:/ID).")
    ] = "pretrained",
    data: Annotated[
        str, typer.Option(help="Labelled reviews to evaluate it on: a file, a folder, or 'corpus'.")
    ] = "corpus",
    split: Annotated[str, typer.Option(help="Which split, where the data has splits.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Evaluate a model, log that as a run and register it as a new version, without training.

    Examples:

        reviews-parsing register

        reviews-parsing register ./my-model --data my-reviews.jsonl
    """
    from reviews_parsing.pipelines import publish

    with output.progress_bar("registering") as update:
        update(None)
        published = publish(model, data, split)
        update(1.0)
    metrics = published.evaluation.metrics()
    if as_json:
        output.print_json({"run_id": published.run_id, "version": published.version, "test": metrics})
        return
    output.scores_table(f"{data}, {split} split, exact match", metrics)
    output.out.print(f"\nrun {published.run_id}")
    output.out.print(f"next: reviews-parsing promote --version {published.version}")


@app.command()
def rollback(as_json: AsJson = False) -> None:
    """Return to the champion before this one."""
    from reviews_parsing import registry

    was, now = registry.rollback()
    if as_json:
        output.print_json({"was": was, "champion": now})
    else:
        output.out.print(f"champion is version {now} again (was {was})")


@app.command()
def models(as_json: AsJson = False) -> None:
    """List registered versions with their metrics, aliases and lineage."""
    from reviews_parsing import registry

    found = registry.versions()
    if as_json:
        output.print_json([asdict(v) for v in found])
        return
    output.versions(found)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="Port of REST.")] = 8080,
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC.")] = 8081,
    metrics_port: Annotated[int, typer.Option(help="Port of Prometheus metrics.")] = 8082,
    model: Model = None,
) -> None:
    """Serve the champion over the Open Inference Protocol (V2), REST and gRPC, until Ctrl-C.

    Example:

        reviews-parsing serve --http-port 9080
    """
    from reviews_parsing.serving import serve as run

    # Until the server has its own: the first process of a container ignores a signal that nothing handles.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run(host=host, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, model_uri=model)


app.command()(monitor)


def main() -> None:
    """Run the command; a user's mistake is one line on stderr and exit status 1."""
    try:
        app(prog_name="reviews-parsing")
    except ReviewsParsingError as error:
        output.err.print(f"[bold red]error[/]: {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our pipe has had enough (`| head`); what is left in the buffer has nowhere to go.
        sys.stderr.close()
        sys.exit(141)
