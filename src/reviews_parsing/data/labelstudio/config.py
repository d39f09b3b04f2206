"""The labelling configuration: what a person can say of a text, made from a taxonomy."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from itertools import cycle

from reviews_parsing.data.xmltree import render
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Taxonomy

# The object and the controls, by the names that tasks refer to them with.
TEXT, CATEGORY, POLARITY, OPINION, IMPLICIT, JUDGES = "text", "category", "polarity", "opinion", "implicit", "judges"
JUDGED_BY = "judged by"
# Okabe and Ito's colours, which the colour-blind tell apart.
_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")


def labelling_config(taxonomy: Taxonomy) -> str:
    """XML to paste into a project's settings: Labels for categories, a choice of polarity for each span, and where the
    taxonomy has them aspects without a span, the words that judge, and relations from aspects to those.

    Raises DataError where no category is known, or one has a name that XML cannot hold.
    """
    if not taxonomy.categories and not taxonomy.implicit:
        raise DataError("no category is known, so there is nothing to label: name a model with --model")
    root = ET.Element("View")
    # Without it the page draws several spaces as one.
    ET.SubElement(root, "Style").text = ".htx-text, .htx-richtext { white-space: pre-wrap; }"
    if taxonomy.opinions:
        ET.SubElement(ET.SubElement(root, "Relations"), "Relation", value=JUDGED_BY)
    _labels(root, CATEGORY, taxonomy.categories or taxonomy.implicit)
    if taxonomy.opinions:
        _labels(root, OPINION, [OPINION], "#DDDDDD")
    ET.SubElement(root, "Text", name=TEXT, value=f"${TEXT}", granularity="word")
    if taxonomy.polarities:
        shown = ET.SubElement(root, "View", visibleWhen="region-selected", whenTagName=CATEGORY)
        ET.SubElement(shown, "Header", value="How is it judged?", size="5")
        choices = ET.SubElement(
            shown, "Choices", name=POLARITY, toName=TEXT, perRegion="true", choice="single", showInline="true"
        )
        for polarity in taxonomy.polarities:
            ET.SubElement(choices, "Choice", value=polarity)
    if taxonomy.implicit and taxonomy.opinions:
        shown = ET.SubElement(root, "View", visibleWhen="region-selected", whenTagName=OPINION)
        ET.SubElement(shown, "Header", value="What does it judge that no word names?", size="5")
        _paths(shown, JUDGES, taxonomy, perRegion="true")
    if taxonomy.implicit:
        ET.SubElement(root, "Header", value="What is judged that no word names?", size="5")
        _paths(root, IMPLICIT, taxonomy)
    return render(root) + "\n"


def _labels(root: ET.Element, name: str, values: Iterable[str], colour: str | None = None) -> None:
    labels = ET.SubElement(root, "Labels", name=name, toName=TEXT, choice="single", showInline="true")
    for value, background in zip(values, cycle([colour] if colour else _COLOURS), strict=False):
        ET.SubElement(labels, "Label", value=value, background=background)


def _paths(parent: ET.Element, name: str, taxonomy: Taxonomy, **attributes: str) -> None:
    """Each category that needs no word, and in it each polarity."""
    tree = ET.SubElement(parent, "Taxonomy", {"name": name, "toName": TEXT, "leafsOnly": "true", **attributes})
    for category in taxonomy.implicit:
        branch = ET.SubElement(tree, "Choice", value=category)
        for polarity in taxonomy.polarities:
            ET.SubElement(branch, "Choice", value=polarity)
