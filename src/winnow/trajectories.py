"""The loss of every example at every checkpoint: forward passes that compute nothing nobody asks for.

Rows are sorted by length and batched to a token budget; logits exist only where a label is, some at a time; equal rows
are computed once.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy

from winnow.records.tokens import TokenRow, TokenTable

LOGIT_BYTES = 64 << 20


class ResponseLoss:
    """Mean cross-entropy over the supervised tokens of each row of a batch, in eval mode."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        causal = model.get_base_model() if isinstance(model, PeftModel) else model
        self.body = getattr(causal, causal.base_model_prefix)
        self.head = causal.get_output_embeddings()
        self.has_plain_head: bool | None = None

    @torch.inference_mode()
    def __call__(self, rows: Sequence[TokenRow]) -> np.ndarray:
        """Losses [rows]. The first token of a row has nothing before it, and is never predicted."""
        inputs = self._inputs(rows)
        places = [np.flatnonzero(row.supervised[1:]) for row in rows]
        counts = np.array([len(place) for place in places])
        row = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(inputs["input_ids"].device)
        place = torch.from_numpy(np.concatenate(places)).to(row.device)
        labels = inputs["input_ids"][row, place + 1]
        if self.has_plain_head is None:
            self.has_plain_head = self._try_head(rows)
        if self.has_plain_head:
            hidden = self.body(**inputs).last_hidden_state[row, place]
            cut = max(1, LOGIT_BYTES // (4 * self.head.weight.shape[0]))
            losses = [
                cross_entropy(self.head(part).float(), wanted, reduction="none")
                for part, wanted in zip(hidden.split(cut), labels.split(cut), strict=True)
            ]
        else:
            logits = self.model(**inputs).logits[row, place]
            losses = [cross_entropy(logits.float(), labels, reduction="none")]
        by_token = torch.cat(losses).double().cpu().numpy()
        ends = np.cumsum(counts)
        sums = np.add.reduceat(np.append(by_token, 0.0), ends - counts)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)

    def _inputs(self, rows: Sequence[TokenRow]) -> dict[str, Any]:
        """Padded on the right; without a mask where nothing is padded, which is the faster attention."""
        lengths = np.array([len(row.input_ids) for row in rows])
        ids = np.zeros((len(rows), lengths.max()), np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row.input_ids)] = row.input_ids
        inputs = {"input_ids": torch.from_numpy(ids)}
        if lengths.min() < lengths.max():
            inputs["attention_mask"] = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None]).long()
        device = next(self.model.parameters()).device
        return {**{name: tensor.to(device) for name, tensor in inputs.items()}, "use_cache": False}

    def _try_head(self, rows: Sequence[TokenRow]) -> bool:
        """Whether logits are the head of the hidden states and nothing more: some models scale or cap them.

        To the bit, because a cap far above the logits of an early checkpoint changes them by next to nothing.
        """
        inputs = self._inputs([min(rows, key=lambda row: len(row.input_ids))])
        hidden = self.body(**inputs).last_hidden_state
        return torch.equal(self.head(hidden), self.model(**inputs).logits)


def unique_rows(tokens: TokenTable) -> list[list[str]]:
    """Ids of examples that are equal token for token, in groups; each group is computed once."""
    groups: dict[bytes, list[str]] = {}
    for name in sorted(tokens.ids):
        (row,) = tokens.rows([name])
        content = hashlib.blake2b(row.input_ids.tobytes() + row.supervised.tobytes(), digest_size=16).digest()
        groups.setdefault(content, []).append(name)
    return list(groups.values())
