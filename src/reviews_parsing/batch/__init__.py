"""Batch parsing: files of reviews in, the same rows with their aspects out, in memory that does not grow with them."""

from reviews_parsing.batch.executors.ray import Ray
from reviews_parsing.batch.inputs import Preview, preview_file, read_rows, read_texts
from reviews_parsing.batch.job import parse_files
from reviews_parsing.batch.parsers import ReviewParser
from reviews_parsing.batch.readers import Limits, ReadOptions
from reviews_parsing.batch.stats import Report

__all__ = [
    "Limits",
    "Preview",
    "Ray",
    "ReadOptions",
    "Report",
    "ReviewParser",
    "parse_files",
    "preview_file",
    "read_rows",
    "read_texts",
]
