"""The command `reviews-parsing`: one thin Typer app over the rooms."""

from reviews_parsing.cli.app import main

__all__ = ["main"]
