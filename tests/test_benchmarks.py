"""What the benchmarks do to reviews before they measure."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

from reviews_parsing import data

PLACE = Path(__file__).parent.parent / "benchmarks" / "robustness.py"


@pytest.fixture(scope="module")
def robustness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("robustness", PLACE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_labels_move_with_the_text(robustness: ModuleType) -> None:
    reviews = data.read_splits("corpus")["test"]
    for name, disturbance in robustness.DISTURBANCES.items():
        found = [robustness.disturbed(review, disturbance, random.Random(3)) for review in reviews]
        assert sum(a.text != b.text for a, b in zip(reviews, found, strict=True)) > 20, name
        for before, after in zip(reviews, found, strict=True):
            assert [a.entity_group for a in after.aspects] == [a.entity_group for a in before.aspects], name
            for aspect in after.aspects:
                if aspect.span:
                    assert after.text[slice(*aspect.span)] == aspect.word != ""


def test_joined_reviews_hold_every_label(robustness: ModuleType) -> None:
    reviews = data.read_splits("corpus")["test"]
    texts = robustness.joined(reviews)
    explicit = [aspect.word for review in reviews for aspect in review.aspects if aspect.span]
    assert [text.text[slice(*a.span)] for text in texts for a in text.aspects] == explicit
    assert all(len(text.text.split()) >= robustness.LONG_WORDS for text in texts[:-1])
