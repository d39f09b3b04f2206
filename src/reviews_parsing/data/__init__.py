"""Labelled reviews in and out: a small reader and writer per format, the shipped corpus, checks, splits, statistics."""

from reviews_parsing.data.additions import Added, add
from reviews_parsing.data.checks import Finding, check
from reviews_parsing.data.mapping import read_mapping
from reviews_parsing.data.reading import CORPUS, read, read_splits
from reviews_parsing.data.splits import digest, split
from reviews_parsing.data.stats import Statistics, statistics
from reviews_parsing.data.writing import write

__all__ = [
    "CORPUS",
    "Added",
    "Finding",
    "Statistics",
    "add",
    "check",
    "digest",
    "read",
    "read_mapping",
    "read_splits",
    "split",
    "statistics",
    "write",
]
