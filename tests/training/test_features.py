"""What a tagger learns from says what the labels say."""

from __future__ import annotations

from dataclasses import replace

from tokenizers import Tokenizer

from reviews_parsing.schema import Aspect, Opinion, Review, Taxonomy
from reviews_parsing.training.features import IGNORE, featurize, readings, with_rough

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


def test_nobody_knows_which_window_of_a_long_text_says_it(tokenizer: Tokenizer) -> None:
    long = Review("1", " ".join([TEXT] * 12), (REVIEW.aspects[-1],))
    features = featurize([long], tokenizer, Taxonomy.of([REVIEW]), 64, 8)
    assert len(features) > 2
    assert all(feature["implicit_labels"] == [0, IGNORE] for feature in features)


def test_a_category_that_only_held_out_reviews_have_is_nothing_to_learn(tokenizer: Tokenizer) -> None:
    taxonomy = Taxonomy(("FOOD",), ("negative", "positive"))
    (feature,) = featurize([REVIEW], tokenizer, taxonomy, 128, 16)
    tokens = [tokenizer.id_to_token(i) for i in feature["input_ids"]]
    assert feature["labels"][tokens.index("beef")] == 1
    assert feature["labels"][tokens.index("room")] == 0


def test_a_review_is_learnt_once_for_each_category_of_a_span(tokenizer: Tokenizer) -> None:
    stew, room, yum = REVIEW.aspects
    assert readings(REVIEW) == [REVIEW]
    assert not Taxonomy.of([REVIEW]).several
    dear, odd = (replace(stew, entity_group=group, polarity="positive") for group in ("PRICE", "STYLE"))
    several = replace(REVIEW, aspects=(stew, room, dear, yum, stew, odd))
    taxonomy = Taxonomy.of([several])
    assert taxonomy.several
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
    assert len(with_rough([several, REVIEW], tokenizer, taxonomy, 128, 16, seed=1)) == 4
