from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing import data
from reviews_parsing.data import semeval14, semeval16, xmltree
from reviews_parsing.data.loss import compare
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

from .strategies import in_xml, lists, names, properties, reviews, texts

xml_texts = texts.filter(in_xml)
xml_reviews = lists(reviews(xml_texts, names.filter(in_xml)))
FORMS = {"semeval14": semeval14, "semeval16": semeval16}

# What documents hold: right and wrong offsets, NULL, attributes and elements of nobody's form, nothing at all.
values = st.one_of(st.sampled_from(["NULL", "positive", "conflict", "0", "4", "FOOD#QUALITY", "#1"]), xml_texts)
numbers = st.one_of(st.none(), st.tuples(st.integers(-2, 9), st.integers(-2, 9)))


def attributes(*known: str) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from([*known, "note"]), values)


@st.composite
def leaves(draw: st.DrawFn, tag: str, *known: str) -> Element:
    leaf = Element(tag, draw(attributes(*known)))
    span = draw(numbers)
    if span is not None and tag != "aspectCategory":
        leaf.set("from", str(span[0]))
        leaf.set("to", str(span[1]))
    return leaf


@st.composite
def sentences(draw: st.DrawFn, form: str) -> Element:
    sentence = Element("sentence", draw(attributes("id", "OutOfScope")))
    SubElement(sentence, "text").text = draw(xml_texts) or None
    kinds = [("Opinions", "Opinion", ("target", "category", "polarity"))]
    if form == "semeval14":
        kinds = [
            ("aspectTerms", "aspectTerm", ("term", "polarity")),
            ("aspectCategories", "aspectCategory", ("polarity",)),
        ]
    for container, leaf, known in draw(st.permutations([*kinds, ("extra", "more", ("x",))])):
        if draw(st.booleans()):
            SubElement(sentence, container).extend(draw(st.lists(leaves(leaf, *known), max_size=3)))
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


@pytest.mark.parametrize("form", FORMS)
@properties
@given(st.data())
def test_any_document_is_written_back_as_it_was(form: str, draw: st.DataObject) -> None:
    document = draw.draw(documents(form))
    found = [review for _, review in FORMS[form].decode(xmltree.render(document).encode(), "x")]
    written = FORMS[form].encode(found)
    assert xmltree.same(xmltree.parse(written, "x").root, document)
    assert [review for _, review in FORMS[form].decode(written, "x")] == found


@properties
@given(xml_reviews)
def test_2016_holds_any_review_but_its_opinions_and_foreign_meta(given_reviews: list[Review]) -> None:
    found = [review for _, review in semeval16.decode(semeval16.encode(given_reviews), "x")]
    lost = compare(given_reviews, found)
    assert set(lost) <= {"opinions", "meta source", "meta stars"} | ({"meta review"} & set(lost))
    assert lost["meta review"] <= sum(review.meta.get("review") == review.id for review in given_reviews)


@properties
@given(xml_reviews)
def test_2014_holds_any_text_and_span_and_counts_the_rest(given_reviews: list[Review]) -> None:
    found = [review for _, review in semeval14.decode(semeval14.encode(given_reviews), "x")]
    lost = compare(given_reviews, found)
    assert set(lost) <= {"opinions", "categories", "meta source", "meta stars", "meta review"}
    assert [len(review.aspects) for review in found] == [len(review.aspects) for review in given_reviews]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("character", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_refused_not_changed(form: str, character: str, tmp_path: Path) -> None:
    review = Review("a", f"tea{character}time")
    with pytest.raises(DataError, match=rf"review a: XML cannot hold the character U\+{ord(character):04X}: .*jsonl"):
        data.write([review], tmp_path / "x.xml", form)
    assert not list(tmp_path.iterdir())


def test_written_files_read_the_same_with_the_standard_library() -> None:
    text = 'R&B <live>\r\n"ta\tcos" ]]> 🌮'
    root = fromstring(semeval16.encode([Review("a", text, (Aspect('"\n', "R&B", 0, 3),))]))
    assert root.findtext(".//text") == text
    assert root.find(".//Opinion").attrib == {"target": "R&B", "category": '"\n', "from": "0", "to": "3"}


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


def test_2016_opinions_are_aspects_and_sentences_know_their_review(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(SIXTEEN)
    first, second = data.read(tmp_path / "x.xml")
    assert first == Review(
        "r1:0",
        "The pho glowed.",
        (
            Aspect("FOOD#QUALITY", "pho", 4, 7, "positive"),
            Aspect("FOOD#STYLE_OPTIONS", "pho", 4, 7, "conflict"),
            Aspect("SERVICE#GENERAL", polarity="negative"),
            Aspect("FOOD#QUALITY", "broth", 8, 13, "neutral"),  # misaligned, and kept so
        ),
        {"review": "r1"},
    )
    assert second.meta == {"review": "r1", "attributes": {"sentence": {"OutOfScope": "TRUE"}}}


def test_2014_terms_have_no_category_and_categories_no_term() -> None:
    document = """<sentences><sentence><text>Pho glowed, staff too.</text>
        <aspectTerms><aspectTerm term="Pho" polarity="conflict" from="0" to="3"/></aspectTerms>
        <aspectCategories><aspectCategory category="food" polarity="positive"/></aspectCategories>
        </sentence></sentences>"""
    ((line, review),) = semeval14.decode(document.encode(), "x")
    assert (line, review.id, review.meta) == (1, "#1", {})
    assert review.aspects == (Aspect("ASPECT", "Pho", 0, 3, "conflict"), Aspect("food", polarity="positive"))


def test_what_the_form_has_no_name_for_stays_when_labels_change() -> None:
    document = b'<sentences><sentence id="a" by="me"><text>Pho</text><mood>good</mood></sentence></sentences>'
    ((_, review),) = semeval14.decode(document, "x")
    edited = Review("b", "Pho", (Aspect("ASPECT", "Pho", 0, 3),), review.meta)
    sentence = fromstring(semeval14.encode([edited]))[0]
    assert sentence.attrib == {"id": "b", "by": "me"}
    assert [child.tag for child in sentence] == ["text", "aspectTerms", "mood"]


def test_reviews_may_be_cut_out_and_reordered_without_losing_their_ids() -> None:
    document = b"<sentences><sentence><text>One</text></sentence><sentence><text>Two</text></sentence></sentences>"
    found = [review for _, review in semeval14.decode(document, "x")]
    again = [review.id for _, review in semeval14.decode(semeval14.encode(found[::-1]), "x")]
    assert again == ["#2", "#1"]


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
def test_a_bad_document_is_refused_with_its_line(document: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        list(semeval14.decode(document.encode(), "x"))
    assert "\n" not in str(error.value)


def test_labels_of_whole_reviews_are_refused_not_dropped() -> None:
    document = "<Reviews>\n<Review rid='a'><sentences/><Opinions/></Review></Reviews>"
    with pytest.raises(DataError, match=r"x:2: <Review> holds \(sentences, Opinions\), not just <sentences>"):
        list(semeval16.decode(document.encode(), "x"))


def test_other_encodings_are_read_where_the_file_declares_them() -> None:
    root = Element("sentences")
    SubElement(SubElement(root, "sentence"), "text").text = "Crème brûlée"
    for encoding in ("iso-8859-1", "utf-16"):
        ((_, review),) = semeval14.decode(tostring(root, encoding), "x")
        assert review.text == "Crème brûlée"
    with pytest.raises(DataError, match=r"x:1: byte 0xe8 at offset 31 is not UTF-8"):
        list(semeval14.decode("<sentences><sentence><text>  Cr\u00e8me".encode("latin-1"), "x"))
    with pytest.raises(DataError, match="its encoding cannot be read"):
        list(semeval14.decode(b'<?xml version="1.0" encoding="nonsense"?><sentences/>', "x"))
