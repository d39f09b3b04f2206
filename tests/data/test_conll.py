from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing import data
from reviews_parsing.data import conll
from reviews_parsing.data.loss import compare
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

from .strategies import AWKWARD, lists, names, on_a_line, properties, reviews, texts

tags = st.sampled_from(["O", "B-FOOD", "I-FOOD", "B-A b", "I-A b", "B-", "B", "I", "S-FOOD", "E-FOOD", "U-X", "L-X"])
cells = st.one_of(st.sampled_from(AWKWARD), st.text(max_size=6)).filter(on_a_line)
tokens = cells.filter(lambda token: bool(token) and not token.startswith(("#", "-DOCSTART-")))


def one(text: str) -> Review:
    (found,) = conll.decode(text.encode(), "x")
    return found[1]


def written(review: Review) -> str:
    return conll.encode([review]).decode()


@properties
@given(lists(reviews(groups=names.filter(lambda name: on_a_line(name) and not name.endswith(" ")))))
def test_text_id_and_meta_of_any_review_survive_and_spans_that_fit(given_reviews: list[Review]) -> None:
    found = [review for _, review in conll.decode(conll.encode(given_reviews), "x")]
    assert [(r.id, r.text) for r in found] == [(r.id, r.text) for r in given_reviews]
    lost = compare(given_reviews, found)
    fits = {"polarities", "opinions", "implicit aspects", "overlapping aspects", "span edges"}
    assert set(lost) <= fits | {"aspects that cover no token"}
    for review in found:
        assert all(review.text[a.start : a.end] == a.word for a in review.aspects)


@properties
@given(st.lists(st.lists(st.tuples(tokens, cells, tags), min_size=1, max_size=5), min_size=1, max_size=3))
def test_any_tokens_columns_and_tags_survive_valid_or_not(sentences: list[list[tuple[str, str, str]]]) -> None:
    file = "\n\n".join("\n".join("\t".join(row) for row in sentence) for sentence in sentences)
    first = list(conll.decode(f"\n{file}".encode(), "x"))  # a mark at the very beginning is the file's, not a token's
    again = conll.encode([review for _, review in first])
    assert [review for _, review in conll.decode(again, "x")] == [review for _, review in first]
    rows = [line.split("\t") for line in again.decode("utf-8-sig").split("\n") if "\t" in line]
    assert [tuple(row) for row in rows if len(row) == 3] == [row for sentence in sentences for row in sentence]


@properties
@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=9))
def test_tags_survive_beside_a_text_of_our_own_words(sequence: list[str]) -> None:
    file = "".join(f"w{i} {tag}\n" for i, tag in enumerate(sequence))
    assert written(one(file)) == file.replace(" ", "\t")


def test_adjacent_b_tags_are_two_aspects() -> None:
    review = one("ribs B-FOOD\nslaw B-FOOD\ncold O\n")
    assert [(a.word, a.start, a.end) for a in review.aspects] == [("ribs", 0, 4), ("slaw", 5, 9)]
    assert review.meta == {}


def test_an_i_without_a_b_begins_an_aspect_and_is_written_as_it_was() -> None:
    review = one("crisp O\nslaw I-FOOD\n")
    assert review.aspects == (Aspect("FOOD", "slaw", 6, 10),)
    assert review.meta == {"tags": ["O", "I-FOOD"]}
    assert written(review) == "crisp\tO\nslaw\tI-FOOD\n"


def test_comments_carry_id_text_and_meta() -> None:
    review = one("# id = r7\n# text = Don't!\n# stars = 4\n# note = \"4\"\nDo O\nn't B-X\n! O\n")
    assert (review.id, review.text, review.aspects) == ("r7", "Don't!", (Aspect("X", "n't", 2, 5),))
    assert review.meta["stars"] == 4
    assert review.meta["note"] == "4"
    assert review.meta["tokens"] == ["Do", "n't", "!"]


def test_foreign_comments_are_kept_word_for_word() -> None:
    file = "# newdoc\n# sent_id = s-1\n# text = not these tokens\n#global.columns=FORM TAG\n# a = 1e5\nSoup\tO\n"
    review = one(file)
    assert (review.id, review.text) == ("s-1", "Soup")
    assert written(review) == file


def test_comments_follow_an_edited_review() -> None:
    review = one("# free words\n# sent_id = s-1\n# mood = odd\nSoup\tO\n")
    edited = Review("s-2", "Soup", (), {**review.meta, "mood": "even"})
    again = one(written(edited))
    assert (again.id, again.meta["mood"]) == ("s-2", "even")
    assert "# free words" in written(edited)


def test_a_document_marker_is_no_token() -> None:
    file = "-DOCSTART- -X- O\n\n# head\n\nSoup O\n\nBroth O\n"
    found = [review for _, review in conll.decode(file.encode(), "x")]
    assert [review.text for review in found] == ["Soup", "Broth"]
    assert conll.encode(found).decode() == "-DOCSTART- -X- O\n\n# head\nSoup\tO\n\nBroth\tO\n"


def test_comments_after_the_last_review_are_not_lost() -> None:
    (found,) = conll.decode(b"Soup O\n\n# the end\n", "x")
    assert found[1].meta["comments"] == ["# the end"]


def test_a_hash_is_a_token_where_it_has_a_tag() -> None:
    assert one("# O\nbest B-X\n").text == "# best"
    assert one("#best\tB-X\n").text == "#best"


def test_lines_are_those_of_the_first_line_of_a_review_also_with_crlf() -> None:
    found = list(conll.decode(b"\r\n# id = a\r\nSoup O\r\n\r\n\r\nBroth\tO\r\n", "x"))
    assert [(line, review.id, review.text) for line, review in found] == [(2, "a", "Soup"), (6, "#2", "Broth")]


def test_a_span_inside_a_word_cuts_the_word(tmp_path: Path) -> None:
    review = Review("a", "superfood!", (Aspect("FOOD", "food", 5, 9),))
    assert not data.write([review], tmp_path / "x.conll")
    assert (tmp_path / "x.conll").read_text() == "# id = a\n# text = superfood!\nsuper\tO\nfood\tB-FOOD\n!\tO\n"
    (found,) = data.read(tmp_path / "x.conll")
    assert found.aspects == review.aspects


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("Soup O\nBroth\n", "x:2: one column .'Broth'.*give each token and its tag"),
        ("Soup NN\n", "x:1: the last column, 'NN', is not an IOB2 tag"),
    ],
)
def test_a_bad_line_is_named(file: str, message: str) -> None:
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
def test_what_no_line_can_hold_is_refused_with_the_review(review: Review) -> None:
    with pytest.raises(DataError, match=r"review a: .*write jsonl instead"):
        conll.encode([review])


@properties
@given(texts)
def test_meta_strings_survive_whatever_they_look_like(value: str) -> None:
    review = Review("a", "Soup", (), {"note": value, "number": 3, "none": None, "list": [value]})
    assert one(written(review)) == review
