"""What one forward pass of the base model says of rows: the loss of their answers, and where they lie.

The embedding is that of RDS+ (https://arxiv.org/abs/2503.01807): the mean of the last hidden states over all tokens of
a row, the i-th weighted by i, so that later tokens, which have seen more of the row, count for more.
"""

from collections.abc import Sequence

import numpy as np
import torch

from winnow.batching import planned_batches
from winnow.errors import BadInput
from winnow.records.tokens import TokenRow
from winnow.responses import Batch, means
from winnow.trajectories import ResponseLoss

STORED = np.float16


class RowPass(ResponseLoss):
    """Losses and embeddings of rows, from the same pass."""

    @torch.inference_mode()
    def losses_and_embeddings(self, rows: Sequence[TokenRow]) -> tuple[np.ndarray, np.ndarray]:
        """Mean losses of the supervised tokens [rows], and unit embeddings [rows, hidden]."""
        batch = self.batch(rows)
        hidden = self.body(**batch.inputs).last_hidden_state
        if self.has_plain_head:
            losses = self.losses(batch, hidden[batch.row, batch.place])
        else:
            losses = means(self.whole(batch), batch.counts)
        return losses, _unit(rows, _weighted_mean(rows, hidden))

    @torch.inference_mode()
    def embeddings(self, rows: Sequence[TokenRow]) -> np.ndarray:
        """Unit embeddings [rows, hidden]."""
        batch: Batch = self.batch(rows)
        return _unit(rows, _weighted_mean(rows, self.body(**batch.inputs).last_hidden_state))

    def alone(self, rows: Sequence[TokenRow], header: np.ndarray, most_rows: int, most_tokens: int) -> np.ndarray:
        """Mean losses [rows] of the same answers without what was asked; batches are cut anew, by their lengths."""
        answers = [answers_alone(row, header) for row in rows]
        losses = np.empty(len(rows), np.float32)
        for batch in planned_batches([len(row.input_ids) for row in answers], most_rows, most_tokens):
            losses[batch] = self([answers[place] for place in batch])
        return losses


def answers_alone(row: TokenRow, header: np.ndarray) -> TokenRow:
    """The supervised tokens of ``row``, each run of them after the ``header`` that begins an answer."""
    edges = np.flatnonzero(np.diff(row.supervised, prepend=False, append=False)).reshape(-1, 2)
    ids: list[np.ndarray] = []
    mask: list[np.ndarray] = []
    for start, end in edges:
        ids += [header, row.input_ids[start:end]]
        mask += [np.zeros(len(header), bool), np.ones(end - start, bool)]
    return TokenRow(row.example_id, np.concatenate(ids), np.concatenate(mask))


def _weighted_mean(rows: Sequence[TokenRow], hidden: torch.Tensor) -> torch.Tensor:
    """[rows, hidden] from [rows, tokens, hidden]; padding has no weight."""
    lengths = torch.tensor([len(row.input_ids) for row in rows], device=hidden.device)
    places = torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=torch.float32)
    weights = places * (places <= lengths[:, None])
    weights /= weights.sum(dim=1, keepdim=True)
    return torch.bmm(weights[:, None], hidden.float()).squeeze(1)


def _unit(rows: Sequence[TokenRow], embeddings: torch.Tensor) -> np.ndarray:
    """Rows of length 1: cosines ask for no more, and halves hold them without overflow."""
    norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    bad = np.flatnonzero(~torch.isfinite(norms[:, 0]).cpu().numpy())
    if len(bad):
        raise BadInput(
            f"The hidden states of {rows[int(bad[0])].example_id!r} are no numbers. The model overflows: set "
            "`baselines.precision: fp32`, or look at the model."
        )
    return (embeddings / norms.clamp_min(torch.finfo(torch.float32).tiny)).cpu().numpy().astype(STORED)
