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


def test_counts_and_shares_per_split_and_in_total() -> None:
    statistics = data.compute_statistics(SPLITS)
    assert list(statistics) == ["train", "test", "all"]
    train = statistics["train"]
    assert (train.reviews, train.sentences, train.words, train.words_mean, train.words_max) == (2, 5, 10, 5.0, 5)
    assert (train.aspects, train.explicit, train.implicit, train.with_opinion) == (3, 2, 1, 1)
    assert train.by_category == {"FOOD": 2, "STAFF": 1}
    assert train.by_polarity == {"negative": 1, "neutral": 1, "positive": 1}
    assert (train.neutral_share, train.mixed_share, train.no_aspect_share) == (0.3333, 0.5, 0.5)
    assert statistics["test"].by_polarity == {"": 1}
    assert (statistics["all"].reviews, statistics["all"].aspects, statistics["all"].mixed_share) == (3, 4, 0.3333)


def test_statistics_of_an_empty_split_are_json() -> None:
    statistics = data.compute_statistics({"all": []})
    assert json.loads(json.dumps(statistics["all"].to_json()))["words_median"] == 0
