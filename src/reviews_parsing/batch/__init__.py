"""Files of reviews in, the same rows with their aspects out; memory flat in the size of the files."""

from reviews_parsing.batch.cluster import Ray
from reviews_parsing.batch.run import parse_files
from reviews_parsing.batch.sources import read_rows
from reviews_parsing.batch.tally import Report

__all__ = ["Ray", "Report", "parse_files", "read_rows"]
