"""Lists of objects inside rows: reviews that are nested in the record of a place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from reviews_parsing.batch.columns import is_number_or_date, text_name
from reviews_parsing.batch.rows import Row

MAX_NESTING = 4
MAX_ROWS = 200


class NestedLists:
    """Counts of the objects in lists within the first rows, by the path that `--records` takes."""

    def __init__(self) -> None:
        self.rows = 0
        self.objects: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()
        """Objects that hold a text: a value of several words, or under a usual name."""

    def add(self, row: Row) -> None:
        """Look at a row."""
        if self.rows == MAX_ROWS:
            return
        self.rows += 1
        for path, items in _lists(row, "", 0):
            self.objects[path] += len(items)
            self.texts[path] += sum(map(_has_text, items))

    @property
    def largest(self) -> str:
        """Path of the list with most texts."""
        return max(self.objects, key=lambda path: (self.texts[path], self.objects[path]), default="")

    @property
    def has_more_texts(self) -> bool:
        """True if a list holds more texts than there are rows."""
        return self.texts[self.largest] > self.rows

    def describe(self) -> str:
        """Return the paths with most texts, and the number of their objects."""
        paths = sorted(self.objects, key=lambda path: (-self.texts[path], -self.objects[path]))
        counts = [f" ({self.objects[path]:,} objects)" if self.rows else "" for path in paths]
        return ", ".join(f"{path}{count}" for path, count in list(zip(paths, counts, strict=True))[:3])


def _has_text(item: Row) -> bool:
    return any(
        isinstance(value, str) and (text_name(key) or (len(value.split()) > 1 and not is_number_or_date(value)))
        for key, value in item.items()
    )


def _lists(row: Row, prefix: str, depth: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for key, value in row.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and depth < MAX_NESTING:
            yield from _lists(value, f"{path}.", depth + 1)
        elif isinstance(value, list):
            objects = [item for item in value if isinstance(item, dict)]
            if objects:
                yield path, objects
                if depth < MAX_NESTING:
                    for item in objects[:MAX_ROWS]:
                        yield from _lists(item, f"{path}.", depth + 1)
