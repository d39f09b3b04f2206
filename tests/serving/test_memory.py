"""Memory of the server: objects that the garbage collector skips."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from reviews_parsing.serving.memory import freeze_objects


class Node:
    """An object that can refer to itself."""

    other: Node | None = None


@pytest.fixture(autouse=True)
def unfreeze() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_objects_that_exist_are_skipped_by_later_collections() -> None:
    node = Node()
    freeze_objects()
    assert gc.get_freeze_count() > 0
    assert not any(other is node for other in gc.get_objects())
    later = Node()
    assert any(other is later for other in gc.get_objects())


def test_garbage_is_collected_before_even_if_it_was_frozen() -> None:
    node = Node()
    node.other = node
    alive = weakref.ref(node)
    freeze_objects()
    del node
    gc.collect()
    assert alive() is not None
    freeze_objects()
    assert alive() is None
