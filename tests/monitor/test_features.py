"""Features of reviews: each has the value that its name says, independent of the batch."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reviews_parsing import AspectParser, data
from reviews_parsing.encoder import EMBEDDING
from reviews_parsing.monitor import FeatureExtractor, Profile

TEXTS = st.lists(st.text(max_size=80), min_size=1, max_size=6)


def extract(parser: AspectParser, extractor: FeatureExtractor, *texts: str) -> list[dict[str, float]]:
    return [dict(zip(extractor.names, row.tolist(), strict=True)) for row in extractor.extract(parser, texts)]


def test_features_of_the_text(parser: AspectParser, profile: Profile) -> None:
    extractor = replace(profile.extractor, alphabet="TEH cofewasgrt.")
    (features,) = extract(parser, extractor, "THE coffee was great 🦑.")
    assert features["words"] == 6
    assert features["unknown_tokens"] == pytest.approx(1 / 6)
    assert features["tokens_per_word"] == 1
    assert features["capitals"] == pytest.approx(3 / 17)
    assert features["foreign_characters"] == pytest.approx(1 / 23)


def test_features_of_the_prediction(parser: AspectParser, profile: Profile) -> None:
    text = "The ramen was great but the waiter was rude."
    (review,) = parser.parse([text])
    features, empty = extract(parser, profile.extractor, text, "")
    assert features["aspects"] == len(review.aspects) == 2
    assert features["score"] == pytest.approx(np.mean([a.score for a in review.aspects]))
    assert features["polarity_score"] == pytest.approx(np.mean([a.polarity_score for a in review.aspects]))
    present = {name for name, value in features.items() if name.startswith(("category ", "polarity ")) and value}
    assert present == {"category FOOD", "category STAFF", "polarity positive", "polarity negative"}
    assert empty["aspects"] == empty["words"] == 0
    assert np.isnan([empty[name] for name in ("score", "polarity_score", "capitals", "tokens_per_word")]).all()


def test_foreign_texts_are_counted_if_the_model_identifies_languages(parser: AspectParser, profile: Profile) -> None:
    texts = ["The ramen was great but the waiter was rude.", "Die Suppe war kalt, aber der Kellner war sehr nett."]
    assert [features["foreign"] for features in extract(parser, profile.extractor, *texts)] == [0, 1]
    ((prepared, logits),) = parser.encoded(texts)
    reviews = [replace(review, language=None, foreign=False) for review in parser.finish(prepared, logits)]
    features = profile.extractor.from_predictions(parser, prepared, logits, reviews)
    assert np.isnan(features[:, profile.extractor.names.index("foreign")]).all()


@settings(max_examples=15, deadline=None)
@given(TEXTS)
def test_features_do_not_depend_on_the_batch(parser: AspectParser, profile: Profile, texts: list[str]) -> None:
    batch = profile.extractor.extract(parser, texts)
    singles = np.concatenate([profile.extractor.extract(parser, [text]) for text in texts])
    np.testing.assert_allclose(batch, singles, atol=1e-2)
    names = profile.extractor.names
    shares = [i for i, name in enumerate(names) if name in ("capitals", "foreign_characters", "score")]
    values = batch[:, shares][~np.isnan(batch[:, shares])]
    assert ((values >= 0) & (values <= 1)).all()


def test_the_embedding_of_a_long_text_is_the_mean_of_its_windows(parser: AspectParser) -> None:
    ((prepared, logits),) = parser.encoded(["The soup was warm. " * 100, "Lovely pho.", ""])
    embeddings = parser.embeddings(prepared, logits)
    windows = logits.embeddings[:-1]
    tokens = np.array([len(piece.positions) for piece in prepared.pieces[:-1]])
    assert len(windows) > 1
    np.testing.assert_allclose(embeddings[0], (windows * tokens[:, None]).sum(axis=0) / tokens.sum(), atol=1e-4)
    np.testing.assert_array_equal(embeddings[1], logits.embeddings[-1])
    assert not embeddings[2].any()


def test_the_embedding_is_reduced_to_nine_features(profile: Profile) -> None:
    names = [name for name in profile.extractor.names if name.startswith("embedding")]
    assert names == [*(f"embedding_{i}" for i in range(1, 9)), "embedding_distance"]
    components = profile.extractor.components
    np.testing.assert_allclose(components @ components.T, np.eye(8), atol=1e-3)


def test_a_model_without_embeddings_has_the_other_features(
    champion_folder: Path, parser: AspectParser, profile: Profile, tmp_path: Path
) -> None:
    for name in ("parser.json", "tokenizer.json"):
        shutil.copy(champion_folder / name, tmp_path)
    model = onnx.load(champion_folder / "model.onnx")
    (output,) = [output for output in model.graph.output if output.name == EMBEDDING]
    model.graph.output.remove(output)
    onnx.save(model, tmp_path / "model.onnx")
    older_parser = AspectParser(tmp_path, threads=1)
    reviews = data.read_splits("corpus")["test"][:40]
    texts = [review.text for review in reviews]
    assert older_parser.parse(texts) == parser.parse(texts)
    older_profile = Profile.of(older_parser, reviews, reviews)
    names = tuple(name for name in profile.extractor.names if not name.startswith("embedding"))
    assert older_profile.extractor.names == names
    older_profile.write(tmp_path)
    np.testing.assert_array_equal(Profile.read(tmp_path).features, older_profile.features)
