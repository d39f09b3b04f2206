"""V2 inference server: MLServer with the parser as its runtime."""

from reviews_parsing.serving.server import serve

__all__ = ["serve"]
