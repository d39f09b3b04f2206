"""SemEval XML reader."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing import data
from reviews_parsing.data import semeval
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

from .strategies import is_xml_text, properties, texts

xml_texts = texts.filter(is_xml_text)
DECODERS = {"semeval14": semeval.decode_2014, "semeval16": semeval.decode_2016}

# Right and wrong offsets, NULL, unknown attributes and elements, missing attributes.
values = st.one_of(st.sampled_from(["NULL", "positive", "conflict", "0", "4", "FOOD#QUALITY", "#1"]), xml_texts)
offsets = st.one_of(st.none(), st.tuples(st.integers(-2, 9), st.integers(-2, 9)))


def attributes(*names: str) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from([*names, "note"]), values)


@st.composite
def leaves(draw: st.DrawFn, tag: str, *names: str) -> Element:
    leaf = Element(tag, draw(attributes(*names)))
    span = draw(offsets)
    if span is not None and tag != "aspectCategory":
        leaf.set("from", str(span[0]))
        leaf.set("to", str(span[1]))
    return leaf


@st.composite
def sentences(draw: st.DrawFn, form: str) -> Element:
    sentence = Element("sentence", draw(attributes("id", "OutOfScope")))
    SubElement(sentence, "text").text = draw(xml_texts) or None
    containers: list[tuple[str, str, tuple[str, ...]]] = [("Opinions", "Opinion", ("target", "category", "polarity"))]
    if form == "semeval14":
        containers = [
            ("aspectTerms", "aspectTerm", ("term", "polarity")),
            ("aspectCategories", "aspectCategory", ("polarity",)),
        ]
    for container, leaf, names in draw(st.permutations([*containers, ("extra", "more", ("x",))])):
        if draw(st.booleans()):
            SubElement(sentence, container).extend(draw(st.lists(leaves(leaf, *names), max_size=3)))
    return sentence


@st.composite
def documents(draw: st.DrawFn, form: str) -> Element:
    if form == "semeval14":
        root = Element("sentences", draw(attributes("lang")))
        root.extend(draw(st.lists(sentences(form), min_size=1, max_size=3)))
        return root
    root = Element("Reviews", draw(attributes("slot1")))
    for number in range(draw(st.integers(1, 3))):
        group = SubElement(root, "Review", {"rid": f"r{number}"} | draw(attributes("n")))
        SubElement(group, "sentences").extend(draw(st.lists(sentences(form), min_size=1, max_size=3)))
    return root


@pytest.mark.parametrize("form", DECODERS)
@properties
@given(st.data())
def test_every_sentence_of_any_document_becomes_a_review_with_all_its_labels(form: str, draw: st.DataObject) -> None:
    document = draw.draw(documents(form))
    # "\r" in XML text is a line feed, unless it is escaped.
    xml = tostring(document, encoding="unicode").replace("\r", "&#13;").encode()
    decoded = [review for _, review in DECODERS[form](xml, "x")]
    elements = list(document.iter("sentence"))
    assert [review.text for review in decoded] == [sentence.findtext("text") for sentence in elements]
    for review, sentence in zip(decoded, elements, strict=True):
        labels = [leaf for leaf in sentence.iter() if leaf.tag in ("Opinion", "aspectTerm", "aspectCategory")]
        polarities = [str(aspect.polarity) for aspect in review.aspects]
        assert sorted(polarities) == sorted(str(label.get("polarity")) for label in labels)
        spans = {(int(label.attrib["from"]), int(label.attrib["to"])) for label in labels if label.get("from")}
        assert {aspect.span for aspect in review.aspects if aspect.span} <= spans


SIXTEEN = """<?xml version="1.0" encoding="UTF-8"?>
<Reviews>
  <Review rid="r1">
    <sentences>
      <sentence id="r1:0">
        <text>The pho glowed.</text>
        <Opinions>
          <Opinion target="pho" category="FOOD#QUALITY" polarity="positive" from="4" to="7"/>
          <Opinion target="pho" category="FOOD#STYLE_OPTIONS" polarity="conflict" from="4" to="7"/>
          <Opinion target="NULL" category="SERVICE#GENERAL" polarity="negative" from="0" to="0"/>
          <Opinion target="broth" category="FOOD#QUALITY" polarity="neutral" from="8" to="13"/>
        </Opinions>
      </sentence>
      <sentence id="r1:1" OutOfScope="TRUE"><text>Parking is free on Sundays.</text></sentence>
    </sentences>
  </Review>
</Reviews>"""


def test_2016_opinions_are_aspects_and_sentences_have_the_id_of_their_review(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(SIXTEEN)
    first, second = data.read(tmp_path / "x.xml")
    assert first == Review(
        "r1:0",
        "The pho glowed.",
        (
            Aspect("FOOD#QUALITY", "pho", 4, 7, "positive"),
            Aspect("FOOD#STYLE_OPTIONS", "pho", 4, 7, "conflict"),
            Aspect("SERVICE#GENERAL", polarity="negative"),
            Aspect("FOOD#QUALITY", "broth", 8, 13, "neutral"),  # misaligned offsets are preserved
        ),
        {"review": "r1"},
    )
    assert second.meta == {"review": "r1", "attributes": {"sentence": {"OutOfScope": "TRUE"}}}


def test_2014_terms_have_no_category_and_categories_no_term() -> None:
    document = """<sentences><sentence><text>Pho glowed, staff too.</text>
        <aspectTerms><aspectTerm term="Pho" polarity="conflict" from="0" to="3"/></aspectTerms>
        <aspectCategories><aspectCategory category="food" polarity="positive"/></aspectCategories>
        </sentence></sentences>"""
    ((line, review),) = semeval.decode_2014(document.encode(), "x")
    assert (line, review.id, review.meta) == (1, "#1", {})
    assert review.aspects == (Aspect("ASPECT", "Pho", 0, 3, "conflict"), Aspect("food", polarity="positive"))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('<!DOCTYPE s [<!ENTITY a "b">]>\n<sentences/>', "x:1: declares a document type or entities"),
        ('<!DOCTYPE s SYSTEM "file:///etc/hostname">\n<sentences/>', "x:1: declares a document type or entities"),
        ("<sentences>\n<sentence>", r"x:2: not XML \(no element found at column 11\)"),
        ("<sentences>\n<sentence/></sentences>", "x:2: a <sentence> with 0 <text> elements"),
        ("<sentences>\n\n<text/></sentences>", "x:3: <text> where a <sentence> belongs"),
        ("<other/>", "x: the root is <other>, not <sentences>"),
        (
            '<sentences>\n<sentence><text/><aspectTerms><aspectTerm from="4"/></aspectTerms></sentence></sentences>',
            "x:2: <aspectTerm> has from='4' and to=None: give two whole numbers",
        ),
        ("<a>" * 100, "x:1: nested deeper than 64"),
    ],
)
def test_invalid_documents_are_one_line_errors(document: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        list(semeval.decode_2014(document.encode(), "x"))
    assert "\n" not in str(error.value)


def test_labels_of_whole_reviews_are_an_error() -> None:
    document = "<Reviews>\n<Review rid='a'><sentences/><Opinions/></Review></Reviews>"
    with pytest.raises(DataError, match=r"x:2: <Review> holds \(sentences, Opinions\), not just <sentences>"):
        list(semeval.decode_2016(document.encode(), "x"))


def test_declared_encodings_are_decoded() -> None:
    root = Element("sentences")
    SubElement(SubElement(root, "sentence"), "text").text = "Crème brûlée"
    for encoding in ("iso-8859-1", "utf-16"):
        ((_, review),) = semeval.decode_2014(tostring(root, encoding), "x")
        assert review.text == "Crème brûlée"
    with pytest.raises(DataError, match=r"x:1: byte 0xe8 at offset 31 is not UTF-8"):
        list(semeval.decode_2014("<sentences><sentence><text>  Cr\u00e8me".encode("latin-1"), "x"))
    with pytest.raises(DataError, match="its encoding cannot be read"):
        list(semeval.decode_2014(b'<?xml version="1.0" encoding="nonsense"?><sentences/>', "x"))


@pytest.mark.parametrize(
    ("root", "labels"),
    [
        (
            "<sentences>{}</sentences>",
            '<Opinions><Opinion target="pho" category="FOOD" polarity="positive"/></Opinions>',
        ),
        ("<sentences>{}</sentences>", '<aspectTerms><term term="pho" polarity="positive"/></aspectTerms>'),
        ("<sentences>{}</sentences>", '<aspectTerms><aspectTerm term="pho" Polarity="positive"/></aspectTerms>'),
        ("<sentences>{}</sentences>", '<aspectTerms><aspectTerm term="pho" sentiment="positive"/></aspectTerms>'),
        (
            "<Reviews><Review><sentences>{}</sentences></Review></Reviews>",
            '<opinions><opinion target="pho" category="FOOD" polarity="positive"/></opinions>',
        ),
    ],
)
def test_labels_in_elements_or_attributes_that_are_not_read_are_an_error(
    tmp_path: Path, root: str, labels: str
) -> None:
    sentence = f'<sentence id="1"><text>The pho glowed.</text>{labels}</sentence>'
    (tmp_path / "x.xml").write_text(root.format(sentence))
    with pytest.raises(DataError, match=r"x.xml:1: <\w+ \w+> in <\w+> is not read: write <"):
        data.read(tmp_path / "x.xml")


def test_a_2014_term_may_have_a_category() -> None:
    term = '<aspectTerm term="pho" category="FOOD" polarity="positive" from="4" to="7"/>'
    xml = f"<sentences><sentence><text>The pho glowed.</text><aspectTerms>{term}</aspectTerms></sentence></sentences>"
    ((_, review),) = semeval.decode_2014(xml.encode(), "x")
    assert review.aspects == (Aspect("FOOD", "pho", 4, 7, "positive"),)
