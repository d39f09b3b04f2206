"""The server: MLServer with the parser in it. Nothing of MLServer is imported before it is needed."""

from reviews_parsing.serving.server import serve

__all__ = ["serve"]
