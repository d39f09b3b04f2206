"""The V2 protocol over REST."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from reviews_parsing.parser import AspectParser
from tests.serving.conftest import MODEL, Server, tensor

TEXTS = [
    "The dumplings were divine but our waiter vanished. 🥟 Overpriced wine, though!",
    "Lovely patio\r\n\r\nawful coffee ☕️\r\n",
    "",
    "   \n\t ",
    "Crème brûlée: cre\u0301me de la cre\u0301me 👩🏽‍🍳",
    "Great view, great view, slow service.",
    "料理は美味しい。The staff was kind.",
]
