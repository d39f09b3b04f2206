"""Draw docs/images/parsed.svg: a review as `reviews-parsing parse` shows it, parsed by the champion."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from reviews_parsing import AspectParser
from reviews_parsing.cli import output
from reviews_parsing.settings import Settings

TEXT = (
    "Booked for the view, stayed for the squid ink risotto, which was superb. Our waiter was charming, but the music "
    "was far too loud and the cocktails were overpriced."
)
TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "parsed.svg"


def main() -> None:
    """Parse the text and write the picture."""
    output.out = Console(record=True, width=92, highlight=False, file=StringIO())
    (parsed,) = AspectParser.load(Settings().champion_uri).parse([TEXT])
    output.show(parsed)
    output.out.save_svg(str(TARGET), title="reviews-parsing parse")


if __name__ == "__main__":
    main()
