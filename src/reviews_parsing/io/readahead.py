"""Read-ahead: the next items of an iterator are made in a thread while the current one is used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Full, Queue
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
STOP_POLL_SECONDS = 0.1


class _Item(NamedTuple, Generic[T]):
    """An item in the queue, where an exception or None means the end."""

    value: T


def read_ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """Yield the items of an iterator; a thread that ends with the generator makes up to `depth` of them in advance."""
    queue: Queue[_Item[T] | BaseException | None] = Queue(depth)
    is_closed = threading.Event()

    def put(entry: _Item[T] | BaseException | None) -> None:
        while not is_closed.is_set():
            try:
                queue.put(entry, timeout=STOP_POLL_SECONDS)
            except Full:
                continue
            return

    def produce() -> None:
        try:
            for item in items:
                put(_Item(item))
                if is_closed.is_set():
                    break
            put(None)
        except BaseException as error:
            put(error)
        finally:
            close = getattr(items, "close", None)
            if close:
                close()

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (entry := queue.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry.value
    finally:
        is_closed.set()
        thread.join()
