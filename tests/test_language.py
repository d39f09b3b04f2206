"""Language identification: foreign texts are marked and their scores are at most 0.5; English texts are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reviews_parsing import AspectParser, data, pretrained
from reviews_parsing.language import UNDETERMINED, languages_of

FOREIGN = {
    "ko": [
        "업데이트 후에 앱이 계속 꺼져요. 로그인이 안 됩니다.",
        "음식은 맛있었지만 직원이 불친절했어요.",
        "방이 더러웠어요",
    ],
    "de": ["Das Essen war hervorragend, aber der Kellner war unfreundlich.", "Sehr lecker, gerne wieder"],
    "es": ["La comida estaba rica pero el servicio fue muy lento.", "Muy bueno todo"],
    "fr": ["Le petit déjeuner était excellent, la chambre trop petite.", "Très bon accueil"],
    "ar": ["الطعام رائع والخدمة سيئة", "الغرفة نظيفة والموظفون لطفاء"],
    "pl": ["Jedzenie było zimne, kelner niegrzeczny."],
    "ja": ["最高でした"],
    "zh": ["服务很好，菜也好吃"],
    # Romanised: no identifier knows these, so the language stays undetermined.
    UNDETERMINED: [
        "yaha ka khana bilkul bakwas hai aur staff bhi rude",
        "khana bahut accha tha lekin service slow thi",
        "el akl kan helw awi bas el service zift",
    ],
}
# One language for the greater part of the text decides.
CODE_SWITCHED = {
    "Staff was nice. Das Essen war kalt und der Kellner unfreundlich, nie wieder. Das Zimmer war schmutzig.": True,
    "The biryani was ekdum mast yaar, paisa vasool!": False,
    "La nourriture was great but service lent": False,
}
UNSURE = ["Yum!", "10/10", "Great food", "Bed bugs!", "👍👍👍", "Pizza margherita top", "", "Must visit.", "nan", "Nul"]


@pytest.fixture(scope="module")
def parser() -> AspectParser:
    return AspectParser(pretrained.model_folder())


@pytest.mark.parametrize("code", FOREIGN)
def test_a_foreign_text_has_no_probable_aspect(parser: AspectParser, code: str) -> None:
    for review in parser.parse(FOREIGN[code]):
        assert review.foreign, review.text
        assert review.language in (code, UNDETERMINED, "fa" if code == "ar" else code), review.text
        assert all((aspect.score or 0.0) <= 0.5 for aspect in review.aspects), review.text


def test_the_greater_part_of_a_mixed_text_decides(parser: AspectParser) -> None:
    assert {review.text: review.foreign for review in parser.parse(list(CODE_SWITCHED))} == CODE_SWITCHED


def test_the_language_of_a_short_text_is_undetermined(parser: AspectParser) -> None:
    for review in parser.parse(UNSURE):
        assert (review.language, review.foreign) == (UNDETERMINED, False), review.text


def test_no_english_review_is_foreign(parser: AspectParser) -> None:
    reviews = data.read_splits("corpus")["test"]
    assert not [review.text for review in parser.parse([review.text for review in reviews]) if review.foreign]


def test_spaces_of_the_web_do_not_hide_english(parser: AspectParser) -> None:
    (review,) = parser.parse(["The\u00a0food\u00a0was\u2003great"])
    assert not review.foreign
    assert [(aspect.word, (aspect.score or 0.0) > 0.5) for aspect in review.aspects] == [("food", True)]


def test_a_model_without_languages_identifies_none(parser: AspectParser, monkeypatch: pytest.MonkeyPatch) -> None:
    before = parser.parse(["방이 더러웠어요"])
    monkeypatch.setattr(parser, "config", replace(parser.config, languages=()))
    review = parser.parse(["방이 더러웠어요"])[0]
    assert (review.language, review.foreign) == (None, False)
    assert before[0].foreign


def test_a_model_reads_the_languages_of_its_data(parser: AspectParser, monkeypatch: pytest.MonkeyPatch) -> None:
    assert languages_of([review.text for review in data.read_splits("corpus")["validation"]]) == ("en",)
    texts = [*FOREIGN["de"], *FOREIGN["es"]]
    assert languages_of(texts) == ("de", "es")
    monkeypatch.setattr(parser, "config", replace(parser.config, languages=("de", "en")))
    assert [review.foreign for review in parser.parse(texts)] == [False, False, True, True]
    assert [review.language for review in parser.parse(texts)] == ["de", "de", "es", "es"]
