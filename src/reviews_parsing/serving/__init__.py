"""The server: MLServer with the parser in it."""

from reviews_parsing.serving.server import serve

__all__ = ["serve"]
