from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing import data
from reviews_parsing.data import LabelWarning, conll
from reviews_parsing.data.conversion_loss import count_losses
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

from .strategies import AWKWARD, is_single_line, lists, names, properties, reviews, texts

tags = st.sampled_from(["O", "B-FOOD", "I-FOOD", "B-A b", "I-A b", "B-", "B", "I", "S-FOOD", "E-FOOD", "U-X", "L-X"])
cells = st.one_of(st.sampled_from(AWKWARD), st.text(max_size=6)).filter(is_single_line)
tokens = cells.filter(lambda token: bool(token) and not token.startswith(("#", "-DOCSTART-")))


def decode_one(text: str) -> Review:
    ((_, review),) = conll.decode(text.encode(), "x")
    return review


def encode_one(review: Review) -> str:
    return conll.encode([review]).decode()


@properties
@given(lists(reviews(groups=names.filter(lambda name: is_single_line(name) and not name.endswith(" ")))))
def test_text_id_and_meta_of_any_review_are_preserved_and_spans_that_fit(given_reviews: list[Review]) -> None:
    decoded = [review for _, review in conll.decode(conll.encode(given_reviews), "x")]
    assert [(r.id, r.text) for r in decoded] == [(r.id, r.text) for r in given_reviews]
    losses = count_losses(given_reviews, decoded)
    expected_losses = {"polarities", "opinions", "implicit aspects", "overlapping aspects", "span edges"}
    assert set(losses) <= expected_losses | {"aspects that cover no token"}
    for review in decoded:
        assert all(review.text[a.start : a.end] == a.word for a in review.aspects)


@properties
@given(st.lists(st.lists(st.tuples(tokens, cells, tags), min_size=1, max_size=5), min_size=1, max_size=3))
def test_tokens_columns_and_tags_are_preserved_even_if_invalid(sentences: list[list[tuple[str, str, str]]]) -> None:
    file = "\n\n".join("\n".join("\t".join(row) for row in sentence) for sentence in sentences)
    first = list(
        conll.decode(f"\n{file}".encode(), "x")
    )  # a leading byte order mark belongs to the file, not to a token
    again = conll.encode([review for _, review in first])
    assert [review for _, review in conll.decode(again, "x")] == [review for _, review in first]
    rows = [line.split("\t") for line in again.decode("utf-8-sig").split("\n") if "\t" in line]
    assert [tuple(row) for row in rows if len(row) == 3] == [row for sentence in sentences for row in sentence]


@properties
@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=9))
def test_tags_are_preserved_with_the_tokens_of_our_word_splitter(sequence: list[str]) -> None:
    file = "".join(f"w{i} {tag}\n" for i, tag in enumerate(sequence))
    assert encode_one(decode_one(file)) == file.replace(" ", "\t")


def test_adjacent_b_tags_are_two_aspects() -> None:
    review = decode_one("ribs B-FOOD\nslaw B-FOOD\ncold O\n")
    assert [(a.word, a.start, a.end) for a in review.aspects] == [("ribs", 0, 4), ("slaw", 5, 9)]
    assert review.meta == {}


def test_an_i_without_a_b_begins_an_aspect_and_is_written_back_unchanged() -> None:
    review = decode_one("crisp O\nslaw I-FOOD\n")
    assert review.aspects == (Aspect("FOOD", "slaw", 6, 10),)
    assert review.meta == {"tags": ["O", "I-FOOD"]}
    assert encode_one(review) == "crisp\tO\nslaw\tI-FOOD\n"


def test_comments_carry_id_text_and_meta() -> None:
    review = decode_one("# id = r7\n# text = Don't!\n# stars = 4\n# note = \"4\"\nDo O\nn't B-X\n! O\n")
    assert (review.id, review.text, review.aspects) == ("r7", "Don't!", (Aspect("X", "n't", 2, 5),))
    assert review.meta["stars"] == 4
    assert review.meta["note"] == "4"
    assert review.meta["tokens"] == ["Do", "n't", "!"]


def test_comments_of_other_tools_are_preserved_verbatim() -> None:
    file = "# newdoc\n# sent_id = s-1\n# text = not these tokens\n#global.columns=FORM TAG\n# a = 1e5\nSoup\tO\n"
    with pytest.warns(LabelWarning, match=r"not read: 1 texts that do not hold their tokens \(the first: line 1\)"):
        review = decode_one(file)
    assert (review.id, review.text) == ("s-1", "Soup")
    assert encode_one(review) == file


def test_comments_of_an_edited_review_are_updated() -> None:
    review = decode_one("# free words\n# sent_id = s-1\n# mood = odd\nSoup\tO\n")
    edited = Review("s-2", "Soup", (), {**review.meta, "mood": "even"})
    again = decode_one(encode_one(edited))
    assert (again.id, again.meta["mood"]) == ("s-2", "even")
    assert "# free words" in encode_one(edited)


def test_a_document_marker_is_not_a_token() -> None:
    file = "-DOCSTART- -X- O\n\n# head\n\nSoup O\n\nBroth O\n"
    decoded = [review for _, review in conll.decode(file.encode(), "x")]
    assert [review.text for review in decoded] == ["Soup", "Broth"]
    assert conll.encode(decoded).decode() == "-DOCSTART- -X- O\n\n# head\nSoup\tO\n\nBroth\tO\n"


def test_comments_after_the_last_review_are_preserved() -> None:
    assert decode_one("Soup O\n\n# the end\n").meta["comments"] == ["# the end"]


def test_a_hash_with_a_tag_is_a_token() -> None:
    assert decode_one("# O\nbest B-X\n").text == "# best"
    assert decode_one("#best\tB-X\n").text == "#best"


def test_line_numbers_are_those_of_the_first_line_of_a_review_also_with_crlf() -> None:
    numbered = list(conll.decode(b"\r\n# id = a\r\nSoup O\r\n\r\n\r\nBroth\tO\r\n", "x"))
    assert [(line, review.id, review.text) for line, review in numbered] == [(2, "a", "Soup"), (6, "#2", "Broth")]


def test_a_span_inside_a_word_splits_the_word(tmp_path: Path) -> None:
    review = Review("a", "superfood!", (Aspect("FOOD", "food", 5, 9),))
    assert not data.write([review], tmp_path / "x.conll")
    assert (tmp_path / "x.conll").read_text() == "# id = a\n# text = superfood!\nsuper\tO\nfood\tB-FOOD\n!\tO\n"
    (decoded,) = data.read(tmp_path / "x.conll")
    assert decoded.aspects == review.aspects


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("Soup O\nBroth\n", "x:2: one column .'Broth'.*give each token and its tag"),
        ("Soup NN\n", "x:1: the last column, 'NN', is not an IOB2 tag"),
    ],
)
def test_invalid_lines_are_errors(file: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(conll.decode(file.encode(), "x"))


@pytest.mark.parametrize(
    "review",
    [
        Review("a", "x y", (Aspect("TWO\nLINES", "x", 0, 1),)),
        Review("a", "a\tb", (), {"tokens": ["a\tb"]}),
        Review("a", "-DOCSTART- b", (), {"tokens": ["-DOCSTART-", "b"]}),
    ],
)
def test_encode_rejects_tokens_that_a_line_cannot_hold(review: Review) -> None:
    with pytest.raises(DataError, match=r"review a: .*write jsonl instead"):
        conll.encode([review])


@properties
@given(texts)
def test_meta_values_are_preserved_with_their_types(value: str) -> None:
    review = Review("a", "Soup", (), {"note": value, "number": 3, "none": None, "list": [value]})
    assert decode_one(encode_one(review)) == review
