"""Executors of the parts of a folder: this process, or a Ray cluster, behind one Protocol."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reviews_parsing.batch.parsers import ReviewParser
from reviews_parsing.batch.plan import Options, Plan
from reviews_parsing.batch.readers import Part
from reviews_parsing.batch.stats import Stats
from reviews_parsing.io.filesystems import Folder


@dataclass(frozen=True, slots=True)
class PartsJob:
    """Parts to parse, with parser, plan, options and output folder; `manifest` is sent to the workers."""

    parser: ReviewParser
    plan: Plan
    parts: Sequence[Part]
    options: Options
    folder: Folder
    manifest: dict[str, Any]


class Executor(Protocol):
    """Protocol of executors, which parse the parts of a folder."""

    def run(self, job: PartsJob) -> Generator[tuple[int, Stats]]:
        """Parse and write the parts; yields the rows that were done since the last yield, and their counters.

        Raises DataError if an input cannot be read or a part cannot be written.
        """
