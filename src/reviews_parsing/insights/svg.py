"""Figures as SVG that stands in a page: in its colours, with its fonts, without names that another figure has too."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from io import StringIO
from threading import Lock
from typing import TYPE_CHECKING

from reviews_parsing.insights import drawing

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

COLOURS = {
    drawing.PRAISE: "var(--praise)",
    drawing.BLAME: "var(--blame)",
    drawing.NEUTRAL: "var(--neutral)",
    drawing.MORE: "var(--more)",
    drawing.LESS: "var(--less)",
    drawing.INK: "var(--ink)",
    drawing.MUTED: "var(--muted)",
    drawing.GRID: "var(--grid)",
    drawing.PAPER: "none",
}
"""What a colour of a figure is called in the page, so that it changes with light and dark."""
_SETTINGS = Lock()
"""matplotlib's settings are one for all threads."""


def inline(figure: Figure, name: str) -> Markup:
    """The figure as an element <svg> without a size of its own; text stays text."""
    import matplotlib as mpl
    from markupsafe import Markup

    file = StringIO()
    with _SETTINGS, mpl.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        # The page's fonts have what the font that measures has not.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    names = {found: f"{name}-{n}" for n, found in enumerate(re.findall(r'<[^>]*\bid="([^"]+)"', svg))}
    svg = re.sub(r"<[^>]+>", lambda tag: _dressed(tag[0], names), svg)
    svg = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true" focusable="false">', svg)
    return Markup(svg)  # noqa: S704  matplotlib escapes what it writes


def _dressed(tag: str, names: Mapping[str, str]) -> str:
    """A tag in the page's colours and font, with other names; what stands between tags are words of reviews."""
    for colour, variable in COLOURS.items():
        tag = tag.replace(colour, variable)
    tag = re.sub(r"font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r'(\bid=")([^"]+)(")', lambda m: m[1] + names[m[2]] + m[3], tag)
    tag = re.sub(r'((?:xlink:href="|url\()#)([^")]+)', lambda m: m[1] + names.get(m[2], m[2]), tag)
    # The HTML parser knows the namespace of SVG and has no need of a prefix for links.
    return tag.replace("xlink:href", "href")
