"""Shared fixtures of the training tests."""

from __future__ import annotations

import pytest

from reviews_parsing.training.backbone import EMBEDDED, load_tokenizer


@pytest.fixture(scope="session")
def small_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a backbone of one narrow layer with random weights and the tokenizer of the embedded backbone."""
    from transformers import BertConfig, BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("backbone")
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    tokenizer = load_tokenizer(EMBEDDED)
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
