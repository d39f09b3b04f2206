"""Options that several commands have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reviews_parsing.parser import AspectParser

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Folder, models:/NAME@ALIAS, models:/NAME/N, runs:/ID or pretrained. "
        "Default: the champion, else pretrained.",
    ),
]


def load_parser(model: str | None) -> AspectParser:
    """Load the model of `--model`: by default the champion, or the pretrained one if nothing is champion yet."""
    from reviews_parsing.parser import AspectParser
    from reviews_parsing.settings import Settings

    settings = Settings()
    # A run by its id, as `train` prints it.
    source = f"runs:/{model}" if model and re.fullmatch("[0-9a-f]{32}", model) else model
    return AspectParser.load(source, settings.threads, settings.engine)
