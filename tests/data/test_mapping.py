from pathlib import Path

import pytest

from reviews_parsing import data
from reviews_parsing.data.mapping import map_categories
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review


def test_categories_are_renamed_dropped_or_unchanged(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text('{"FOOD#QUALITY": "FOOD", "MISC": null}')
    mapping = data.read_mapping(tmp_path / "map.json")
    assert mapping == {"FOOD#QUALITY": "FOOD", "MISC": None}
    review = Review("a", "Ribs", (Aspect("FOOD#QUALITY", "Ribs", 0, 4), Aspect("MISC"), Aspect("PRICE")), {"n": 1})
    assert map_categories(review, mapping) == Review(
        "a", "Ribs", (Aspect("FOOD", "Ribs", 0, 4), Aspect("PRICE")), {"n": 1}
    )


def test_the_tags_of_the_source_are_removed_with_its_categories() -> None:
    review = Review("a", "Ribs", (Aspect("F", "Ribs", 0, 4),), {"tags": ["I-F"], "n": 1})
    assert map_categories(review, {"F": "FOOD"}).meta == {"n": 1}
    assert map_categories(review, {"G": "FOOD"}) is review


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["FOOD"]', "a category map is an object of category names, not list"),
        ('{"FOOD": 3}', "'FOOD' maps to 3: map it to a category name, or to null"),
        ('{"FOOD": ""}', "'FOOD' maps to ''"),
        ('{"FOOD": ', "not JSON"),
        ("", "is empty"),
    ],
)
def test_invalid_maps_are_errors(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "map.json").write_text(content)
    with pytest.raises(DataError, match=rf"map.json:? .*{message}|map.json {message}"):
        data.read_mapping(tmp_path / "map.json")
