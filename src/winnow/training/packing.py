"""Short rows share a sequence, and do not see each other.

The rows of a micro-batch stay what they are, and so does the loss; only their layout changes. Sequences are as long as
the longest row; short ones up to twice as long where that leaves less padding, as long as attention costs little. There
is no attention mask: models tell rows apart by positions that begin again at 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from winnow.errors import BadSetting
from winnow.records.tokens import TokenRow
from winnow.training.data import IGNORED, Rows, collate

# Up to here attention costs little beside the matrix products of a layer.
SHORT = 512
TRIED = 8
# Of logits: another order of sums in fp32 gives 1e-5.
TOLERANCE = 1e-3


def pack(rows: Sequence[TokenRow], pad_id: int, weights: Mapping[str, float] | None = None) -> dict[str, Any]:
    """A micro-batch in the sequences that leave the least padding."""
    sequences, longest = layout([len(row.input_ids) for row in rows])
    shape = (len(sequences), longest)
    batch = {"input_ids": torch.full(shape, pad_id), "labels": torch.full(shape, IGNORED)}
    batch["position_ids"] = torch.zeros(shape, dtype=torch.long)
    if weights is not None:
        batch["weights"] = torch.zeros(shape)
    for number, sequence in enumerate(sequences):
        start = 0
        for row in (rows[place] for place in sequence):
            _put(batch, number, start, row, weights)
            start += len(row.input_ids)
        # What is left is a row of its own, of which nothing is learnt.
        batch["position_ids"][number, start:] = torch.arange(longest - start)
    return {**batch, "example_ids": [rows[place].example_id for sequence in sequences for place in sequence]}


def _put(batch: dict[str, Any], number: int, start: int, row: TokenRow, weights: Mapping[str, float] | None) -> None:
    length = len(row.input_ids)
    tokens = torch.from_numpy(row.input_ids.astype(np.int64))
    place = slice(start, start + length)
    batch["input_ids"][number, place] = tokens
    batch["position_ids"][number, place] = torch.arange(length)
    batch["labels"][number, place] = torch.where(torch.from_numpy(row.supervised), tokens, IGNORED)
    # The row before must not learn to predict this one.
    batch["labels"][number, start] = IGNORED
    if weights is not None:
        batch["weights"][number, place] = weights[row.example_id]


def layout(lengths: Sequence[int]) -> tuple[list[list[int]], int]:
    """Places of the rows in each sequence, and how long these are: of all that were tried what has the fewest places.

    The shortest of several that are as good.
    """
    longest = max(lengths)
    room = max(longest, min(2 * longest, SHORT))
    found = []
    for capacity in sorted({longest + (room - longest) * step // TRIED for step in range(TRIED + 1)}):
        sequences = first_fit(lengths, capacity)
        found.append((sequences, max(sum(lengths[place] for place in sequence) for sequence in sequences)))
    return min(found, key=lambda one: len(one[0]) * one[1])


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Places of the rows in each sequence of at most ``capacity``: long rows first, each where it fits."""
    room: list[int] = []
    sequences: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        found = next((number for number, left in enumerate(room) if left >= lengths[place]), len(room))
        if found == len(room):
            room.append(capacity)
            sequences.append([])
        room[found] -= lengths[place]
        sequences[found].append(place)
    return sequences


@torch.no_grad()
def require_packing(model: Any, rows: Rows, pad_id: int) -> None:
    """Refuse a model whose rows see each other when they share a sequence: not all architectures look at positions.

    How much it matters is measured, too: with positions that go on, rows do see each other.
    """
    few = sorted((rows[place] for place in range(min(8, len(rows)))), key=lambda row: len(row.input_ids))[:2]
    if len(few) < 2:
        return
    # A row of their joint length makes room for both.
    both = TokenRow("both", np.concatenate([row.input_ids for row in few]), np.concatenate([r.supervised for r in few]))
    packed = pack([both, *few], pad_id)
    second = {name: packed[name][1:] for name in ("input_ids", "position_ids")}
    mixed = {**second, "position_ids": torch.arange(second["input_ids"].shape[1])[None]}
    was_training = model.training
    model.eval()
    first, last = (few[[row.example_id for row in few].index(name)] for name in packed["example_ids"][1:])
    alone = _logits(model, collate([last], pad_id))[0]
    apart, seen = (_logits(model, inputs)[0, len(first.input_ids) :] for inputs in (second, mixed))
    model.train(was_training)
    gap, contaminated = (float((logits - alone).abs().max()) for logits in (apart, seen))
    if gap > max(contaminated / 10, TOLERANCE * float(alone.abs().max())):
        raise BadSetting(
            f"`finetune.packing` is true, but rows that share a sequence see each other in {type(model).__name__}: "
            f"logits differ by {gap:.2g}. Set it to false for this model."
        )


def _logits(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    names = {"input_ids", "attention_mask", "position_ids"} & batch.keys()
    inputs = {name: batch[name].to(model.device) for name in names}
    logits: torch.Tensor = model(**inputs, use_cache=False).logits.float()
    return logits
