"""Training features agree with the labels of reviews."""

from __future__ import annotations

from dataclasses import replace

from tokenizers import Tokenizer

from reviews_parsing.schema import Aspect, Opinion, Review, Taxonomy
from reviews_parsing.tagging import WordTokenizer
from reviews_parsing.training.features import IGNORE, featurize, single_label_versions, with_noisy_versions

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


def test_labels_are_on_first_tokens_and_links_are_positions_of_opinions(tokenizer: Tokenizer) -> None:
    taxonomy = Taxonomy.of([REVIEW])
    assert taxonomy == Taxonomy(("AMBIENCE", "FOOD"), ("negative", "positive"), ("FOOD",), opinions=True)
    (feature,) = featurize([REVIEW], WordTokenizer(tokenizer), taxonomy, 128, 16)
    tokens = [tokenizer.id_to_token(i) for i in feature["input_ids"]]

    def by_token(label: str) -> dict[str | None, int]:
        return {token: value for token, value in zip(tokens, feature[label], strict=True) if value > 0}

    assert by_token("labels") == {"beef": 3, "stew": 4, "room": 1}
    assert by_token("opinion_labels") == {"yu": 1, "far": 1, "too": 2, "salty": 2}
    assert {token: tokens[position] for token, position in by_token("link_labels").items()} == {"beef": "far"}
    assert feature["link_labels"][tokens.index("room")] == 0
    assert feature["polarity_labels"][tokens.index("beef")] == 0
    assert feature["implicit_labels"] == [0, 1]
    assert [i if i == IGNORE else tokens[i] for i in feature["implicit_link_labels"]] == [IGNORE, "yu"]
    assert feature["labels"][0] == feature["opinion_labels"][0] == IGNORE


def test_the_implicit_label_of_a_long_text_is_in_the_window_with_the_opinion(tokenizer: Tokenizer) -> None:
    text = " ".join([TEXT] * 12)
    yum = REVIEW.aspects[-1]
    middle = text.index("Yum", len(text) // 2)
    for aspect, expected in (
        (yum, [1, 0]),
        (replace(yum, opinion=Opinion("Yum", middle, middle + 3)), [0, 1]),
        (replace(yum, opinion=None), [IGNORE, IGNORE]),
    ):
        features = featurize([Review("1", text, (aspect,))], WordTokenizer(tokenizer), Taxonomy.of([REVIEW]), 64, 8)
        assert len(features) > 2
        labels = [feature["implicit_labels"] for feature in features]
        assert all(negative == 0 for negative, _ in labels)
        assert [labels[0][1], max(positive for _, positive in labels[1:])] == expected


def test_words_at_line_starts_are_marked(tokenizer: Tokenizer) -> None:
    review = Review("1", "Great!\n\nThe beef stew.\r\nYum")
    (feature,) = featurize([review], WordTokenizer(tokenizer), Taxonomy(("FOOD",)), 64, 8)
    tokens = [tokenizer.id_to_token(i) for i in feature["input_ids"]]
    marked = [token for token, start in zip(tokens, feature["line_starts"], strict=True) if start == 1]
    assert marked == ["the", "yu"]


def test_categories_outside_the_taxonomy_are_ignored(tokenizer: Tokenizer) -> None:
    taxonomy = Taxonomy(("FOOD",), ("negative", "positive"))
    (feature,) = featurize([REVIEW], WordTokenizer(tokenizer), taxonomy, 128, 16)
    tokens = [tokenizer.id_to_token(i) for i in feature["input_ids"]]
    assert feature["labels"][tokens.index("beef")] == 1
    assert feature["labels"][tokens.index("room")] == 0


def test_a_review_has_one_version_for_each_category_of_a_span(tokenizer: Tokenizer) -> None:
    stew, room, yum = REVIEW.aspects
    assert single_label_versions(REVIEW) == [REVIEW]
    assert not Taxonomy.of([REVIEW]).multi_label
    price, style = (replace(stew, entity_group=group, polarity="positive") for group in ("PRICE", "STYLE"))
    review = replace(REVIEW, aspects=(stew, room, price, yum, stew, style))
    taxonomy = Taxonomy.of([review])
    assert taxonomy.multi_label
    versions = single_label_versions(review)
    assert all(sorted(map(repr, version.aspects)) == sorted(map(repr, review.aspects)) for version in versions)
    labels = []
    for version in versions:
        (feature,) = featurize([version], WordTokenizer(tokenizer), taxonomy, 128, 16)
        tags = {taxonomy.tags[label] for label in feature["labels"] if label > 0}
        polarities = {feature["polarity_labels"][i] for i, label in enumerate(feature["labels"]) if label > 0}
        labels.append((tags, polarities))
    assert labels == [
        ({"B-FOOD", "I-FOOD", "B-AMBIENCE"}, {0, 1}),
        ({"B-PRICE", "I-PRICE", "B-AMBIENCE"}, {1}),
        ({"B-STYLE", "I-STYLE", "B-AMBIENCE"}, {1}),
    ]
    assert len(with_noisy_versions([review, REVIEW], WordTokenizer(tokenizer), taxonomy, 128, 16, seed=1)) == 4
