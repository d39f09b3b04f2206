"""What a tagger learns from says what the labels say."""

from __future__ import annotations

from dataclasses import replace

from tokenizers import Tokenizer

from reviews_parsing.schema import Aspect, Opinion, Review, Taxonomy
from reviews_parsing.training.features import IGNORE, featurize, readings, with_noisy_versions

TEXT = "Yum! The beef stew was far too salty, the room lovely."
SALTY = Opinion("far too salty", 23, 36)
REVIEW = Review(
    "1",
    TEXT,
    (
        Aspect("FOOD", "beef stew", 9, 18, "negative", SALTY),
        Aspect("AMBIENCE", "room", 42, 46, "positive"),
        Aspect("FOOD", None, None, None, "positive", Opinion("Yum", 0, 3)),
    ),
)


def test_labels_stand_on_first_tokens_and_links_point_at_opinions(tokenizer: Tokenizer) -> None:
    taxonomy = Taxonomy.of([REVIEW])
    assert taxonomy == Taxonomy(("AMBIENCE", "FOOD"), ("negative", "positive"), ("FOOD",), opinions=True)
    (feature,) = featurize([REVIEW], tokenizer, taxonomy, 128, 16)
    tokens = [tokenizer.id_to_token(i) for i in feature["input_ids"]]

    def named(label: str) -> dict[str, int]:
        return {token: value for token, value in zip(tokens, feature[label], strict=True) if value > 0}

    assert named("labels") == {"beef": 3, "stew": 4, "room": 1}
    assert named("opinion_labels") == {"yu": 1, "far": 1, "too": 2, "salty": 2}
    assert {token: tokens[place] for token, place in named("link_labels").items()} == {"beef": "far"}
    assert feature["link_labels"][tokens.index("room")] == 0
    assert feature["polarity_labels"][tokens.index("beef")] == 0
    assert feature["implicit_labels"] == [0, 1]
    assert [place if place == IGNORE else tokens[place] for place in feature["implicit_link_labels"]] == [IGNORE, "yu"]
    assert feature["labels"][0] == feature["opinion_labels"][0] == IGNORE


def test_of_a_long_text_the_window_with_the_opinion_says_it(tokenizer: Tokenizer) -> None:
    text = " ".join([TEXT] * 12)
    yum = REVIEW.aspects[-1]
    middle = text.index("Yum", len(text) // 2)
    for aspect, expected in (
        (yum, [1, 0]),
        (replace(yum, opinion=Opinion("Yum", middle, middle + 3)), [0, 1]),
        (replace(yum, opinion=None), [IGNORE, IGNORE]),
    ):
        features = featurize([Review("1", text, (aspect,))], tokenizer, Taxonomy.of([REVIEW]), 64, 8)
        assert len(features) > 2
        found = [feature["implicit_labels"] for feature in features]
        assert all(negative == 0 for negative, _ in found)
        assert [found[0][1], max(positive for _, positive in found[1:])] == expected


def test_a_word_that_begins_a_line_is_marked(tokenizer: Tokenizer) -> None:
    review = Review("1", "Great!\n\nThe beef stew.\r\nYum")
    (feature,) = featurize([review], tokenizer, Taxonomy(("FOOD",)), 64, 8)
    tokens = [tokenizer.id_to_token(i) for i in feature["input_ids"]]
    marked = [token for token, start in zip(tokens, feature["line_starts"], strict=True) if start == 1]
    assert marked == ["the", "yu"]


def test_a_category_that_only_held_out_reviews_have_is_nothing_to_learn(tokenizer: Tokenizer) -> None:
    taxonomy = Taxonomy(("FOOD",), ("negative", "positive"))
    (feature,) = featurize([REVIEW], tokenizer, taxonomy, 128, 16)
    tokens = [tokenizer.id_to_token(i) for i in feature["input_ids"]]
    assert feature["labels"][tokens.index("beef")] == 1
    assert feature["labels"][tokens.index("room")] == 0


def test_a_review_is_learnt_once_for_each_category_of_a_span(tokenizer: Tokenizer) -> None:
    stew, room, yum = REVIEW.aspects
    assert readings(REVIEW) == [REVIEW]
    assert not Taxonomy.of([REVIEW]).multi_label
    dear, odd = (replace(stew, entity_group=group, polarity="positive") for group in ("PRICE", "STYLE"))
    several = replace(REVIEW, aspects=(stew, room, dear, yum, stew, odd))
    taxonomy = Taxonomy.of([several])
    assert taxonomy.multi_label
    versions = readings(several)
    assert all(sorted(map(repr, version.aspects)) == sorted(map(repr, several.aspects)) for version in versions)
    learnt = []
    for version in versions:
        (feature,) = featurize([version], tokenizer, taxonomy, 128, 16)
        tags = {taxonomy.tags[label] for label in feature["labels"] if label > 0}
        polarities = {feature["polarity_labels"][place] for place, label in enumerate(feature["labels"]) if label > 0}
        learnt.append((tags, polarities))
    assert learnt == [
        ({"B-FOOD", "I-FOOD", "B-AMBIENCE"}, {0, 1}),
        ({"B-PRICE", "I-PRICE", "B-AMBIENCE"}, {1}),
        ({"B-STYLE", "I-STYLE", "B-AMBIENCE"}, {1}),
    ]
    assert len(with_noisy_versions([several, REVIEW], tokenizer, taxonomy, 128, 16, seed=1)) == 4
