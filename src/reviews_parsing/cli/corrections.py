"""`reviews-parsing corrections ...`: list, approve, export and import corrections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reviews_parsing.cli import output
from reviews_parsing.cli.options import AsJson, Model, TextField, load_parser
from reviews_parsing.errors import DataError

if TYPE_CHECKING:
    from reviews_parsing.corrections import CorrectionRevision, CorrectionStatus
    from reviews_parsing.schema import Taxonomy

corrections_app = typer.Typer(no_args_is_help=True, help="List, approve, export and import corrections.")

LABEL_STUDIO = "label-studio"
StoreFile = Annotated[
    Path | None, typer.Option("--store", help="File of corrections. Default: corrections.db in the home folder.")
]
Ids = Annotated[list[int] | None, typer.Argument(help="Ids from `corrections list`. Default: all that are pending.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


@corrections_app.command("list")
def list_corrections(
    pending: Annotated[bool, typer.Option("--pending", help="Only corrections that wait for approval.")] = False,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """List the latest correction of each text: its status, and the right, wrong and missed aspects of the prediction.

    Corrections from the page are pending until they are approved; only approved ones are exported.

    Examples:

        reviews-parsing corrections list

        reviews-parsing corrections list --pending
    """
    from reviews_parsing.corrections import CorrectionStatus, CorrectionStore

    corrections = CorrectionStore(store)
    latest = corrections.list_latest()
    if pending:
        latest = [revision for revision in latest if revision.status is CorrectionStatus.PENDING]
    if as_json:
        output.print_json(
            [
                {
                    "id": revision.id,
                    "status": revision.status,
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
        kind = "pending corrections" if pending else "corrections"
        output.out.print(f"no {kind} in {corrections.path} yet")


@corrections_app.command()
def approve(ids: Ids = None, yes: Yes = False, store: StoreFile = None) -> None:
    """Approve corrections, so that they are exported for training. Each is shown with its labels first.

    Examples:

        reviews-parsing corrections approve

        reviews-parsing corrections approve 12 15 --yes
    """
    from reviews_parsing.corrections import CorrectionStatus

    _decide(CorrectionStatus.APPROVED, ids, yes, store)


@corrections_app.command()
def reject(ids: Ids = None, yes: Yes = False, store: StoreFile = None) -> None:
    """Reject corrections: they stay in the file, but are neither exported nor shown on the page.

    Example:

        reviews-parsing corrections reject 13
    """
    from reviews_parsing.corrections import CorrectionStatus

    _decide(CorrectionStatus.REJECTED, ids, yes, store)


@corrections_app.command("export")
def export_corrections(
    target: Annotated[Path, typer.Argument(help="File to write: .jsonl, or any format of `data convert`.")],
    to: Annotated[
        str | None, typer.Option(help="Format; label-studio writes tasks. Default: by the extension.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Write Label Studio's labelling configuration (XML) to this file too.")
    ] = None,
    all_corrections: Annotated[
        bool, typer.Option("--all", help="Include pending corrections, which have not been approved.")
    ] = False,
    model: Model = None,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Export the latest approved correction of each text as labelled reviews or as Label Studio tasks.

    Tasks hold the labels as an annotation and the model's aspects as a prediction. The labelling configuration has the
    categories of the corrections and of the model.

    Examples:

        reviews-parsing corrections export corrections.jsonl

        reviews-parsing corrections export tasks.json --all --to label-studio --config labels.xml
    """
    from reviews_parsing import data
    from reviews_parsing.corrections import CorrectionStatus, CorrectionStore, to_review, to_tasks
    from reviews_parsing.data import labelstudio
    from reviews_parsing.io.files import write_bytes
    from reviews_parsing.schema import Review, Taxonomy

    corrections = CorrectionStore(store)
    every_latest = corrections.list_latest()
    if not every_latest:
        raise DataError(f"no corrections in {corrections.path} yet: correct an answer on the page, or import some")
    latest = every_latest if all_corrections else corrections.list_latest(approved_only=True)
    pending = sum(revision.status is CorrectionStatus.PENDING for revision in every_latest)
    if not latest:
        raise DataError(
            f"all {pending} corrections in {corrections.path} are pending: read and approve them with "
            "`reviews-parsing corrections approve`, or export them with --all"
        )
    reviews = [to_review(revision) for revision in latest]
    if config:
        predictions = [
            Review("", revision.correction.text, revision.correction.predicted_aspects) for revision in latest
        ]
        model_taxonomy = _load_taxonomy(model)
        taxonomy = Taxonomy.of([*reviews, *predictions])
        xml = labelstudio.build_labelling_config(taxonomy.union(model_taxonomy) if model_taxonomy else taxonomy)
        write_bytes(config, xml.encode())
    lost: dict[str, int] = {}
    if to == LABEL_STUDIO:
        write_bytes(target, to_tasks(latest))
    else:
        lost = dict(data.write(reviews, target, to))
    if as_json:
        output.print_json({"target": str(target), "reviews": len(reviews), "lost": lost, "pending": pending})
    else:
        output.stored_reviews(len(reviews), target, lost)
        if pending and not all_corrections:
            output.out.print(f"{pending} pending corrections are not exported: reviews-parsing corrections approve")


@corrections_app.command("import")
def import_corrections(
    source: Annotated[Path, typer.Argument(help="Label Studio export: JSON or JSON-MIN.")],
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help='JSON file that renames or drops categories: {"OLD": "NEW", "X": null}.'),
    ] = None,
    categories: Annotated[
        str | None, typer.Option(help="Allowed categories, separated by commas. Default: the model's.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Save over corrections made since the export; they stay in the history.")
    ] = False,
    text_field: TextField = None,
    model: Model = None,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Import the annotations of Label Studio as approved corrections.

    Nothing is saved if a label is wrong or a category unknown. A text that was corrected since the export is not
    changed, and the exit status is 1.

    Examples:

        reviews-parsing corrections import project-1.json

        reviews-parsing corrections import project-1.json --categories FOOD,STAFF,PARKING
    """
    from reviews_parsing.corrections import CorrectionStore, import_tasks
    from reviews_parsing.data import read_mapping

    allowed = {name.strip() for name in categories.split(",")} if categories else None
    if allowed is None and (taxonomy := _load_taxonomy(model)):
        allowed = {*taxonomy.categories, *taxonomy.implicit}
    mapping = read_mapping(map_file) if map_file else None
    report = import_tasks(
        CorrectionStore(store), source, mapping=mapping, categories=allowed, force=force, text_field=text_field
    )
    if as_json:
        counts = {"saved": report.saved, "unchanged": report.unchanged, "conflicts": report.conflicts}
        output.print_json({**counts, "loose": report.unlinked_opinions, "unused": dict(report.unused)})
    else:
        output.out.print(f"{report.saved} corrections saved, {report.unchanged} were there already")
        if report.unlinked_opinions:
            output.out.print(
                f"{report.unlinked_opinions} opinions left out: no relation links them to an aspect "
                "(JSON-MIN has no relations; export JSON)"
            )
        for name, count in report.unused.items():
            output.out.print(f"not read: {count} {name}", markup=False)
    for conflict in report.conflicts:
        output.err.print(conflict, style="yellow", markup=False, soft_wrap=True)
    if report.conflicts:
        raise typer.Exit(1)


def _decide(status: CorrectionStatus, ids: list[int] | None, yes: bool, store_file: Path | None) -> None:
    """Show the chosen corrections, ask for confirmation, and set their status; the default is all pending ones."""
    from reviews_parsing.corrections import CorrectionStatus, CorrectionStore

    store = CorrectionStore(store_file)
    if ids:
        revisions = store.find(dict.fromkeys(ids))
    else:
        revisions = [revision for revision in store.list_latest() if revision.status is CorrectionStatus.PENDING]
    if not revisions:
        output.out.print(f"no pending corrections in {store.path}")
        return
    for revision in revisions:
        _print_labels(revision)
    decision_ids = [revision.id for revision in revisions]
    verb = "Approve" if status is CorrectionStatus.APPROVED else "Reject"
    if not yes:
        typer.confirm(f"{verb} {len(decision_ids)} corrections?", abort=True)
    store.decide(decision_ids, status)
    output.out.print(f"{len(decision_ids)} corrections {status}")


def _print_labels(revision: CorrectionRevision) -> None:
    from reviews_parsing.schema import ParsedReview

    correction = revision.correction
    author = correction.author or "somebody"
    heading = f"{revision.id} ({revision.status}), {author}, {correction.corrected_at:%Y-%m-%d %H:%M} UTC"
    output.out.print(heading, style="bold", markup=False)
    output.show(ParsedReview(correction.text, correction.aspects))
    output.out.print()


def _load_taxonomy(model: str | None) -> Taxonomy | None:
    """Return the model's taxonomy, None if no model is named and there is no champion."""
    from reviews_parsing import pretrained

    parser = load_parser(model)
    return None if model is None and parser.version == pretrained.NAME else parser.taxonomy
