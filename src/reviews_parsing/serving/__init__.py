"""The server: MLServer with the parser in it. Nothing of MLServer is imported before it is needed."""

from reviews_parsing.serving.ports import free_port
from reviews_parsing.serving.server import serve

__all__ = ["free_port", "serve"]
