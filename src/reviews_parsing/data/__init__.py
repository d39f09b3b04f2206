"""Labelled reviews: readers and writers per format, the shipped corpus, checks, splits and statistics."""

from reviews_parsing.data.checks import Finding, check
from reviews_parsing.data.mapping import read_mapping
from reviews_parsing.data.reading import CORPUS_FOLDER, read, read_splits
from reviews_parsing.data.splits import TrainingExtension, compute_digest, extend_training_split, split
from reviews_parsing.data.stats import SplitStatistics, compute_statistics
from reviews_parsing.data.writing import write, write_splits

__all__ = [
    "CORPUS_FOLDER",
    "Finding",
    "SplitStatistics",
    "TrainingExtension",
    "check",
    "compute_digest",
    "compute_statistics",
    "extend_training_split",
    "read",
    "read_mapping",
    "read_splits",
    "split",
    "write",
    "write_splits",
]
