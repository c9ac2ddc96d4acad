"""Projected features of a batch of rows: the entry point for any causal language model, without the rest of Winnow.

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(...), "checkpoint-100")
gradients = ResponseGradients(model, find_blocks(model))
collect = Collector(gradients, Adam(AdamForm(), *load_moments("checkpoint-100")), [Sketch(32768, seed=0)])
features = collect(rows).features[0]          # [rows, 32768], float32; rows are `TokenRow`s
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from winnow.gradients.blocks import Block
from winnow.gradients.capture import Capture, Sink
from winnow.gradients.features import Feature
from winnow.gradients.sketch import Projection
from winnow.records.tokens import TokenRow
from winnow.responses import Batch, Responses, means, token_losses


@dataclass(frozen=True)
class Collected:
    """Features of a batch [rows, dim], one array per projection, and the rows' losses [rows]."""

    features: list[np.ndarray]
    losses: np.ndarray


class RowGradients(Protocol):
    """A model whose rows' gradients are handed on, block by block."""

    responses: Responses
    blocks: list[Block]
    device: torch.device

    def __call__(self, rows: Sequence[TokenRow], sink: Sink) -> np.ndarray:
        """Hand each block's gradients to ``sink``; returns the losses [rows]."""


class Collector:
    """A model whose rows' gradients become features while the backward pass goes by."""

    def __init__(self, gradients: "RowGradients", feature: Feature, projections: Sequence[Projection]) -> None:
        self.gradients = gradients
        self.feature = feature
        self.projections = list(projections)

    def __call__(self, rows: Sequence[TokenRow]) -> Collected:
        """One forward and one backward pass of all ``rows`` at once."""
        device = self.gradients.device
        sums = [torch.zeros(len(rows), projection.dim, device=device) for projection in self.projections]
        last = len(self.projections) - 1

        def sink(block: Block, gradient: torch.Tensor) -> None:
            for number, (projection, out) in enumerate(zip(self.projections, sums, strict=True)):
                projection.add(block, gradient if number == last else gradient.clone(), self.feature, out)

        losses = self.gradients(rows, sink)
        finished = [projection.finish(out) for projection, out in zip(self.projections, sums, strict=True)]
        return Collected([features.cpu().numpy() for features in finished], losses)


class ResponseGradients:
    """Per-example gradients of the mean loss over each row's supervised tokens, dropout off."""

    def __init__(self, model: Any, blocks: Sequence[Block]) -> None:
        self.responses = Responses(model)
        self.capture = Capture(model, blocks)
        self.blocks = self.capture.blocks
        self.device = next(model.parameters()).device

    def __call__(self, rows: Sequence[TokenRow], sink: Sink) -> np.ndarray:
        """Hand each block's gradients to ``sink``; returns the losses [rows]."""
        batch = self.responses.batch(rows)
        with self.capture.to(sink, *batch.shape):
            return differentiate(self.responses, batch, 1 / np.maximum(batch.counts, 1))


def differentiate(
    responses: Responses,
    batch: Batch,
    weight: np.ndarray,
    relabel: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> np.ndarray:
    """Run the backward pass of the rows' summed losses, times ``weight`` [rows]; returns their mean losses [rows].

    The labels are the rows' own, or what ``relabel`` makes of the logits [n, vocabulary].
    """
    shares = torch.from_numpy(weight).to(batch.row.device)[batch.row]
    if not responses.has_plain_head:
        logits = responses.logits(batch)
        by_token = token_losses(logits, batch.labels if relabel is None else relabel(logits))
        (by_token * shares).sum().backward()
        return means(by_token, batch.counts)
    hidden = responses.hidden(batch)
    # The logits of one piece at a time: its gradient is all that the rest of the backward pass needs.
    losses, gradients = [], []
    for part, wanted, share in responses.pieces(hidden.detach(), batch.labels, shares):
        leaf = part.requires_grad_()
        logits = responses.head(leaf)
        by_token = token_losses(logits, wanted if relabel is None else relabel(logits))
        gradients += torch.autograd.grad((by_token * share).sum(), leaf)
        losses.append(by_token.detach())
    hidden.backward(torch.cat(gradients))
    return means(torch.cat(losses), batch.counts)
