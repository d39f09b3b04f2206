"""Labelled reviews: readers and writers per format, the shipped corpus, checks, splits and statistics."""

from reviews_parsing.data.checks import LabelFinding, check, check_dataset
from reviews_parsing.data.dataset_problems import check_labelled, check_offsets
from reviews_parsing.data.label_fields import Fields
from reviews_parsing.data.labels import LabelWarning
from reviews_parsing.data.mapping import read_mapping
from reviews_parsing.data.reading import CORPUS_FOLDER, check_own_format, read, read_splits
from reviews_parsing.data.splits import TrainingExtension, compute_digest, extend_training_split, split
from reviews_parsing.data.stats import SplitStatistics, compute_statistics
from reviews_parsing.data.writing import write, write_splits

__all__ = [
    "CORPUS_FOLDER",
    "Fields",
    "LabelFinding",
    "LabelWarning",
    "SplitStatistics",
    "TrainingExtension",
    "check",
    "check_dataset",
    "check_labelled",
    "check_offsets",
    "check_own_format",
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
