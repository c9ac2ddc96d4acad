"""The loss of every example at every checkpoint: forward passes that compute nothing nobody asks for.

Rows are sorted by length and batched to a token budget; logits exist only where a label is, some at a time; equal rows
are computed once.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from winnow.records.tokens import TokenRow, TokenTable
from winnow.responses import Batch, Responses, means, token_losses


class ResponseLoss(Responses):
    """Mean cross-entropy over the supervised tokens of each row of a batch, in eval mode."""

    @torch.inference_mode()
    def __call__(self, rows: Sequence[TokenRow]) -> np.ndarray:
        """Losses [rows]."""
        batch = self.batch(rows)
        if not self.has_plain_head:
            return means(self.whole(batch), batch.counts)
        return self.losses(batch, self.hidden(batch))

    def losses(self, batch: Batch, hidden: torch.Tensor) -> np.ndarray:
        """Losses [rows] from what the head is given for each supervised token."""
        pieces = self.pieces(hidden, batch.labels)
        return means(torch.cat([token_losses(self.head(part), wanted) for part, wanted in pieces]), batch.counts)


def unique_rows(tokens: TokenTable) -> list[list[str]]:
    """Ids of examples that are equal token for token, in groups; each group is computed once."""
    groups: dict[bytes, list[str]] = {}
    for name in sorted(tokens.ids):
        (row,) = tokens.rows([name])
        content = hashlib.blake2b(row.input_ids.tobytes() + row.supervised.tobytes(), digest_size=16).digest()
        groups.setdefault(content, []).append(name)
    return list(groups.values())
