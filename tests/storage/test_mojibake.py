"""Mojibake is detected, and correct texts in any language are not taken for it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing.data import CORPUS_FOLDER
from reviews_parsing.io.encoded_values import encoded_type
from reviews_parsing.io.mojibake import MojibakeCount, find_mojibake

CORRECT = [
    "«\u00a0Une soirée de qualité\u00a0», dit-elle… Voilà\u00a0! L’été à la crème brûlée “génial”",
    "IRMÃ” e MAÇÃ… São João, maçã, irmã… “irmã”, CORAÇÃO\u00a0» — AVELÃ – LIMÃO",
    "Hâlâ… “hâlâ” HÂLÂ… HÂLÂ\u00a0» kâr, İstanbul ŞİŞLİ Çay…",
    "BLÅ” på Ö” Å, Ø” ÅLESUND smörgåsbord, blåbær – rødgrød",
    "Größe „schön“ ÄÖÜ Straße… 5\u00a0€",
    "Nguyễn ăn phở ngon quá… NGÃ…",
    "Żółć zażółć gęślą jaźń, příliš žluťoučký kůň",
    "Очень вкусно, «супер» — Ђорђе",
    "Καλό φαγητό… Ñandú ¿Qué? ¡Olé! Nº 5ª",
    "ð Ísland þð, naïve cœur Œuvre",
    "寿司が美味しい」。 한국어 리뷰… שלום×2 ร้านอาหาร",
    "£5, 20\u00a0°C, ½ price, 100€ ®™ ©2024, x √ 2, «Â» ❤️ 😀 ⭐",
]
DAMAGED = [
    "café", "donʼt and don’t", "“good”", "£5", "crème brûlée", "Über", "MÜNCHEN", "CAFÉ", "ÖSTERREICH", "ESPAÑA",
    "wait…", "5\u00a0km", "great 😀", "I ❤️ it", "★★★", "100€", "Nice™", "kuća i bœuf", "Привет", "Καλό",
    "寿司美味", "ça va",
]  # fmt: skip
pieces = st.sampled_from([word for text in CORRECT for word in text.split(" ")])


def decode_wrongly(text: str, encoding: str) -> str:
    """Decode the UTF-8 of a text in an 8-bit encoding; bytes that it does not have are Latin-1."""
    data = [bytes([byte]) for byte in text.encode()]
    return "".join(byte.decode(encoding, "ignore") or byte.decode("latin-1") for byte in data)


@given(words=st.lists(pieces, min_size=1, max_size=12), change=st.sampled_from([str, str.upper, str.lower, str.title]))
def test_correct_texts_in_many_languages_are_not_mojibake(words: list[str], change: Callable[[str], str]) -> None:
    assert find_mojibake(change(" ".join(words))) is None


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_corpus_holds_no_mojibake(split: str) -> None:
    lines = (CORPUS_FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if find_mojibake(json.loads(line)["text"])]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize("text", DAMAGED)
def test_utf8_in_another_encoding_is_mojibake(text: str, encoding: str) -> None:
    assert find_mojibake(text) is None
    assert find_mojibake(decode_wrongly(text, encoding))


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("The cafÃ© was nice", "'Ã©' for 'é'"),
        ("We donâ€™t", "'â€™' for '’'"),
        (decode_wrongly("don’t", "mac_roman"), "'‚Äô' for '’'"),
        (decode_wrongly("don’t", "cp1251"), "'вЂ™' for '’'"),
        ("Don\x92t", "'\\x92' for '’'"),
        ("caf\ufffd", "'\ufffd' for a lost character"),
        ("\ufeffNice", "a byte order mark"),
        ("it was â€", "'â€'"),
    ],
)
def test_the_description_names_what_was_meant(text: str, description: str) -> None:
    assert find_mojibake(text) == description


def test_texts_are_counted_with_the_first_location() -> None:
    count = MojibakeCount()
    for line, text in enumerate(["Nice", "cafÃ©", "donâ€™t"], start=1):
        count.add(text, "x.csv", line)
    assert count.texts == 2
    assert "2 texts hold characters of a wrong encoding (first: 'Ã©' for 'é' in x.csv:2): " in count.describe()
    assert MojibakeCount().describe() == ""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"en": "Nice soup"}', "an object"),
        (" {'en': 'Nice soup'}\n", "an object"),
        ("['Nice soup']", "a list"),
        ('[{"text": "Nice"}]', "a list"),
        ("[1]", ""),
        ("{}", ""),
        ("{smile} nice [sic]", ""),
        ("[Edited] Nice soup [again]", ""),
        ("[" * 5000 + "]" * 5000, ""),
    ],
)
def test_objects_and_lists_as_strings(text: str, kind: str) -> None:
    assert encoded_type(text) == kind
