"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reviews_parsing.parser import AspectParser

AsJson = Annotated[bool, typer.Option("--json", help="Print only one JSON document on stdout.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Folder, models:/NAME@ALIAS, models:/NAME/N, runs:/ID, pretrained or pretrained-fast. "
        "Default: the champion, else pretrained.",
    ),
]
Map = Annotated[
    Path | None, typer.Option("--map", help='JSON file that renames or drops categories: {"OLD": "NEW", "X": null}.')
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="jsonl, conll, hf, semeval14, semeval16, acos, label-studio, json-labels or sentence-lines. "
        "Default: by the file.",
    ),
]
TextField = Annotated[
    str | None,
    typer.Option("--text-field", "--text-column", help="Field of the text in JSON of other tools. Default: inferred."),
]
LabelsField = Annotated[str | None, typer.Option(help="Field of the labels in JSON of other tools. Default: inferred.")]
Split = Annotated[str, typer.Option(help="Split to evaluate on, if the data has splits.")]
Domain = Annotated[
    str | None,
    typer.Option(help="Domain such as gym: a registered model of its own, with its own versions and champion."),
]


def load_parser(model: str | None) -> AspectParser:
    """Load the model of `--model`: by default the champion, or the pretrained one if nothing is champion yet."""
    from reviews_parsing.parser import AspectParser
    from reviews_parsing.settings import Settings

    settings = Settings()
    # A run by its id, as `train` prints it.
    source = f"runs:/{model}" if model and re.fullmatch("[0-9a-f]{32}", model) else model
    return AspectParser.load(source, settings.threads, settings.engine)


def registered_model(domain: str | None) -> str:
    """Return the name of the registered model of a domain. Raises ModelError if the name is invalid."""
    from reviews_parsing.settings import Settings

    return Settings().name_for(domain)


def read_texts(files: Sequence[str], column: str | None = None) -> list[str]:
    """Return the texts in files of reviews without labels."""
    from contextlib import closing

    from reviews_parsing import batch

    if not files:
        return []
    with closing(batch.read_texts(list(files), column)) as rows:
        return [text for text, _ in rows]
