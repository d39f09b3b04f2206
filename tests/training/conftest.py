from __future__ import annotations

import pytest
from tokenizers import Tokenizer


@pytest.fixture(scope="package")
def tokenizer(backbone_tokenizer: str) -> Tokenizer:
    """The embedded backbone's, as training has it."""
    found = Tokenizer.from_file(backbone_tokenizer)
    found.no_truncation()
    found.no_padding()
    return found
