"""Training of linear-chain CRFs; `tagging.LinearChainCRF` is their inference."""

from __future__ import annotations

from typing import Any

from reviews_parsing.tagging import allowed_transitions
from reviews_parsing.tagging.crf import Floats

FORBIDDEN_LOGIT = -1e4
# A little above the smallest normal float32.
MIN_WEIGHT = 1e-37


def crf_layer(tags: int) -> Any:
    """Return a torch CRF layer over `tags` tags, with `transitions` of shape [tags, tags] initialised to 0."""
    import torch
    from torch import Tensor, nn

    allowed = torch.from_numpy(allowed_transitions(tags))

    class CRFLayer(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.transitions = nn.Parameter(torch.zeros(tags, tags))

        def forward(self, logits: Tensor, labels: Tensor, starts: Tensor | None = None) -> Tensor:
            """Return the mean negative log-likelihood over labelled words, 0 without labelled words.

            `logits` have shape [batch, tokens, tags]; `labels` of shape [batch, tokens] are IOB2 tags, negative on
            tokens that do not begin a word. A word at which `starts`, of the same shape, is 1 begins a new sequence.
            """
            logits, is_word, begins, positions = self._gather_words(logits, labels >= 0, starts)
            labels = labels.gather(1, positions).clamp(min=0)
            # A window may start inside a span: read the I tag of its first word as a B tag.
            labels -= (begins & (labels > 0) & (labels % 2 == 0)).long()
            previous = torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], dim=1).masked_fill(begins, 0)
            steps = self._masked_transitions()
            scores = logits.gather(2, labels.unsqueeze(-1)).squeeze(-1) + steps[previous, labels]
            likelihood = (scores * is_word).sum() - self._log_partition(logits, is_word, begins, steps).sum()
            return -likelihood / is_word.sum().clamp(min=1)

        def soft(self, logits: Tensor, targets: Tensor, certain: Tensor, words: Tensor, starts: Tensor) -> Tensor:
            """Return the loss of the marginals against `targets` on the words that are `certain`, a mean over them.

            Its gradient is marginals - targets at certain words and 0 at others; transitions get no gradient. `targets`
            have the shape of `logits`; `certain`, `words` and `starts` have shape [batch, tokens].
            """
            logits, is_word, begins, positions = self._gather_words(logits, words, starts)
            steps = self._masked_transitions().detach()
            log_partition = self._log_partition(logits, is_word, begins, steps).sum()
            (marginals,) = torch.autograd.grad(log_partition, logits, retain_graph=True)
            weights = certain.gather(1, positions).unsqueeze(-1).to(logits.dtype) * is_word.unsqueeze(-1)
            targets = targets.gather(1, positions.unsqueeze(-1).expand(-1, -1, tags)).to(logits.dtype)
            goal = weights * targets + (1 - weights) * marginals
            return (log_partition - (goal * logits).sum()) / weights.sum().clamp(min=1)

        def _gather_words(
            self, logits: Tensor, words: Tensor, starts: Tensor | None
        ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            """Return the logits of the words alone [batch, n, tags], and masks and token positions [batch, n].

            The masks are of words (not padding) and of words that begin a sequence.
            """
            counts = words.sum(dim=1)
            length = max(1, int(counts.max()))
            positions = (~words).to(torch.uint8).argsort(dim=1, stable=True)[:, :length]
            word_logits = logits.gather(1, positions.unsqueeze(-1).expand(-1, -1, tags))
            is_word = torch.arange(length, device=logits.device) < counts.unsqueeze(1)
            begins = torch.zeros_like(is_word) if starts is None else starts.gather(1, positions) == 1
            begins[:, 0] = True
            return word_logits, is_word, begins, positions

        def _masked_transitions(self) -> Tensor:
            return self.transitions.masked_fill(~allowed.to(self.transitions.device), FORBIDDEN_LOGIT)

        def _log_partition(self, logits: Tensor, is_word: Tensor, begins: Tensor, steps: Tensor) -> Tensor:
            """Return the log partition function of each row, shape [batch], by the forward algorithm."""
            messages = steps[0] + logits[:, 0]
            # Products of small weights need more precision than bf16.
            with torch.autocast(logits.device.type, enabled=False):
                weights = steps.exp()
                for i in range(1, logits.shape[1]):
                    maxima = messages.amax(dim=1, keepdim=True).detach()
                    scaled = (messages - maxima).exp()
                    # A new sequence may follow any tag, and starts like a text: after O.
                    new_sequence = scaled.sum(dim=1, keepdim=True) * weights[0]
                    sums = torch.where(begins[:, i, None], new_sequence, scaled @ weights)
                    extended = sums.clamp(min=MIN_WEIGHT).log() + maxima + logits[:, i]
                    messages = torch.where(is_word[:, i, None], extended, messages)
            return torch.where(is_word[:, 0], messages.logsumexp(dim=1), 0)

    return CRFLayer()


def transitions(layer: Any) -> Floats:
    """Return the transitions of a CRF layer as an array of shape [tags, tags]."""
    array: Floats = layer.transitions.detach().float().cpu().numpy()
    return array
