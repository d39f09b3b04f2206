"""`reviews-parsing data ...`: check, count, compare and convert labelled reviews, and keep reference sets."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reviews_parsing.cli import output
from reviews_parsing.cli.options import (
    AsJson,
    Domain,
    Format,
    LabelsField,
    Map,
    Model,
    TextField,
    load_parser,
    registered_model,
)
from reviews_parsing.errors import DataError

data_app = typer.Typer(no_args_is_help=True, help="Check, count, compare and convert labelled reviews.")
reference_app = typer.Typer(no_args_is_help=True, help="Reference sets, on which the gate evaluates every challenger.")
data_app.add_typer(reference_app, name="reference")

Source = Annotated[str, typer.Argument(help="File, folder or hub dataset of labelled reviews, or 'corpus'.")]


@data_app.command()
def check(
    source: Source = "corpus",
    data_format: Format = None,
    map_file: Map = None,
    categories: Annotated[str | None, typer.Option(help="Permitted categories, separated by commas.")] = None,
    text_field: TextField = None,
    labels_field: LabelsField = None,
    as_json: AsJson = False,
) -> None:
    """Find wrong offsets, overlaps, duplicates, unknown or misspelt categories and more; status 1 if there are errors.

    A file or split without one label is an error.

    Example:

        reviews-parsing data check my-reviews.jsonl --categories FOOD,SERVICE,PRICE
    """
    from reviews_parsing import data

    permitted = [name.strip() for name in categories.split(",")] if categories else None
    mapping, fields = data.read_mapping(map_file) if map_file else None, data.Fields(text_field, labels_field)
    findings = data.check(source, mapping, data_format, permitted, fields)
    findings += data.check_dataset(source, mapping, data_format, fields)
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        output.print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            output.out.print(str(finding), style="red" if finding.severity == "error" else "yellow", markup=False)
        output.out.print(f"{source}: {errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise typer.Exit(1)


@data_app.command()
def stats(
    source: Source = "corpus",
    data_format: Format = None,
    map_file: Map = None,
    text_field: TextField = None,
    labels_field: LabelsField = None,
    as_json: AsJson = False,
) -> None:
    """Count reviews, words, aspects, categories and polarities of each split.

    Example:

        reviews-parsing data stats corpus
    """
    from reviews_parsing import data

    mapping, fields = data.read_mapping(map_file) if map_file else None, data.Fields(text_field, labels_field)
    splits = data.read_splits(source, mapping, data_format, fields)
    data.check_offsets(source, [review for reviews in splits.values() for review in reviews])
    forms = {name: statistics.to_json() for name, statistics in data.compute_statistics(splits).items()}
    if as_json:
        output.print_json(forms)
        return
    plain = [key for key, value in next(iter(forms.values())).items() if not isinstance(value, dict)]
    rows = [[key.replace("_", " "), *(form[key] for form in forms.values())] for key in plain]
    output.table(source, ["", *forms], rows)
    for title, key in (("Aspects by category", "by_category"), ("Aspects by polarity", "by_polarity")):
        names = sorted({name for form in forms.values() for name in form[key]})
        output.out.print()
        output.table(title, ["", *forms], [[n or "none", *(f[key].get(n, 0) for f in forms.values())] for n in names])


@data_app.command()
def convert(
    source: Annotated[str, typer.Argument(help="Labelled reviews to read.")],
    target: Annotated[
        Path,
        typer.Argument(
            help="File to write (.jsonl, .conll, .parquet, .acos), or a folder for one Parquet file per split."
        ),
    ],
    data_format: Format = None,
    to: Annotated[
        str | None,
        typer.Option(help="Format to write: jsonl, conll, hf, acos or label-studio. Default: by the ending of TARGET."),
    ] = None,
    map_file: Map = None,
    split: Annotated[
        str | None, typer.Option(help="Split to write. Default: all splits to a folder, the only split to a file.")
    ] = None,
    text_field: TextField = None,
    labels_field: LabelsField = None,
    as_json: AsJson = False,
) -> None:
    """Write labelled reviews in another format, and count what that format cannot hold.

    A file in which more than 5 % of the labels do not have their words at their offsets is refused.

    A folder is written for `datasets.load_dataset`. SemEval XML and files of other tools (Doccano, Prodigy, spaCy,
    Rasa, PyABSA and more) can be read but not written.

    Examples:

        reviews-parsing data convert restaurants.xml restaurants.jsonl --map categories.json

        reviews-parsing data convert corpus dataset/
    """
    from reviews_parsing import data

    _refuse_input(target, source)
    mapping, fields = data.read_mapping(map_file) if map_file else None, data.Fields(text_field, labels_field)
    splits = data.read_splits(source, mapping, data_format, fields)
    if split is not None and split not in splits:
        raise DataError(f"{source} has no split '{split}'; it has {', '.join(splits)}")
    if split is not None:
        splits = {split: splits[split]}
    data.check_offsets(source, [review for reviews in splits.values() for review in reviews])
    lost = data.write_splits(splits, target, to)
    count = sum(map(len, splits.values()))
    if as_json:
        output.print_json({"target": str(target), "reviews": count, "lost": dict(lost)})
        return
    output.stored_reviews(count, target, lost)
    aspects = [aspect for reviews in splits.values() for review in reviews for aspect in review.aspects]
    if aspects and all(aspect.polarity is None for aspect in aspects):
        output.print_line(f"not one of {len(aspects)} labels has a polarity")


@data_app.command()
def suggest(
    pool: Annotated[list[str], typer.Argument(help="Files of reviews (CSV, TSV, JSONL, Parquet), or - for stdin.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of reviews to pick.")] = 200,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help=".jsonl, or another format that `data convert` writes.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Format; label-studio makes tasks. Default: by the ending.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Write Label Studio's labelling configuration (XML) here as well.")
    ] = None,
    labelled: Annotated[
        list[str] | None, typer.Option(help="Labelled reviews, or 'corpus', to exclude. Repeatable.")
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the text. Default: by its name.")] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Select the reviews whose labels would improve the model most: uncertain answers, without near-duplicates.

    The output holds the model's answers for correction; `errors` is the expected number of wrong labels.

    Examples:

        reviews-parsing data suggest reviews.csv -n 100 -o to-label.jsonl

        reviews-parsing data suggest reviews.csv -o tasks.json --to label-studio --config labels.xml --labelled corpus
    """
    from reviews_parsing import data
    from reviews_parsing.batch import read_texts
    from reviews_parsing.data import labelstudio
    from reviews_parsing.io.files import write_bytes
    from reviews_parsing.suggest import suggest as pick

    if out is not None:
        _refuse_input(out, *pool, *(labelled or ()))
    parser = load_parser(model)
    excluded = [r.text for source in labelled or () for split in data.read_splits(source).values() for r in split]
    with output.progress_bar("reading") as update, closing(read_texts(pool, text_column)) as texts:
        suggestions = pick(parser, texts, count, excluded, lambda finished: update(None, f"{finished:,} reviews"))
    reviews = [suggestion.to_review() for suggestion in suggestions]
    if config:
        write_bytes(config, labelstudio.build_labelling_config(parser.taxonomy).encode())
    if out is None:
        for review in reviews if not as_json else ():
            sys.stdout.write(json.dumps(review.to_json(), ensure_ascii=False) + "\n")
        if as_json:
            output.print_json([review.to_json() for review in reviews])
        return
    lost = data.write(reviews, out, to)
    if as_json:
        output.print_json({"target": str(out), "reviews": len(reviews), "lost": dict(lost)})
    else:
        output.stored_reviews(len(reviews), out, lost)


@data_app.command()
def agreement(
    first: Annotated[Path, typer.Argument(help="Labelled reviews.")],
    second: Annotated[Path, typer.Argument(help="The same reviews, labelled by another person.")],
    as_json: AsJson = False,
) -> None:
    """Compute the agreement of two people: F1 of the second labels against the first, exact match.

    Example:

        reviews-parsing data agreement first.jsonl second.jsonl
    """
    from reviews_parsing import data
    from reviews_parsing.training.metrics import agreement, flatten

    labels = {file: data.read(file) for file in (first, second)}
    for file, reviews in labels.items():
        data.check_offsets(str(file), reviews)
    shared, scores = agreement(labels[first], labels[second])
    metrics = flatten(scores)
    if as_json:
        output.print_json({"reviews": shared, **metrics})
    else:
        output.scores_table(f"{shared} reviews labelled twice", metrics)


@reference_app.command("add")
def add_reference(
    file: Annotated[str, typer.Argument(help="File of labelled reviews.")],
    name: Annotated[str | None, typer.Option(help="Name of the set. Default: that of the file.")] = None,
    data_format: Format = None,
    map_file: Map = None,
    domain: Domain = None,
    as_json: AsJson = False,
) -> None:
    """Register labelled reviews as a reference set; one of the same name is replaced.

    Example:

        reviews-parsing data reference add hard-cases.jsonl
    """
    from reviews_parsing import data, pipelines

    mapping = data.read_mapping(map_file) if map_file else None
    added = pipelines.add_reference_set(file, name, mapping, data_format, registered_model(domain))
    if as_json:
        output.print_json(asdict(added))
    else:
        output.reference_sets([added])
    if warning := added.warning:
        output.err.print(f"warning: {warning}", markup=False, soft_wrap=True)


@reference_app.command("list")
def list_references(domain: Domain = None, as_json: AsJson = False) -> None:
    """List the registered reference sets.

    Example:

        reviews-parsing data reference list
    """
    from reviews_parsing import pipelines

    sets = pipelines.list_reference_sets(registered_model(domain))
    if as_json:
        output.print_json([asdict(reference) for reference in sets])
    elif sets:
        output.reference_sets(sets)
    else:
        output.out.print("no reference sets yet; add one: reviews-parsing data reference add FILE")


@reference_app.command("remove")
def remove_reference(
    name: Annotated[str, typer.Argument(help="Name of the set.")], domain: Domain = None, as_json: AsJson = False
) -> None:
    """Remove a reference set; the gate does not use it any more.

    Example:

        reviews-parsing data reference remove hard-cases
    """
    from reviews_parsing import pipelines

    pipelines.remove_reference_set(name, registered_model(domain))
    if as_json:
        output.print_json({"removed": name})
    else:
        output.out.print(f"reference set {name} removed")


def _refuse_input(target: Path, *sources: str | Path) -> None:
    """Raise DataError if the output would replace an input: formats lose labels, and a selection reviews."""
    if target.exists() and any(Path(source).exists() and target.samefile(source) for source in sources):
        raise DataError(f"{target} is also an input: write to another file")
