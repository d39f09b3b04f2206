"""The parser keeps its promises on any text: offsets, batches, windows, bad input."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reviews_parsing import AspectParser, DataError, ModelError, data
from reviews_parsing.encoder import MOST, PADDING, Encoder
from reviews_parsing.model_folder import ParserConfig
from reviews_parsing.tagging import words
from reviews_parsing.tagging.decode import DEFAULT_THRESHOLD
from reviews_parsing.training.evaluate import evaluate

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
phrases = st.sampled_from(
    [
        "The ramen was superb",
        "our waiter 😡 ignored us",
        "prices are fair\r\n",
        "cafe\u0301 au lait, cold!!",
        "ok",
        "好吃",
        "",
    ]
)
texts = st.lists(st.one_of(st.text(st.characters(codec="utf-8"), max_size=60), phrases), max_size=6).map(". ".join)

LONG = " ".join(
    f"Course {number}: the {dish} was {word}, and {who} was {manner}."
    for number, (dish, word, who, manner) in enumerate(
        [
            ("lentil soup", "delicious", "the waiter", "rude"),
            ("grilled squid", "rubbery", "our hostess", "charming"),
            ("lamb shoulder", "superb", "the sommelier", "bored"),
            ("plum tart", "stale", "the chef", "friendly"),
        ]
        * 12
    )
)


@few
@given(texts)
def test_a_span_is_words_of_the_text_and_overlaps_no_other(parser: AspectParser, text: str) -> None:
    (parsed,) = parser.parse([text])
    starts, ends = (set(edges) for edges in zip(*words(text), strict=True)) if words(text) else ((), ())
    at = 0
    explicit = [aspect for aspect in parsed.aspects if aspect.span]
    assert parsed.aspects[: len(explicit)] == tuple(explicit)
    assert parser.parse([text], spans_only=True)[0].aspects == tuple(explicit)
    for aspect in parsed.aspects[len(explicit) :]:
        assert (aspect.word, aspect.start, aspect.end) == (None, None, None)
        assert parser.config.calibration.threshold <= (aspect.score or 0) <= 1
        assert 0 <= (aspect.polarity_score or -1) <= 1
    for aspect in parsed.aspects:
        if opinion := aspect.opinion:
            assert text[opinion.start : opinion.end] == opinion.word
            assert not aspect.span or opinion.end <= aspect.span[0] or aspect.span[1] <= opinion.start
    for aspect in explicit:
        start, end = aspect.span or (0, 0)
        assert text[start:end] == aspect.word
        assert start in starts
        assert end in ends
        assert start >= at
        assert 0 <= (aspect.score or -1) <= 1
        assert 0 <= (aspect.polarity_score or -1) <= 1
        at = end


@few
@given(st.lists(texts, max_size=5))
def test_a_batch_equals_one_by_one(parser: AspectParser, batch: list[str]) -> None:
    assert parser.parse(batch) == [parser.parse([text])[0] for text in batch]


def test_a_review_has_one_answer_whatever_it_is_batched_with(parser: AspectParser) -> None:
    reviews = [review.text for review in data.read_splits("corpus")["test"]]
    alone = [parser.parse([text])[0].aspects for text in reviews]
    rng = random.Random(7)
    for _ in range(int(os.environ.get("BATCHINGS", "100"))):
        batch = rng.choices(range(len(reviews)), k=rng.randint(1, 24))
        for number, parsed in zip(batch, parser.parse([reviews[n] for n in batch]), strict=True):
            found, expected = parsed.aspects, alone[number]
            assert [(a.span, a.entity_group, a.polarity) for a in found] == [
                (a.span, a.entity_group, a.polarity) for a in expected
            ]
            assert all(abs((a.score or 0) - (b.score or 0)) <= 0.01 for a, b in zip(found, expected, strict=True))


def test_an_answer_is_json_in_the_form_of_a_hugging_face_pipeline(parser: AspectParser) -> None:
    (parsed,) = parser.parse(["The lobster roll was fantastic."])
    (form,) = json.loads(json.dumps(parsed.to_json()))
    pipelines = ["entity_group", "score", "word", "start", "end"]
    assert list(form) == [*pipelines, "polarity", "polarity_score", "opinion"]
    assert form["opinion"] == {"word": "fantastic", "start": 21, "end": 30}
    assert (form["entity_group"], form["word"], form["start"], form["end"]) == ("FOOD", "lobster roll", 4, 16)


def batched(texts: Iterable[str], size: int) -> list[list[str]]:
    every = list(texts)
    return [every[i : i + size] for i in range(0, len(every), size)]


def test_a_long_text_equals_one_long_window_away_from_the_seams(champion_folder: Path, tmp_path: Path) -> None:
    parsers = []
    for window, margin in ((512, 48), (320, 48)):
        folder = tmp_path / str(window)
        shutil.copytree(champion_folder, folder)
        form = json.loads((folder / "parser.json").read_text())
        (folder / "parser.json").write_text(json.dumps(form | {"window": window, "margin": margin}))
        parsers.append(AspectParser(folder))
    joined = [" ".join(texts) for texts in batched((r.text for r in data.read_splits("corpus")["test"]), 12)]
    whole, pieces = (
        {
            (number, aspect.span, aspect.entity_group): aspect.score or 0
            for number, parsed in enumerate(p.parse(joined, spans_only=True))
            for aspect in parsed.aspects
        }
        for p in parsers
    )
    # Of what is less sure the context decides, and one long window has more of it.
    sure = {key for key, score in whole.items() if score >= 0.7}
    assert len(sure) > 100
    assert len(sure & pieces.keys()) >= 0.9 * len(sure)
    # Nothing is lost at the end, however long the text.
    many = parsers[1].parse([LONG * 20], spans_only=True)[0].aspects
    assert (many[-1].end or 0) > len(LONG) * 20 - 200


def test_a_text_of_a_megabyte_is_read_to_its_end(parser: AspectParser) -> None:
    filler = "x" * 1_000_000
    (parsed,) = parser.parse([f"{filler} The coffee was excellent."], spans_only=True)
    assert parsed.aspects[-1].word == "coffee"


@few
@given(st.lists(st.integers(1, 700), max_size=40), st.integers(1, 4))
def test_every_piece_is_in_one_run_that_fits(champion_folder: Path, lengths: list[int], threads: int) -> None:
    encoder = Encoder(champion_folder / "model.onnx", threads)
    batches = list(encoder.batches(lengths))
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[n] for n in batch)
        assert len(batch) == 1 or len(batch) * longest <= MOST
        assert sum(longest - lengths[n] for n in batch) <= PADDING


def test_min_score_leaves_out_what_is_less_probable(parser: AspectParser) -> None:
    everything, sure = (parser.parse([LONG], score)[0].aspects for score in (0.0, 0.9))
    assert set(sure) == {a for a in everything if (a.score or 0) >= 0.9}


def test_nothing_is_found_in_nothing(parser: AspectParser) -> None:
    assert [p.aspects for p in parser.parse(["", " \r\n\t", "\u200d\x00\x1f"])] == [(), (), ()]
    assert parser.parse([]) == []


def test_what_is_not_a_string_is_refused_by_its_place(parser: AspectParser) -> None:
    with pytest.raises(DataError, match="text 1 must be a string, not NoneType"):
        parser.parse(["fine", None])  # type: ignore[list-item]


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path, champion_folder: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        AspectParser.load(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(champion_folder, damaged)
    (damaged / "model.onnx").write_bytes(b"half")
    with pytest.raises(ModelError, match="incomplete or damaged"):
        AspectParser.load(damaged)
    shutil.copy(champion_folder / "model.onnx", damaged)
    form = json.loads((damaged / "parser.json").read_text())
    (damaged / "parser.json").write_text(json.dumps(form | {"transitions": [[0.0, 1.0], [1.0, 0.0]]}))
    with pytest.raises(ModelError, match=r"transitions of shape \(2, 2\) for 21 tags"):
        AspectParser.load(damaged)
    (damaged / "parser.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ModelError, match="has format 99"):
        ParserConfig.read(damaged)


def test_a_model_of_before_is_read_without_what_it_does_not_know(champion_folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(champion_folder, old)
    form = json.loads((old / "parser.json").read_text())
    for name in ("implicit", "opinions", "multi_label"):
        del form["taxonomy"][name]
    for name in ("implicit_scale", "implicit_bias"):
        del form["calibration"][name]
    (old / "parser.json").write_text(json.dumps(form))
    texts = ["Never again.", "The lobster roll was fantastic."]
    found, now = (AspectParser(folder).parse(texts, spans_only=True) for folder in (old, champion_folder))
    for before, after in zip(found, now, strict=True):
        assert before.aspects == tuple(replace(aspect, opinion=None) for aspect in after.aspects)


def answers_from(threshold: float, config: ParserConfig, folder: Path) -> AspectParser:
    replace(config, calibration=replace(config.calibration, threshold=threshold)).write(folder)
    return AspectParser(folder)


def test_an_answer_is_what_is_half_as_probable_as_answers_are_right(champion_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(champion_folder, folder)
    config = ParserConfig.read(folder)
    validation = data.read_splits("corpus")["validation"]
    texts = [review.text for review in validation]
    found = AspectParser(champion_folder)
    reached = evaluate(answers_from(DEFAULT_THRESHOLD, config, folder), validation).f1
    assert found.config.calibration.threshold == pytest.approx(reached / 2, abs=0.001)
    # Who asks for more probable aspects gets the same as from a model that gives no others.
    assert answers_from(0.6, config, folder).parse(texts) == found.parse(texts, min_score=0.6)


def test_a_model_of_before_knows_no_transitions(champion_folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(champion_folder, old)
    form = json.loads((old / "parser.json").read_text())
    assert np.abs(form.pop("transitions")).max() > 0.05
    assert np.abs(form.pop("opinion_transitions")).max() > 0.01
    (old / "parser.json").write_text(json.dumps(form | {"format": 1}))
    ((span,), *_) = ([a.word for a in p.aspects] for p in AspectParser(old).parse(["The lobster roll was fantastic."]))
    assert span == "lobster roll"


def test_words_have_several_categories_where_the_labels_had(champion_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "several"
    shutil.copytree(champion_folder, folder)
    config = ParserConfig.read(folder)
    assert not config.taxonomy.multi_label
    plain, found = (
        answers_from(0.01, replace(config, taxonomy=replace(config.taxonomy, multi_label=several)), folder)
        .parse([LONG], spans_only=True)[0]
        .aspects
        for several in (False, True)
    )
    assert ParserConfig.read(folder).taxonomy.multi_label
    first_of = {aspect.span: aspect for aspect in reversed(found) if aspect.span}
    assert tuple(first_of[aspect.span] if aspect.span else aspect for aspect in plain) == plain
    others = [aspect for aspect in found if aspect not in plain]
    assert others
    for other in others:
        first = first_of[other.span]
        assert other.entity_group != first.entity_group
        assert (other.score or 0) >= 0.01
        kept = replace(other, entity_group=first.entity_group, score=first.score)
        assert kept == first
    assert [a.start or 0 for a in found if a.span] == sorted(a.start or 0 for a in found if a.span)


def test_the_parser_needs_no_torch_and_no_server(champion_folder: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys; from reviews_parsing import AspectParser;"
        f"assert AspectParser.load({str(champion_folder)!r}).parse(['Great soup.'])[0].aspects;"
        "sys.exit(' '.join(m for m in ('torch', 'transformers', 'mlflow', 'mlserver') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
