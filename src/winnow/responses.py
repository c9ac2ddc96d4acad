"""What a causal language model says of the supervised tokens of a batch, and of no others.

Rows are padded on the right without a mask: attention is causal, so that no token sees the padding behind it, and has a
faster kernel for that. Logits are made where a label is, some at a time; so is what the last layer's MLP adds, since
attention has no further use for it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import nn

from winnow.records.tokens import TokenRow

LOGIT_BYTES = 256 << 20


@dataclass(frozen=True)
class Batch:
    """A padded batch. The n supervised tokens are those after ``place`` [n] of ``row`` [n]; ``counts`` [rows]."""

    inputs: dict[str, Any]
    row: torch.Tensor
    place: torch.Tensor
    labels: torch.Tensor
    counts: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and padded tokens of each."""
        rows, length = self.inputs["input_ids"].shape
        return int(rows), int(length)


class Responses:
    """A model in eval mode, taken apart into body and head where its logits are no more than the head's."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        causal = model.get_base_model() if isinstance(model, PeftModel) else model
        self.body = getattr(causal, causal.base_model_prefix)
        self.head = causal.get_output_embeddings()
        self.last_mlp = _last_mlp(self.body)
        self.has_plain_head: bool | None = None

    def batch(self, rows: Sequence[TokenRow]) -> Batch:
        """Pad ``rows``. The first token of a row has nothing before it, and is never predicted."""
        inputs = self._inputs(rows)
        places = [np.flatnonzero(row.supervised[1:]) for row in rows]
        counts = np.array([len(place) for place in places])
        row = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(inputs["input_ids"].device)
        place = torch.from_numpy(np.concatenate(places)).to(row.device)
        if self.has_plain_head is None:
            self.has_plain_head = self._try_head(rows)
        return Batch(inputs, row, place, inputs["input_ids"][row, place + 1], counts)

    def hidden(self, batch: Batch) -> torch.Tensor:
        """What the head is given for each supervised token [n, hidden]."""
        with _only_at(self.last_mlp, batch):
            return self.body(**batch.inputs).last_hidden_state[batch.row, batch.place]

    def logits(self, batch: Batch) -> torch.Tensor:
        """Logits [n, vocabulary] by the model's full forward pass, for a model that scales or caps them."""
        logits: torch.Tensor = self.model(**batch.inputs).logits[batch.row, batch.place]
        return logits

    def whole(self, batch: Batch) -> torch.Tensor:
        """Losses [n] by the model's full forward pass."""
        return token_losses(self.logits(batch), batch.labels)

    def pieces(self, *by_token: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
        """Tensors over the supervised tokens, cut such that the logits of a piece stay small."""
        cut = max(1, LOGIT_BYTES // (4 * self.head.weight.shape[0]))
        return zip(*(tensor.split(cut) for tensor in by_token), strict=True)

    def _inputs(self, rows: Sequence[TokenRow]) -> dict[str, Any]:
        lengths = np.array([len(row.input_ids) for row in rows])
        ids = np.zeros((len(rows), lengths.max()), np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row.input_ids)] = row.input_ids
        device = next(self.model.parameters()).device
        return {"input_ids": torch.from_numpy(ids).to(device), "use_cache": False}

    @torch.no_grad()
    def _try_head(self, rows: Sequence[TokenRow]) -> bool:
        """Whether logits are the head of the hidden states and nothing more: some models scale or cap them.

        To the bit, because a cap far above the logits of an early checkpoint changes them by next to nothing.
        """
        inputs = self._inputs([min(rows, key=lambda row: len(row.input_ids))])
        hidden = self.body(**inputs).last_hidden_state
        return torch.equal(self.head(hidden), self.model(**inputs).logits)


def _last_mlp(body: nn.Module) -> nn.Module | None:
    """The last layer's MLP; experts are left alone: they take all tokens or none."""
    layers = [module for module in body.children() if isinstance(module, nn.ModuleList)]
    mlp = getattr(layers[-1][-1], "mlp", None) if layers and len(layers[-1]) else None
    return None if mlp is None or hasattr(mlp, "experts") else mlp


@contextmanager
def _only_at(mlp: nn.Module | None, batch: Batch) -> Iterator[None]:
    """Let ``mlp`` see the supervised tokens alone, as a narrower batch of the same rows; it says zero of the others."""
    if mlp is None:
        yield
        return
    slot = torch.from_numpy(np.concatenate([np.arange(count) for count in batch.counts])).to(batch.row.device)
    places = torch.zeros(len(batch.counts), max(1, int(batch.counts.max())), dtype=torch.long, device=slot.device)
    places[batch.row, slot] = batch.place
    rows = torch.arange(len(places), device=slot.device)[:, None]
    before, whole = mlp.__dict__.get("forward"), mlp.forward

    def narrow(hidden: torch.Tensor) -> torch.Tensor:
        made = whole(hidden[rows, places])
        return torch.zeros_like(hidden).index_put((batch.row, batch.place), made[batch.row, slot])

    mlp.forward = narrow
    try:
        yield
    finally:
        del mlp.forward
        if before is not None:
            mlp.forward = before


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy [n] of logits [n, vocabulary], in float32 at least; the logits are used up."""
    loss: torch.Tensor = _TokenLosses.apply(logits if logits.dtype == torch.float64 else logits.float(), labels)
    return loss


class _TokenLosses(torch.autograd.Function):
    """Cross-entropy whose probabilities and gradient take the place of the logits, the largest tensor of all."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        wanted = logits.gather(1, labels[:, None])
        largest = logits.amax(dim=1, keepdim=True)
        odds = logits.sub_(largest).exp_()
        total = odds.sum(dim=1, keepdim=True)
        ctx.parts = odds, total, labels
        return (total.log() + largest - wanted).squeeze(1)

    @staticmethod
    def backward(ctx: Any, d: torch.Tensor) -> tuple[torch.Tensor, None]:
        # Once: they are overwritten.
        (odds, total, labels), ctx.parts = ctx.parts, None
        gradient = odds.mul_(d[:, None] / total)
        return gradient.scatter_add_(1, labels[:, None], -d[:, None]), None


def means(by_token: torch.Tensor, counts: np.ndarray) -> np.ndarray:
    """The mean loss of each row [rows]; NaN for a row without a supervised token."""
    losses = by_token.detach().double().cpu().numpy()
    ends = np.cumsum(counts)
    sums = np.add.reduceat(np.append(losses, 0.0), ends - counts)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)
