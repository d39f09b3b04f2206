import random
import time

from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing.data.duplicates import SIMILARITY_THRESHOLD, find_duplicates

from .strategies import properties

short = st.lists(st.sampled_from(["a", "b", "c"]), max_size=14).map(" ".join)


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = text.split()
    size = min(3, len(words))
    return frozenset(tuple(words[i : i + size]) for i in range(len(words) - size + 1)) if words else frozenset()


def similarity(a: str, b: str) -> float:
    first, second = shingles(a), shingles(b)
    return len(first & second) / len(first | second) if first | second else 0.0


@properties
@given(st.lists(st.tuples(short, st.sampled_from(["train", "test"])), max_size=12))
def test_finds_the_same_duplicates_as_comparing_all_pairs(given_texts: list[tuple[str, str]]) -> None:
    texts, groups = [text for text, _ in given_texts], [group for _, group in given_texts]
    detected = {(pair.later, groups[pair.earlier] == groups[pair.later]) for pair in find_duplicates(texts, groups)}
    expected = {
        (later, groups[earlier] == groups[later])
        for later in range(len(texts))
        for earlier in range(later)
        if texts[later] and similarity(texts[later], texts[earlier]) >= SIMILARITY_THRESHOLD
    }
    # A text with an exact duplicate in its own split is only compared with that one.
    exact = {later for later in range(len(texts)) if given_texts[later] in given_texts[:later]}
    assert {pair for pair in detected if pair[0] not in exact} == {pair for pair in expected if pair[0] not in exact}
    assert {(later, True) for later in exact if texts[later]} <= detected


def test_case_punctuation_and_white_space_are_ignored() -> None:
    (pair,) = find_duplicates(["Best SOUP, ever!", "best soup\never"], ["x", "x"])
    assert pair == (1, 0, 1.0)


def test_ten_thousand_reviews_take_seconds() -> None:
    rng = random.Random(0)
    vocabulary = [f"word{i}" for i in range(2000)]
    texts = [" ".join(rng.choices(vocabulary, k=50)) for _ in range(9_000)]
    texts += [f"Visit {i}: the same long words of praise that a form letter holds, all alike" for i in range(1_000)]
    texts[5_000] = texts[10] + " indeed"
    start = time.perf_counter()
    detected = list(find_duplicates(texts, ["train"] * 5_000 + ["test"] * 5_000))
    assert (5_000, 10) in {pair[:2] for pair in detected}
    assert time.perf_counter() - start < 20
