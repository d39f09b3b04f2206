"""Demo page: parse a review or a file with an inference server, and correct its answers."""

from reviews_parsing.demo.app import serve

__all__ = ["serve"]
