"""Files of reviews in, the same rows with their aspects out; memory flat in the size of the files."""

from reviews_parsing.batch.run import Report, parse_files
from reviews_parsing.batch.sources import read_rows

__all__ = ["Report", "parse_files", "read_rows"]
