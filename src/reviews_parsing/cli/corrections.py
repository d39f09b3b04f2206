"""`reviews-parsing corrections ...`: what people corrected, out to training and Label Studio, and back in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reviews_parsing.cli import output
from reviews_parsing.cli.options import AsJson, Model, load_parser
from reviews_parsing.errors import DataError, ModelError

if TYPE_CHECKING:
    from reviews_parsing.schema import Taxonomy

corrections_app = typer.Typer(no_args_is_help=True, help="List, export and import what people corrected.")

LABEL_STUDIO = "label-studio"
StoreFile = Annotated[
    Path | None, typer.Option("--store", help="File of corrections. Default: corrections.db in the home folder.")
]


@corrections_app.command("list")
def list_corrections(store: StoreFile = None, as_json: AsJson = False) -> None:
    """Show the last correction of each text: what was right, wrong and missed in the answer.

    Example:

        reviews-parsing corrections list
    """
    from reviews_parsing.corrections import CorrectionStore

    corrections = CorrectionStore(store)
    latest = corrections.list_latest()
    if as_json:
        output.print_json(
            [
                {
                    "text": correction.text,
                    "revision": revision.number,
                    "aspects": [aspect.to_json() for aspect in correction.aspects],
                    "answer": [aspect.to_json() for aspect in correction.predicted_aspects],
                    "model": correction.model,
                    "version": correction.version,
                    "author": correction.author,
                    "at": correction.corrected_at.isoformat(),
                }
                for revision in latest
                for correction in [revision.correction]
            ]
        )
    elif latest:
        output.corrections(latest)
    else:
        output.out.print(f"no corrections in {corrections.path} yet")


@corrections_app.command("export")
def export_corrections(
    target: Annotated[Path, typer.Argument(help=".jsonl, or what else `data convert` writes.")],
    to: Annotated[str | None, typer.Option(help="Format; label-studio makes tasks. Default: by the ending.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Write Label Studio's labelling configuration (XML) here as well.")
    ] = None,
    model: Model = None,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the last correction of each text as labelled reviews, or as tasks for Label Studio.

    Tasks hold the labels as an annotation and what the model had answered as a prediction. The labelling configuration
    has the categories of the corrections and of the model.

    Examples:

        reviews-parsing corrections export corrections.jsonl

        reviews-parsing corrections export tasks.json --to label-studio --config labels.xml
    """
    from reviews_parsing import data
    from reviews_parsing.corrections import CorrectionStore, to_review, to_tasks
    from reviews_parsing.data import labelstudio
    from reviews_parsing.io.files import write_bytes
    from reviews_parsing.schema import Review, Taxonomy

    corrections = CorrectionStore(store)
    latest = corrections.list_latest()
    if not latest:
        raise DataError(f"no corrections in {corrections.path} yet: correct an answer on the page, or import some")
    reviews = [to_review(revision) for revision in latest]
    if config:
        predictions = [
            Review("", revision.correction.text, revision.correction.predicted_aspects) for revision in latest
        ]
        model_taxonomy = _taxonomy(model)
        taxonomy = Taxonomy.of([*reviews, *predictions])
        xml = labelstudio.build_labelling_config(taxonomy.union(model_taxonomy) if model_taxonomy else taxonomy)
        write_bytes(config, xml.encode())
    lost: dict[str, int] = {}
    if to == LABEL_STUDIO:
        write_bytes(target, to_tasks(latest))
    else:
        lost = dict(data.write(reviews, target, to))
    if as_json:
        output.print_json({"target": str(target), "reviews": len(reviews), "lost": lost})
    else:
        output.written(len(reviews), target, lost)


@corrections_app.command("import")
def import_corrections(
    source: Annotated[Path, typer.Argument(help="What Label Studio exported: JSON or JSON-MIN.")],
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help='JSON file that renames or drops categories: {"OLD": "NEW", "X": null}.'),
    ] = None,
    categories: Annotated[
        str | None, typer.Option(help="Categories that are known, with commas between. Default: the model's.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Save over what others corrected meanwhile; theirs stays in the history.")
    ] = False,
    model: Model = None,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Save what people labelled in Label Studio as corrections.

    Nothing is saved where a label is wrong or a category unknown. A text that somebody else corrected since it was
    exported stays as it is, and the exit status is 1.

    Examples:

        reviews-parsing corrections import project-1.json

        reviews-parsing corrections import project-1.json --categories FOOD,STAFF,PARKING
    """
    from reviews_parsing.corrections import CorrectionStore, import_tasks
    from reviews_parsing.data import read_mapping

    known = {name.strip() for name in categories.split(",")} if categories else None
    if known is None and (taxonomy := _taxonomy(model)):
        known = {*taxonomy.categories, *taxonomy.implicit}
    mapping = read_mapping(map_file) if map_file else None
    report = import_tasks(CorrectionStore(store), source, mapping=mapping, categories=known, force=force)
    if as_json:
        counts = {"saved": report.saved, "unchanged": report.unchanged, "conflicts": report.conflicts}
        output.print_json({**counts, "loose": report.unlinked_opinions})
    else:
        output.out.print(f"{report.saved} corrections saved, {report.unchanged} were there already")
        if report.unlinked_opinions:
            output.out.print(
                f"{report.unlinked_opinions} opinions left out, no relation links them (JSON-MIN has none: export JSON)"
            )
    for conflict in report.conflicts:
        output.err.print(conflict, style="yellow", markup=False, soft_wrap=True)
    if report.conflicts:
        raise typer.Exit(1)


def _taxonomy(model: str | None) -> Taxonomy | None:
    """What the model knows; None where there is no champion yet and no other is named."""
    try:
        return load_parser(model).taxonomy
    except ModelError:
        if model is not None:
            raise
        return None
