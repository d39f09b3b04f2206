"""The page that people open: paste a review or upload a file, see what the server makes of it, correct it."""

from reviews_parsing.demo.app import serve

__all__ = ["serve"]
