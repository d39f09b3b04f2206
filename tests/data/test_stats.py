import json

from reviews_parsing import data
from reviews_parsing.schema import Aspect, Opinion, Review

SPLITS = {
    "train": [
        Review(
            "a",
            "Ribs sang. Slaw sulked!\nStaff?",
            (
                Aspect("FOOD", "Ribs", 0, 4, "positive", Opinion("sang", 5, 9)),
                Aspect("FOOD", "Slaw", 11, 15, "negative"),
                Aspect("STAFF", polarity="neutral"),
            ),
        ),
        Review("b", "Shut on 3.5. Mondays"),
    ],
    "test": [Review("c", "", (Aspect("FOOD"),))],
}


def test_counts_and_shares_of_each_split_and_of_all() -> None:
    found = data.statistics(SPLITS)
    assert list(found) == ["train", "test", "all"]
    train = found["train"]
    assert (train.reviews, train.sentences, train.words, train.words_mean, train.words_max) == (2, 5, 10, 5.0, 5)
    assert (train.aspects, train.explicit, train.implicit, train.with_opinion) == (3, 2, 1, 1)
    assert train.by_category == {"FOOD": 2, "STAFF": 1}
    assert train.by_polarity == {"negative": 1, "neutral": 1, "positive": 1}
    assert (train.neutral_share, train.mixed_share, train.no_aspect_share) == (0.3333, 0.5, 0.5)
    assert found["test"].by_polarity == {"": 1}
    assert (found["all"].reviews, found["all"].aspects, found["all"].mixed_share) == (3, 4, 0.3333)


def test_is_json_and_never_fails_on_nothing() -> None:
    found = data.statistics({"all": []})
    assert json.loads(json.dumps(found["all"].to_json()))["words_median"] == 0
