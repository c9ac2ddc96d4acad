"""The rows of a training mix in the order they are trained on, and their batches."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from winnow.errors import NothingToTrainOn
from winnow.params import FinetuneParams
from winnow.records.tokens import TokenRow, TokenTable

IGNORED = -100


def expand(mix: dict[str, int], seed: int, steps: int | None, epochs: float, batch: int) -> list[str]:
    """Example ids in training order: every epoch holds each row as often as its multiplicity, shuffled anew.

    The order depends on the mix, the seed and nothing else, so any number of processes trains the same batches.
    """
    once = np.repeat(sorted(mix), [mix[name] for name in sorted(mix)])
    if not len(once):
        raise NothingToTrainOn(f"A mix of {len(mix)} rows has no row once. Choose at least one row to train on.")
    wanted = steps * batch if steps is not None else max(batch, round(epochs * len(once) / batch) * batch)
    random = np.random.default_rng(seed)
    order: list[str] = []
    while len(order) < wanted:
        order.extend(once[random.permutation(len(once))].tolist())
    return order[:wanted]


def lay_out(mix: dict[str, int], seed: int, params: FinetuneParams) -> tuple[list[str], dict[str, float] | None]:
    """The order of a training, and the weight of each row's loss, where multiplicity counts as that."""
    if params.weighting == "repeat":
        return expand(mix, seed, params.steps, params.epochs, params.batch), None
    order = expand(dict.fromkeys(mix, 1), seed, params.steps, params.epochs, params.batch)
    return order, {name: float(count) for name, count in mix.items()}


class Rows(Dataset[TokenRow]):
    """Token rows in training order."""

    def __init__(self, table: TokenTable, order: Sequence[str]) -> None:
        self.table = table
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> TokenRow:
        return self.table.rows([self.order[place]])[0]

    def tokens(self) -> int:
        """All tokens of the training, a repeated row's each time."""
        counts = Counter(self.order)
        return sum(len(row.input_ids) * counts[row.example_id] for row in self.table.rows(list(counts)))


def collate(rows: Sequence[TokenRow], pad_id: int, weights: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Pad on the right; labels are the supervised tokens, everything else is ignored by the loss."""
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for number, row in enumerate(rows):
        length = len(row.input_ids)
        tokens = torch.from_numpy(row.input_ids.astype(np.int64))
        ids[number, :length] = tokens
        mask[number, :length] = 1
        labels[number, :length] = torch.where(torch.from_numpy(row.supervised), tokens, IGNORED)
    names = [row.example_id for row in rows]
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels, "example_ids": names}
    if weights is not None:
        batch["weights"] = torch.tensor([[weights[name]] for name in names]).expand(-1, longest)
    return batch
