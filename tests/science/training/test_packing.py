"""Rows that share a sequence: the same losses and gradients, and no way to see each other."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from support.models import MODELS, make_model, make_rows
from winnow.errors import BadSetting
from winnow.records.tokens import TokenRow
from winnow.training.data import IGNORED, collate
from winnow.training.packing import SHORT, first_fit, layout, pack, require_packing

INPUTS = ("input_ids", "attention_mask", "position_ids")


def loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    logits = model(**{name: value for name, value in batch.items() if name in INPUTS}, use_cache=False).logits
    flat = logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
    return cross_entropy(*flat, ignore_index=IGNORED, reduction="sum")


@pytest.mark.parametrize("name", [name for name in MODELS if name != "mistral"])
def test_packed_rows_have_the_losses_and_gradients_of_rows_by_themselves(name: str):
    model = make_model(name, torch.float32 if name == "olmoe" else torch.float64).eval()
    rows = make_rows(9, longest=30)
    packed, plain = pack(rows, 0), collate(rows, 0)
    assert len(packed["input_ids"]) < len(rows)
    gradients = []
    for batch in (packed, plain):
        model.zero_grad()
        value = loss(model, batch)
        value.backward()
        reached = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
        gradients.append((value.item(), torch.cat(reached)))
    tolerance = 1e-4 if name == "olmoe" else 1e-9
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=tolerance)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=tolerance, atol=tolerance)


def test_no_row_learns_to_predict_the_first_token_of_the_next():
    rows = [TokenRow(name, np.arange(1, 5, dtype=np.int32), np.ones(4, bool)) for name in "abc"]
    longer = TokenRow("long", np.arange(1, 13, dtype=np.int32), np.ones(12, bool))
    batch = pack([longer, *rows], 0)
    assert batch["example_ids"] == ["long", "a", "b", "c"]
    assert batch["labels"][1].tolist() == [IGNORED, 2, 3, 4] * 3
    assert batch["position_ids"][1].tolist() == [0, 1, 2, 3] * 3


def test_what_is_left_of_a_sequence_is_a_row_of_its_own():
    lengths = (("a", 7), ("b", 7), ("c", 4))
    rows = [TokenRow(name, np.ones(length, np.int32), np.ones(length, bool)) for name, length in lengths]
    batch = pack(rows, 0)
    assert batch["position_ids"].tolist()[-1] == [0, 1, 2, 3, 0, 1, 2]
    assert batch["labels"][-1, 4:].tolist() == [IGNORED] * 3


@given(st.lists(st.integers(1, 700), min_size=1, max_size=40))
def test_every_row_has_a_place_and_no_layout_has_more_places_than_rows_as_long_as_the_longest(lengths: list[int]):
    sequences, longest = layout(lengths)
    assert sorted(place for sequence in sequences for place in sequence) == list(range(len(lengths)))
    assert max(sum(lengths[place] for place in sequence) for sequence in sequences) == longest
    assert longest <= max(max(lengths), min(2 * max(lengths), SHORT)), "attention would cost more"
    assert len(sequences) * longest <= len(first_fit(lengths, max(lengths))) * max(lengths)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_first_fit_leaves_at_most_one_sequence_half_empty(lengths: list[int]):
    sequences = first_fit(lengths, max(lengths))
    assert sum(sum(lengths[place] for place in sequence) * 2 <= max(lengths) for sequence in sequences) <= 1


class _Blind(torch.nn.Module):
    """A model that looks at no positions."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model("qwen2")
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return self.inner(input_ids=input_ids, use_cache=False)


def test_a_model_whose_rows_see_each_other_is_refused():
    rows = make_rows(4)
    with pytest.raises(BadSetting, match="see each other in _Blind"):
        require_packing(_Blind(), rows, 0)
    for name in MODELS:
        require_packing(make_model(name), rows, 0)


def test_weights_follow_their_rows():
    rows = make_rows(5)
    weights = {row.example_id: float(number) for number, row in enumerate(rows)}
    for arrange in (partial(collate, pad_id=0), partial(pack, pad_id=0)):
        batch = arrange(rows, weights=weights)
        counted = (batch["weights"] * (batch["labels"] != IGNORED))[:, 1:].sum().item()
        assert counted == sum(weights[row.example_id] * row.supervised[1:].sum() for row in rows)
