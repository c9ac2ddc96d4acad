"""How much of an example a selector keeps: the routing probability that is on real experts.

The mean over layers and valid tokens; no head is needed, and padding never counts. With it come the mean probabilities
of the real experts, by which examples that take the same way through the model are told to be alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from peft import PeftModel

from winnow.moe.router import TrashRouter, listening
from winnow.records.tokens import TokenRow

Which = Literal["all", "supervised"]


@dataclass(frozen=True)
class Scored:
    """Of each row its quality, that of each layer, and the mean probability of each layer's real experts."""

    quality: np.ndarray
    by_layer: np.ndarray
    pooled: np.ndarray


class Quality:
    """Scores rows in one forward pass of the model's body."""

    def __init__(self, model: Any, routers: Mapping[str, TrashRouter], tokens: Which = "all") -> None:
        causal = model.get_base_model() if isinstance(model, PeftModel) else model
        self.body = getattr(causal, causal.base_model_prefix).eval()
        self.routers = dict(routers)
        self.tokens = tokens
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def __call__(self, rows: Sequence[TokenRow]) -> Scored:
        """Rows are padded on the right; attention is causal, so that no token sees the padding behind it."""
        ids, counted = self._batch(rows)
        pooled: dict[str, torch.Tensor] = {}

        def tell(name: str, logits: torch.Tensor) -> None:
            odds = torch.softmax(logits, dim=-1, dtype=torch.float)[:, : self.routers[name].experts]
            # The mean over the counted tokens of each row.
            pooled[name] = torch.bmm(counted[:, None], odds.view(*ids.shape, -1)).squeeze(1)

        with listening(self.routers, tell):
            self.body(input_ids=ids, use_cache=False)
        by_layer = torch.stack([pooled[name].sum(dim=1) for name in self.routers], dim=1)
        joined = torch.cat([pooled[name] for name in self.routers], dim=1)
        return Scored(by_layer.mean(dim=1).cpu().numpy(), by_layer.cpu().numpy(), joined.cpu().numpy())

    def _batch(self, rows: Sequence[TokenRow]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids [rows, tokens], and the weight of each token in its row's mean."""
        longest = max(len(row.input_ids) for row in rows)
        ids = np.zeros((len(rows), longest), np.int64)
        counted = np.zeros((len(rows), longest), np.float32)
        for number, row in enumerate(rows):
            length = len(row.input_ids)
            ids[number, :length] = row.input_ids
            counted[number, :length] = row.supervised if self.tokens == "supervised" else 1.0
        counted /= np.maximum(counted.sum(axis=1, keepdims=True), 1)
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(counted).to(self.device)
