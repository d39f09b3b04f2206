"""Labelling configuration of a Label Studio project, generated from a taxonomy."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from itertools import cycle

from reviews_parsing.errors import DataError
from reviews_parsing.schema import Taxonomy

# Names of the text object and of the controls in the configuration and in tasks.
TEXT, CATEGORY, POLARITY, OPINION, IMPLICIT, JUDGES = "text", "category", "polarity", "opinion", "implicit", "judges"
RELATION = "judged by"
_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
"""The colour-blind safe palette of Okabe and Ito."""
_OPINION_COLOUR = "#DDDDDD"
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def build_labelling_config(taxonomy: Taxonomy) -> str:
    """Return the XML for a project's labelling interface.

    It has labels for the categories and a polarity choice per span, and, as far as the taxonomy has them, controls for
    implicit aspects, opinions, and relations from aspects to opinions. Raises DataError if there are no categories, or
    XML cannot hold a name.
    """
    if not taxonomy.categories and not taxonomy.implicit:
        raise DataError("no category is known, so there is nothing to label: name a model with --model")
    root = ET.Element("View")
    # By default the editor collapses runs of spaces.
    ET.SubElement(root, "Style").text = ".htx-text, .htx-richtext { white-space: pre-wrap; }"
    if taxonomy.opinions:
        ET.SubElement(ET.SubElement(root, "Relations"), "Relation", value=RELATION)
    _add_labels(root, CATEGORY, taxonomy.categories or taxonomy.implicit, _COLOURS)
    if taxonomy.opinions:
        _add_labels(root, OPINION, [OPINION], [_OPINION_COLOUR])
    ET.SubElement(root, "Text", name=TEXT, value=f"${TEXT}", granularity="word")
    if taxonomy.polarities:
        view = ET.SubElement(root, "View", visibleWhen="region-selected", whenTagName=CATEGORY)
        ET.SubElement(view, "Header", value="How is it judged?", size="5")
        choices = ET.SubElement(
            view, "Choices", name=POLARITY, toName=TEXT, perRegion="true", choice="single", showInline="true"
        )
        for polarity in taxonomy.polarities:
            ET.SubElement(choices, "Choice", value=polarity)
    if taxonomy.implicit and taxonomy.opinions:
        view = ET.SubElement(root, "View", visibleWhen="region-selected", whenTagName=OPINION)
        _add_implicit(view, JUDGES, taxonomy, "What does it judge that no word names?", perRegion="true")
    if taxonomy.implicit:
        _add_implicit(root, IMPLICIT, taxonomy, "What is judged that no word names?")
    ET.indent(root, "\t")
    xml = ET.tostring(root, encoding="unicode")
    if invalid := _NOT_XML.search(xml):
        raise DataError(f"XML cannot hold the character U+{ord(invalid[0]):04X}: rename the category or polarity")
    return xml + "\n"


def _add_labels(root: ET.Element, name: str, values: Iterable[str], colours: Iterable[str]) -> None:
    labels = ET.SubElement(root, "Labels", name=name, toName=TEXT, choice="single", showInline="true")
    for value, background in zip(values, cycle(colours), strict=False):
        ET.SubElement(labels, "Label", value=value, background=background)


def _add_implicit(parent: ET.Element, name: str, taxonomy: Taxonomy, title: str, **attributes: str) -> None:
    """Add a tree of the implicit categories, each with the polarities below it."""
    ET.SubElement(parent, "Header", value=title, size="5")
    tree = ET.SubElement(parent, "Taxonomy", {"name": name, "toName": TEXT, "leafsOnly": "true", **attributes})
    for category in taxonomy.implicit:
        branch = ET.SubElement(tree, "Choice", value=category)
        for polarity in taxonomy.polarities:
            ET.SubElement(branch, "Choice", value=polarity)
