"""Learning tags as sequences: the loss of a linear-chain CRF (`tagging.LinearChainCRF` reads what it learns)."""

from __future__ import annotations

from typing import Any

from reviews_parsing.tagging import may_follow
from reviews_parsing.tagging.crf import Floats

IMPOSSIBLE = -1e4
# Above the smallest number of float32.
LEAST = 1e-37


def crf_layer(tags: int) -> Any:
    """Return a torch CRF layer over `tags` tags, whose `transitions` of shape [tags, tags] start at 0."""
    import torch
    from torch import Tensor, nn

    allowed = torch.from_numpy(may_follow(tags))

    class CRFLayer(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.transitions = nn.Parameter(torch.zeros(tags, tags))

        def forward(self, logits: Tensor, labels: Tensor, starts: Tensor | None = None) -> Tensor:
            """Return the negative log-likelihood, a mean over labelled words; 0 if there are none.

            `logits` of shape [batch, tokens, tags]; `labels` of shape [batch, tokens] are of IOB2, negative on tokens
            that begin no word. Where `starts`, of the same shape, is 1 a word begins a line: a sequence of its own.
            """
            own, word, begins, places = self._words(logits, labels >= 0, starts)
            labels = labels.gather(1, places).clamp(min=0)
            # A window may begin amid a span; by itself it says that the span begins there.
            labels -= (begins & (labels > 0) & (labels % 2 == 0)).long()
            before = torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], dim=1).masked_fill(begins, 0)
            steps = self._steps()
            of_labels = own.gather(2, labels.unsqueeze(-1)).squeeze(-1) + steps[before, labels]
            likelihood = (of_labels * word).sum() - self._log_partition(own, word, begins, steps).sum()
            return -likelihood / word.sum().clamp(min=1)

        def soft(self, logits: Tensor, targets: Tensor, certain: Tensor, words: Tensor, starts: Tensor) -> Tensor:
            """Return the loss of learning the marginals `targets` on the words that are `certain`, a mean over those.

            Its gradient at a certain word is marginals - targets, at any other 0; the transitions learn nothing from
            it. `targets` has the shape of `logits`; `certain`, `words` and `starts` are of shape [batch, tokens].
            """
            own, word, begins, places = self._words(logits, words, starts)
            log_partition = self._log_partition(own, word, begins, self._steps().detach()).sum()
            (marginals,) = torch.autograd.grad(log_partition, own, retain_graph=True)
            sure = certain.gather(1, places).unsqueeze(-1).to(own.dtype) * word.unsqueeze(-1)
            wanted = targets.gather(1, places.unsqueeze(-1).expand(-1, -1, tags)).to(own.dtype)
            goal = sure * wanted + (1 - sure) * marginals
            return (log_partition - (goal * own).sum()) / sure.sum().clamp(min=1)

        def _words(self, logits: Tensor, words: Tensor, starts: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            """Gather words to the front: logits [batch, n, tags]; which are words and begin a sequence; places."""
            counts = words.sum(dim=1)
            length = max(1, int(counts.max()))
            places = (~words).to(torch.uint8).argsort(dim=1, stable=True)[:, :length]
            own = logits.gather(1, places.unsqueeze(-1).expand(-1, -1, tags))
            word = torch.arange(length, device=logits.device) < counts.unsqueeze(1)
            begins = torch.zeros_like(word) if starts is None else starts.gather(1, places) == 1
            begins[:, 0] = True
            return own, word, begins, places

        def _steps(self) -> Tensor:
            return self.transitions.masked_fill(~allowed.to(self.transitions.device), IMPOSSIBLE)

        def _log_partition(self, own: Tensor, word: Tensor, begins: Tensor, steps: Tensor) -> Tensor:
            """Return the logarithm of the sum over all sequences of each row, shape [batch]: the forward algorithm."""
            reached = steps[0] + own[:, 0]
            # A product of small numbers: in bf16 it would be too coarse.
            with torch.autocast(own.device.type, enabled=False):
                weights = steps.exp()
                for at in range(1, own.shape[1]):
                    most = reached.amax(dim=1, keepdim=True).detach()
                    share = (reached - most).exp()
                    # A new line follows every tag as the beginning of a text follows O.
                    on = torch.where(begins[:, at, None], share.sum(dim=1, keepdim=True) * weights[0], share @ weights)
                    further = on.clamp(min=LEAST).log() + most + own[:, at]
                    reached = torch.where(word[:, at, None], further, reached)
            return torch.where(word[:, 0], reached.logsumexp(dim=1), 0)

    return CRFLayer()


def transitions(module: Any) -> Floats:
    """Return what a chain has learnt: shape [tags, tags]."""
    learnt: Floats = module.transitions.detach().float().cpu().numpy()
    return learnt
