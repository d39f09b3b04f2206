"""Read-ahead: the next items of an iterator are made in a thread while the current one is used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")
STOP_POLL_SECONDS = 0.1


def read_ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """Yield the items of an iterator; a thread that ends with the generator makes up to `depth` of them in advance."""
    queue: Queue[tuple[bool, T | BaseException | None]] = Queue(depth)
    is_closed = threading.Event()

    def put(is_item: bool, item: T | BaseException | None) -> None:
        while not is_closed.is_set():
            try:
                queue.put((is_item, item), timeout=STOP_POLL_SECONDS)
            except Full:
                continue
            return

    def produce() -> None:
        try:
            for item in items:
                put(True, item)
                if is_closed.is_set():
                    break
            put(False, None)
        except BaseException as error:
            put(False, error)
        finally:
            close = getattr(items, "close", None)
            if close:
                close()

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            is_item, item = queue.get()
            if not is_item:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        is_closed.set()
        thread.join()
