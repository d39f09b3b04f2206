"""Learning tags as sequences: the negative log-likelihood of a linear chain (`tagging.Chain` reads what it learns)."""

from __future__ import annotations

from typing import Any

from reviews_parsing.tagging import may_follow
from reviews_parsing.tagging.chain import Floats

IMPOSSIBLE = -1e4
# Above the smallest number of float32.
LEAST = 1e-37


def chain(tags: int) -> Any:
    """A torch module over so many tags, whose `transitions` of shape [tags, tags] begin at 0."""
    import torch
    from torch import Tensor, nn

    class Chain(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.transitions = nn.Parameter(torch.zeros(tags, tags))

        def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
            """The mean over labelled words, 0 where there are none.

            `logits` of shape [batch, tokens, tags]; `labels` of shape [batch, tokens] are of IOB2, negative on what is
            no word.
            """
            counts = (labels >= 0).sum(dim=1)
            # Words to the front, in their order.
            places = (labels < 0).to(torch.uint8).argsort(dim=1, stable=True)[:, : max(1, int(counts.max()))]
            labels = labels.gather(1, places).clamp(min=0)
            # A window may begin amid a span; by itself it says that the span begins there.
            labels[:, 0] -= ((labels[:, 0] > 0) & (labels[:, 0] % 2 == 0)).long()
            own = logits.gather(1, places.unsqueeze(-1).expand(-1, -1, tags))
            steps = self.transitions.masked_fill(~torch.from_numpy(may_follow(tags)).to(logits.device), IMPOSSIBLE)
            word = torch.arange(places.shape[1], device=logits.device) < counts.unsqueeze(1)
            before = torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], dim=1)
            of_labels = own.gather(2, labels.unsqueeze(-1)).squeeze(-1) + steps[before, labels]
            reached = steps[0] + own[:, 0]
            # A product of small numbers: in bf16 it would be too coarse.
            with torch.autocast(logits.device.type, enabled=False):
                weights = steps.exp()
                for at in range(1, places.shape[1]):
                    most = reached.amax(dim=1, keepdim=True).detach()
                    further = ((reached - most).exp() @ weights).clamp(min=LEAST).log() + most + own[:, at]
                    reached = torch.where(word[:, at, None], further, reached)
            likelihood = (of_labels * word).sum(dim=1) - reached.logsumexp(dim=1)
            return -(likelihood * (counts > 0)).sum() / counts.sum().clamp(min=1)

    return Chain()


def transitions(module: Any) -> Floats:
    """What a chain has learnt: shape [tags, tags]."""
    learnt: Floats = module.transitions.detach().float().cpu().numpy()
    return learnt
