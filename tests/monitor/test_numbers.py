"""Each number is what its name says, whatever shares the batch."""

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
from reviews_parsing.monitor import Gauge, Profile, measure

TEXTS = st.lists(st.text(max_size=80), min_size=1, max_size=6)


def of(parser: AspectParser, gauge: Gauge, *texts: str) -> list[dict[str, float]]:
    return [dict(zip(gauge.names, row.tolist(), strict=True)) for row in measure(parser, gauge, texts)]


def test_what_is_counted_of_a_text(parser: AspectParser, profile: Profile) -> None:
    gauge = replace(profile.gauge, alphabet="TEH cofewasgrt.")
    (found,) = of(parser, gauge, "THE coffee was great 🦑.")
    assert found["words"] == 6
    assert found["unknown_tokens"] == pytest.approx(1 / 6)
    assert found["tokens_per_word"] == 1
    assert found["capitals"] == pytest.approx(3 / 17)
    assert found["foreign_characters"] == pytest.approx(1 / 23)


def test_what_is_counted_of_an_answer(parser: AspectParser, profile: Profile) -> None:
    text = "The ramen was great but the waiter was rude."
    (review,) = parser.parse([text])
    found, silent = of(parser, profile.gauge, text, "")
    assert found["aspects"] == len(review.aspects) == 2
    assert found["score"] == pytest.approx(np.mean([a.score for a in review.aspects]))
    assert found["polarity_score"] == pytest.approx(np.mean([a.polarity_score for a in review.aspects]))
    has = {name for name, value in found.items() if name.startswith(("category ", "polarity ")) and value}
    assert has == {"category FOOD", "category STAFF", "polarity positive", "polarity negative"}
    assert silent["aspects"] == silent["words"] == 0
    assert np.isnan([silent[name] for name in ("score", "polarity_score", "capitals", "tokens_per_word")]).all()


@settings(max_examples=15, deadline=None)
@given(TEXTS)
def test_a_text_has_the_same_numbers_alone(parser: AspectParser, profile: Profile, texts: list[str]) -> None:
    together = measure(parser, profile.gauge, texts)
    alone = np.concatenate([measure(parser, profile.gauge, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-2)
    shares = [i for i, name in enumerate(profile.gauge.names) if name in ("capitals", "foreign_characters", "score")]
    known = together[:, shares][~np.isnan(together[:, shares])]
    assert ((known >= 0) & (known <= 1)).all()


def test_the_embedding_of_a_long_text_is_the_mean_of_its_windows(parser: AspectParser) -> None:
    ((prepared, logits),) = parser.encoded(["The soup was warm. " * 100, "Lovely pho.", ""])
    found = parser.embeddings(prepared, logits)
    long = logits.embeddings[:-1]
    kept = np.array([len(piece.positions) for piece in prepared.pieces[:-1]])
    assert len(long) > 1
    np.testing.assert_allclose(found[0], (long * kept[:, None]).sum(axis=0) / kept.sum(), atol=1e-4)
    np.testing.assert_array_equal(found[1], logits.embeddings[-1])
    assert not found[2].any()


def test_few_numbers_of_an_embedding_are_kept(profile: Profile) -> None:
    kept = [name for name in profile.gauge.names if name.startswith("embedding")]
    assert kept == [*(f"embedding_{i}" for i in range(1, 9)), "embedding_distance"]
    np.testing.assert_allclose(profile.gauge.directions @ profile.gauge.directions.T, np.eye(8), atol=1e-3)


def test_a_model_of_before_gives_the_same_answers_and_fewer_numbers(
    champion_folder: Path, parser: AspectParser, profile: Profile, tmp_path: Path
) -> None:
    for name in ("parser.json", "tokenizer.json"):
        shutil.copy(champion_folder / name, tmp_path)
    model = onnx.load(champion_folder / "model.onnx")
    (output,) = [output for output in model.graph.output if output.name == EMBEDDING]
    model.graph.output.remove(output)
    onnx.save(model, tmp_path / "model.onnx")
    before = AspectParser(tmp_path, threads=1)
    reviews = data.read_splits("corpus")["test"][:40]
    texts = [review.text for review in reviews]
    assert before.parse(texts) == parser.parse(texts)
    its = Profile.of(before, reviews, reviews)
    assert its.gauge.names == tuple(name for name in profile.gauge.names if not name.startswith("embedding"))
    its.write(tmp_path)
    np.testing.assert_array_equal(Profile.read(tmp_path).numbers, its.numbers)
