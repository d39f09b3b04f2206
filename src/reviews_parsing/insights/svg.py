"""Figures as inline SVG with the colours and fonts of the page."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from io import StringIO
from threading import Lock
from typing import TYPE_CHECKING

from reviews_parsing.insights import plots

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

CSS_VARIABLES = {
    plots.PRAISE: "var(--praise)",
    plots.BLAME: "var(--blame)",
    plots.NEUTRAL: "var(--neutral)",
    plots.MORE: "var(--more)",
    plots.LESS: "var(--less)",
    plots.INK: "var(--ink)",
    plots.MUTED: "var(--muted)",
    plots.GRID: "var(--grid)",
    plots.PAPER: "none",
}
"""Colours of figures as CSS variables of the page, which differ between light and dark."""
_RC_LOCK = Lock()
"""matplotlib's settings are shared by all threads."""


def inline(figure: Figure, name: str, links: bool = False) -> Markup:
    """Return the figure as an <svg> element without a fixed size; ids begin with `name`, and text stays text.

    With `links`, parts of the figure with a `sentences_url` have it as the attribute `data-filter`.
    """
    import matplotlib as mpl
    from markupsafe import Markup

    file = StringIO()
    with _RC_LOCK, mpl.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        # The fonts of the page have glyphs that the font for measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    ids = {old: f"{name}-{n}" for n, old in enumerate(re.findall(r'<[^>]*\bid="([^"]+)"', svg))}
    svg = re.sub(r"<[^>]+>", lambda tag: _restyle(tag[0], ids), svg)
    # A group, because an image may hold no links; tables have the same links for the keyboard.
    svg = re.sub(r'<a href="#all\?([^"]*)"[^>]*>', r'<g data-filter="\1">' if links else "<g>", svg)
    svg = svg.replace("</a>", "</g>")
    # `--width` is the width in points, by which the page limits the size of letters.
    root = r'<svg \1 style="--width: \2pt" aria-hidden="true" focusable="false">'
    svg = re.sub(r'^<svg [^>]*?(viewBox="0 0 ([\d.]+) [^"]*")[^>]*>', root, svg)
    return Markup(svg)  # noqa: S704  matplotlib escapes what it writes


def _restyle(tag: str, ids: Mapping[str, str]) -> str:
    """Return a tag with CSS variables for colours, the page's font and new ids. Text between tags is not changed."""
    for colour, variable in CSS_VARIABLES.items():
        tag = tag.replace(colour, variable)
    tag = re.sub(r"font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r'(\bid=")([^"]+)(")', lambda m: m[1] + ids[m[2]] + m[3], tag)
    tag = re.sub(r'((?:xlink:href="|url\()#)([^")]+)', lambda m: m[1] + ids.get(m[2], m[2]), tag)
    # HTML parsers need no namespace prefix for links in SVG.
    return tag.replace("xlink:href", "href")
