"""Parser on any text: offsets, batches, windows, thresholds, older models, invalid input."""

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
from reviews_parsing.encoder import MAX_BATCH_TOKENS, MAX_PADDING_TOKENS, Encoder
from reviews_parsing.model_folder import ParserConfig
from reviews_parsing.registry.signatures import signature_file
from reviews_parsing.schema import Aspect
from reviews_parsing.tagging import words
from reviews_parsing.tagging.decode import DEFAULT_THRESHOLD
from reviews_parsing.training.evaluate import evaluate

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    f"Course {number}: the {dish} was {word}, and {person} was {manner}."
    for number, (dish, word, person, manner) in enumerate(
        [
            ("lentil soup", "delicious", "the waiter", "rude"),
            ("grilled squid", "rubbery", "our hostess", "charming"),
            ("lamb shoulder", "superb", "the sommelier", "bored"),
            ("plum tart", "stale", "the chef", "friendly"),
        ]
        * 12
    )
)


@quick
@given(texts)
def test_spans_consist_of_words_and_do_not_overlap(parser: AspectParser, text: str) -> None:
    (parsed,) = parser.parse([text])
    starts, ends = (set(edges) for edges in zip(*words(text), strict=True)) if words(text) else ((), ())
    previous_end = 0
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
        assert start >= previous_end
        assert 0 <= (aspect.score or -1) <= 1
        assert 0 <= (aspect.polarity_score or -1) <= 1
        previous_end = end


@quick
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
            aspects, expected = parsed.aspects, alone[number]
            assert [(a.span, a.entity_group, a.polarity) for a in aspects] == [
                (a.span, a.entity_group, a.polarity) for a in expected
            ]
            assert all(abs((a.score or 0) - (b.score or 0)) <= 0.01 for a, b in zip(aspects, expected, strict=True))


def test_json_has_the_form_of_a_hugging_face_pipeline(parser: AspectParser) -> None:
    (parsed,) = parser.parse(["The lobster roll was fantastic."])
    (form,) = json.loads(json.dumps(parsed.to_json()))
    pipelines = ["entity_group", "score", "word", "start", "end"]
    assert list(form) == [*pipelines, "polarity", "polarity_score", "opinion"]
    assert form["opinion"] == {"word": "fantastic", "start": 21, "end": 30}
    assert (form["entity_group"], form["word"], form["start"], form["end"]) == ("FOOD", "lobster roll", 4, 16)


def batched(texts: Iterable[str], size: int) -> list[list[str]]:
    items = list(texts)
    return [items[i : i + size] for i in range(0, len(items), size)]


def test_windows_give_the_confident_answers_of_one_long_window(champion_folder: Path, tmp_path: Path) -> None:
    parsers = []
    for window, margin in ((512, 48), (320, 48)):
        folder = tmp_path / str(window)
        shutil.copytree(champion_folder, folder)
        form = json.loads((folder / "parser.json").read_text())
        # Repeated mentions count, so that the answers of the two can be compared by their offsets.
        form["taxonomy"]["unique_mentions"] = False
        (folder / "parser.json").write_text(json.dumps(form | {"window": window, "margin": margin}))
        parsers.append(AspectParser(folder))
    joined = [" ".join(texts) for texts in batched((r.text for r in data.read_splits("corpus")["test"]), 12)]
    single, windowed = (
        {
            (number, aspect.span, aspect.entity_group): aspect.score or 0
            for number, parsed in enumerate(p.parse(joined, spans_only=True))
            for aspect in parsed.aspects
        }
        for p in parsers
    )
    # Less confident answers depend on the context, which is larger in one long window.
    confident = {key for key, score in single.items() if score >= 0.7}
    assert len(confident) > 100
    assert len(confident & windowed.keys()) >= 0.9 * len(confident)
    # The end of a very long text is parsed.
    aspects = parsers[1].parse([LONG * 20], spans_only=True)[0].aspects
    assert (aspects[-1].end or 0) > len(LONG) * 20 - 200


def test_a_text_of_a_megabyte_is_parsed_to_its_end(parser: AspectParser) -> None:
    filler = "x" * 1_000_000
    (parsed,) = parser.parse([f"{filler} The coffee was excellent."], spans_only=True)
    assert parsed.aspects[-1].word == "coffee"


@quick
@given(st.lists(st.integers(1, 700), max_size=40), st.integers(1, 4))
def test_each_piece_is_in_one_batch_within_the_limits(champion_folder: Path, lengths: list[int], threads: int) -> None:
    batches = list(Encoder(champion_folder / "model.onnx", 1).batches(lengths, threads))
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[n] for n in batch)
        assert len(batch) == 1 or len(batch) * longest <= MAX_BATCH_TOKENS
        assert sum(longest - lengths[n] for n in batch) <= MAX_PADDING_TOKENS


def test_min_score_omits_less_probable_aspects(parser: AspectParser) -> None:
    aspects, confident = (parser.parse([LONG], score)[0].aspects for score in (0.0, 0.9))
    assert set(confident) == {a for a in aspects if (a.score or 0) >= 0.9}


def test_blank_texts_have_no_aspects(parser: AspectParser) -> None:
    assert [p.aspects for p in parser.parse(["", " \r\n\t", "\u200d\x00\x1f"])] == [(), (), ()]
    assert parser.parse([]) == []


def test_the_error_for_a_text_that_is_not_a_string_names_its_index(parser: AspectParser) -> None:
    with pytest.raises(DataError, match="text 1 must be a string, not NoneType"):
        parser.parse(["fine", None])  # type: ignore[list-item]


def test_the_error_for_a_text_that_is_not_unicode_names_its_index(parser: AspectParser) -> None:
    with pytest.raises(DataError, match="text 1 is not Unicode: character 5 is a lone surrogate"):
        parser.parse(["fine", os.fsdecode(b"soup \xff")])


@pytest.mark.parametrize("name", ["parser.json", "tokenizer.json", "model.onnx"])
@pytest.mark.parametrize("special", ["pipe", "device", "folder"])
def test_files_of_a_model_that_never_end_are_refused(
    champion_folder: Path, tmp_path: Path, name: str, special: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in champion_folder.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / name).unlink()
    match special:
        case "pipe":
            os.mkfifo(folder / name)
        case "device":
            (folder / name).symlink_to("/dev/zero")
        case "folder":
            (folder / name).mkdir()
    with pytest.raises(ModelError, match=f"{name} is not a regular file"):
        AspectParser.load(folder)


def test_the_working_directory_may_be_the_model(champion_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(champion_folder)
    assert AspectParser.load(".").parse(["Lovely soup."])
    for path in (Path(), champion_folder / "x" / ".."):
        assert signature_file(path) == champion_folder.with_name(f"{champion_folder.name}.sig")


def test_invalid_model_folders_are_refused(tmp_path: Path, champion_folder: Path) -> None:
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
    with pytest.raises(ModelError, match=r"transitions of shape \(2, 2\) for 27 tags"):
        AspectParser.load(damaged)
    (damaged / "parser.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ModelError, match="has format 99"):
        ParserConfig.read(damaged)


def test_an_older_model_without_implicit_aspects_and_opinions_is_loaded(champion_folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(champion_folder, old)
    form = json.loads((old / "parser.json").read_text())
    for name in ("implicit", "opinions", "multi_label"):
        del form["taxonomy"][name]
    for name in ("implicit_scale", "implicit_bias"):
        del form["calibration"][name]
    (old / "parser.json").write_text(json.dumps(form))
    texts = ["Never again.", "The lobster roll was fantastic."]
    old_reviews, new_reviews = (AspectParser(folder).parse(texts, spans_only=True) for folder in (old, champion_folder))
    for old_review, new_review in zip(old_reviews, new_reviews, strict=True):
        assert old_review.aspects == tuple(replace(aspect, opinion=None) for aspect in new_review.aspects)


def with_threshold(threshold: float, config: ParserConfig, folder: Path) -> AspectParser:
    replace(config, calibration=replace(config.calibration, threshold=threshold)).write(folder)
    return AspectParser(folder)


def test_the_threshold_is_half_of_the_validation_f1(champion_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(champion_folder, folder)
    config = ParserConfig.read(folder)
    validation = data.read_splits("corpus")["validation"]
    texts = [review.text for review in validation]
    champion = AspectParser(champion_folder)
    f1 = evaluate(with_threshold(DEFAULT_THRESHOLD, config, folder), validation).f1
    assert champion.config.calibration.threshold == pytest.approx(f1 / 2, abs=0.001)
    # `min_score` is equivalent to a higher threshold.
    assert with_threshold(0.6, config, folder).parse(texts) == champion.parse(texts, min_score=0.6)


def test_an_older_model_without_transitions_is_loaded(champion_folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(champion_folder, old)
    form = json.loads((old / "parser.json").read_text())
    assert np.abs(form.pop("transitions")).max() > 0.05
    assert np.abs(form.pop("opinion_transitions")).max() > 0.01
    (old / "parser.json").write_text(json.dumps(form | {"format": 1}))
    ((span,), *_) = ([a.word for a in p.aspects] for p in AspectParser(old).parse(["The lobster roll was fantastic."]))
    assert span == "lobster roll"


def test_a_multi_label_model_answers_with_several_categories_of_a_span(champion_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "multi-label"
    shutil.copytree(champion_folder, folder)
    config = ParserConfig.read(folder)
    assert not config.taxonomy.multi_label
    taxonomy = replace(config.taxonomy, unique_mentions=False)
    single, multiple = (
        with_threshold(0.01, replace(config, taxonomy=replace(taxonomy, multi_label=multi_label)), folder)
        .parse([LONG], spans_only=True)[0]
        .aspects
        for multi_label in (False, True)
    )
    assert ParserConfig.read(folder).taxonomy.multi_label
    first_of: dict[tuple[int, int] | None, Aspect] = {
        aspect.span: aspect for aspect in reversed(multiple) if aspect.span
    }
    assert tuple(first_of[aspect.span] if aspect.span else aspect for aspect in single) == single
    additions = [aspect for aspect in multiple if aspect not in single]
    assert additions
    for aspect in additions:
        first = first_of[aspect.span]
        assert aspect.entity_group != first.entity_group
        assert (aspect.score or 0) >= 0.01
        assert replace(aspect, entity_group=first.entity_group, score=first.score) == first
    assert [a.start or 0 for a in multiple if a.span] == sorted(a.start or 0 for a in multiple if a.span)


def test_the_parser_needs_no_torch_and_no_server(champion_folder: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys; from reviews_parsing import AspectParser;"
        f"assert AspectParser.load({str(champion_folder)!r}).parse(['Great soup.'])[0].aspects;"
        "sys.exit(' '.join(m for m in ('torch', 'transformers', 'mlflow', 'mlserver') if m in sys.modules) or 0)"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
