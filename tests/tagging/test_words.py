"""Words cover any text, tokens cover its words, and offsets are those of the original."""

from __future__ import annotations

import importlib
import re
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from reviews_parsing.tagging import WordTokenizer, addresses, boundaries, covering, words
from reviews_parsing.tagging.surface import _address
from reviews_parsing.tagging.words import MAX_TOKENS_PER_WORD

INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
any_text = st.text(st.characters(codec="utf-8"), max_size=200)


@given(any_text)
def test_words_and_white_space_make_up_the_whole_text(text: str) -> None:
    position, pieces = 0, []
    for start, end in words(text):
        assert INVISIBLE.sub("", text[position:start]).strip() == ""
        assert start < end
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        pieces += [text[position:start], text[start:end]]
        position = end
    assert "".join([*pieces, text[position:]]) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It wasn't bad.", ["It", "wasn", "'", "t", "bad", "."]),
        ("food😍😍", ["food", "😍", "😍"]),
        ("28€ each", ["28", "€", "each"]),
        ("👨‍👩‍👧x ❤️!", ["👨‍👩‍👧", "x", "❤️", "!"]),
        ("cafe\u0301s", ["cafe\u0301s"]),
        ("a\r\nb", ["a", "b"]),
        ("好吃!", ["好", "吃", "!"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("fish-and-chips", ["fish", "-", "and", "-", "chips"]),
    ],
)
def test_words_of_examples(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in words(text)] == expected


@given(st.text(st.characters(max_codepoint=127), max_size=200))
def test_words_of_ascii_are_those_beside_other_characters(text: str) -> None:
    assert words(text) == words(f"{text} \u00e9")[:-1]


@given(any_text, st.data())
def test_covering_finds_exactly_the_words_that_a_span_touches(text: str, data: st.DataObject) -> None:
    bounds = words(text)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    touched = [i for i, (s, e) in enumerate(bounds) if s < end and start < e]
    assert covering(bounds, start, end) == ((touched[0], touched[-1] + 1) if touched else None)


@given(st.lists(any_text, max_size=5))
def test_tokens_belong_to_words_in_order(tokenizer: Tokenizer, texts: list[str]) -> None:
    for text, tokenized in zip(texts, WordTokenizer(tokenizer).tokenize(texts), strict=True):
        assert len(tokenized.first) == len(tokenized.bounds) + 1
        assert tokenized.first == sorted(set(tokenized.first))
        assert tokenized.first[-1] == len(tokenized.ids)
        assert set(tokenized.bounds) <= set(words(text))


@given(st.lists(st.from_regex(r"(([a-z])(?!\2\2)){1,12}", fullmatch=True), min_size=1, max_size=20))
def test_text_to_tokens_to_text_round_trips(tokenizer: Tokenizer, parts: list[str]) -> None:
    text = " ".join(parts)
    (tokenized,) = WordTokenizer(tokenizer).tokenize([text])
    assert tokenizer.decode(tokenized.ids) == text
    assert [text[start:end] for start, end in tokenized.bounds] == parts


def test_an_adjacent_emoji_does_not_change_the_tokens_of_a_word(tokenizer: Tokenizer) -> None:
    plain, with_emoji = WordTokenizer(tokenizer).tokenize(["the food", "the food😍"])
    assert with_emoji.ids[: len(plain.ids)] == plain.ids


@pytest.mark.parametrize(
    ("elongated", "dictionary_form"),
    [
        ("the GOOOOD foood", "the good food"),
        ("sooo, deliciousss! coffeee", "so, delicious! coffee"),
        ("Loooove it, Yesss", "love it, yes"),
        # Unchanged: words of the vocabulary, unknown words, and double letters.
        ("www. iii", "www. iii"),
        ("the mousse and a latte", "the mousse and a latte"),
    ],
)
def test_elongated_words_get_the_tokens_of_their_dictionary_form(
    tokenizer: Tokenizer, elongated: str, dictionary_form: str
) -> None:
    result, expected = WordTokenizer(tokenizer).tokenize([elongated, dictionary_form])
    assert (result.ids, result.first) == (expected.ids, expected.first)
    assert result.bounds == words(elongated)


class Recorder:
    """A tokenizer that records the words that it encodes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.words: list[str] = []

    def encode(self, *args: Any, **options: Any) -> Any:
        return self._tokenizer.encode(*args, **options)

    def encode_batch(self, pieces: list[list[str]], **options: Any) -> Any:
        self.words += [word for piece in pieces for word in piece]
        return self._tokenizer.encode_batch(pieces, **options)


def test_each_word_is_tokenized_once(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tokenizer)
    known = WordTokenizer(recorder)  # type: ignore[arg-type]
    expected = known.tokenize(["good food " * 50 + "sooo good"])
    # The forms of an elongated word are looked up first.
    assert sorted(recorder.words) == [" food", " good", " so", " so", " soo", " sooo", "good"]
    assert known.tokenize(["good food " * 50 + "sooo good"]) == expected
    assert len(recorder.words) == 7
    # It starts again when it knows too many.
    monkeypatch.setattr(importlib.import_module("reviews_parsing.tagging.words"), "MAX_KNOWN_WORDS", 3)
    assert known.tokenize(["good food " * 50 + "sooo good"]) == expected
    assert len(recorder.words) == 14


def trained(model: Any, trainer: Any, pre_tokenizer: Any) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(["the good food and the bad, bad coffee; goodness!"] * 3, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def kinds(tokenizer: Tokenizer) -> list[Tokenizer]:
    """Return a tokenizer of each kind of vocabulary."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return [
        tokenizer,
        trained(models.BPE(), trainers.BpeTrainer(initial_alphabet=alphabet, vocab_size=300), byte_level),
        trained(
            models.Unigram(),
            trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"]),
            pre_tokenizers.Metaspace(),
        ),
    ]


@given(text=st.lists(st.sampled_from(["good", "food", " ", ",", "bad!", "goo", "\n", "café", "😍"])).map("".join))
def test_the_tokens_of_a_word_do_not_depend_on_other_words(kinds: list[Tokenizer], text: str) -> None:
    for tokenizer in kinds:
        (tokenized,) = WordTokenizer(tokenizer).tokenize([text])
        forms = [text[start - 1 if start and text[start - 1].isspace() else start : end] for start, end in words(text)]
        together = tokenizer.encode(forms, is_pretokenized=True, add_special_tokens=False)
        assert tokenized.ids == together.ids


def test_elongated_unknown_words_are_unchanged(tokenizer: Tokenizer) -> None:
    (tokenized,) = WordTokenizer(tokenizer).tokenize(["the burrrgl"])
    assert tokenizer.decode(tokenized.ids) == "the burrrgl"


def test_the_tokens_of_a_very_long_word_are_limited(tokenizer: Tokenizer) -> None:
    (tokenized,) = WordTokenizer(tokenizer).tokenize(["ab" * 40 + " good"])
    assert tokenized.first[1] <= MAX_TOKENS_PER_WORD
    assert tokenized.bounds[-1] == (81, 85)


def test_special_tokens_are_those_of_the_encoder(tokenizer: Tokenizer) -> None:
    prefix, suffix = WordTokenizer(tokenizer).special_tokens
    assert [tokenizer.id_to_token(i) for i in (*prefix, *suffix)] == ["[CLS]", "[SEP]"]


@pytest.mark.parametrize(
    ("text", "expected", "rendered"),
    [
        ("soup &amp; salad", ["soup", "&amp;", "salad"], ["soup", "&", "salad"]),
        ("caf&eacute; &#233;clair &#xE9;t", ["caf&eacute;", "&#233;clair", "&#xE9;t"], ["café", "éclair", "ét"]),
        ("nice<br />view <b>bold</b>", ["nice", "view", "bold"], ["nice", "view", "bold"]),
        ("wai\u00adter piz\u200bza \ufeffbar", ["wai\u00adter", "piz\u200bza", "bar"], ["waiter", "pizza", "bar"]),
        ("ｆｏｏｄ ﬁsh 𝗽𝗶𝘇𝘇𝗮", ["ｆｏｏｄ", "ﬁsh", "𝗽𝗶𝘇𝘇𝗮"], ["food", "fish", "pizza"]),
        ("a&nbsp;b&lt;3", ["a", "b", "&lt;", "3"], ["a", "b", "<", "3"]),
        ("soup &amp;amp; 3", ["soup", "&amp;amp;", "3"], ["soup", "&", "3"]),
        ("wasn&amp;#39;t &amp;amp;quot;hot", ["wasn", "&amp;#39;", "t", "&amp;amp;quot;", "hot"], ["wasn't", '"hot']),
        ("mac &amp;cheese; nice", ["mac", "&amp;", "cheese", ";", "nice"], ["mac &cheese; nice"]),
        ("Bad.\\n\\nGood\\r\\tsoup", ["Bad", ".", "Good", "soup"], ["Bad.", "Good", "soup"]),
        (
            "I <3 it & a < b &unknown; &am",
            ["I", "<", "3", "it", "&", "a", "<", "b", "&", "unknown", ";", "&", "am"],
            None,
        ),
    ],
)
def test_web_text_gets_the_tokens_of_the_rendered_text(
    tokenizer: Tokenizer, text: str, expected: list[str], rendered: list[str] | None
) -> None:
    assert [text[start:end] for start, end in words(text)] == expected
    web, plain = WordTokenizer(tokenizer).tokenize([text, " ".join(rendered or expected)])
    assert web.ids == plain.ids
    assert [text[start:end] for start, end in web.bounds] == expected


@pytest.mark.parametrize(
    ("text", "spelled_out"),
    [
        ("burgers & fries", "burgers and fries"),
        ("soup &amp; salad", "soup and salad"),
        ("Rooms ＆ beds", "Rooms and beds"),
        ("mac &#38; cheese", "mac and cheese"),
        ("Kettle & Crumb", "Kettle & Crumb"),
        ("the B&B", "the B & B"),
        ("r&b & 3 & more &", "r & b & 3 & more &"),
    ],
)
def test_an_ampersand_before_a_word_in_lower_case_is_read_as_and(
    tokenizer: Tokenizer, text: str, spelled_out: str
) -> None:
    web, plain = WordTokenizer(tokenizer).tokenize([text, spelled_out])
    assert web.ids == plain.ids
    assert web.bounds == words(text)


@given(st.text(st.sampled_from("ab <>/&;#x\u00ad\u200bｆﬁ.@\n"), max_size=40))
def test_bounds_are_in_order_for_any_markup(text: str) -> None:
    bounds = words(text)
    assert all(start < end for start, end in bounds)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(bounds))
    assert all(start >= 0 and end <= len(text) for start, end in bounds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://x.test/menu?a=1 now", ["https://x.test/menu?a=1"]),
        ("www.hotel-view.test/rooms", ["www.hotel-view.test/rooms"]),
        ("write to food@service.co.uk.", ["food@service.co.uk"]),
        ("@pasta_house rocks, meet @ 5", ["@pasta_house"]),
        ("booked on booking.com. The room", ["booking.com"]),
        ("@food@staff.social said", ["@food@staff.social"]),
        (
            "bit.ly/food2, zomato.nl or hotel.photography/our-rooms!",
            ["bit.ly/food2,", "zomato.nl", "hotel.photography/our-rooms!"],
        ),
        (r"see http:\/\/x.test\/food now", [r"http:\/\/x.test\/food"]),
        ("Nice food.Price/quality/taste ok", []),
        ("Great food.The waiter. 3.5 stars, e.g. soup", []),
    ],
)
def test_addresses_are_found(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in addresses(text)] == expected


@given(st.text(st.sampled_from('ab1. @:/-w\x1c\x85\u3000<"com'), max_size=40) | any_text)
def test_addresses_are_those_of_the_pattern_on_the_whole_text(text: str) -> None:
    assert addresses(text) == [match.span() for match in _address().finditer(text)]


HOSTILE = [
    "x",
    "x.",
    "x@",
    "@",
    "<a ",
    "&#",
    ".",
    "a-",
    "www.",
    "http://",
    "1.",
    "a.b",
    "x+",
    "a@b.",
    "! ",
    "\u200b",
    "a_",
    "a.bc/",
    "a.bc/x ",
    "&amp;",
    "\\n",
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_the_time_is_linear_in_the_length_of_the_text(pattern: str) -> None:
    def measure(length: int) -> float:
        text = pattern * (length // len(pattern))
        begin = time.process_time()
        for function in (addresses, words, boundaries):
            function(text)
        return time.process_time() - begin

    # Eight times the length takes 64 times the time if it is quadratic; less than a second is too short to tell.
    assert measure(160_000) < max(1.0, 30 * measure(20_000))
