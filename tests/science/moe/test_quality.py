"""Quality is the mean routing probability on real experts, whatever else is in the batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from support.experts import KINDS, tiny_experts
from winnow.moe.convert import new_gates
from winnow.moe.quality import Quality
from winnow.moe.router import TrashRouter, attach
from winnow.records.tokens import TokenRow


def widened(kind: str = "olmoe", std: float = 1.0) -> tuple[Any, dict[str, TrashRouter]]:
    model = tiny_experts(kind)
    gates, _ = new_gates(model, None, std, 0)
    return model, attach(model, gates)


def some_rows(lengths: Sequence[int] = (5, 9, 3, 12)) -> list[TokenRow]:
    random = np.random.default_rng(0)
    return [
        TokenRow(f"row:{n}", random.integers(0, 64, length).astype(np.int32), np.arange(length) >= length // 2)
        for n, length in enumerate(lengths)
    ]


def by_the_text(model: Any, row: TokenRow, counted: np.ndarray) -> tuple[float, list[float], list[float]]:
    """One row at a time, from the hidden states that the routers were given."""
    given: dict[str, torch.Tensor] = {}
    routers = {name: module for name, module in model.named_modules() if isinstance(module, TrashRouter)}
    hooks = [
        router.register_forward_hook(lambda _, inputs, __, name=name: given.__setitem__(name, inputs[0]))
        for name, router in routers.items()
    ]
    with torch.no_grad():
        model(input_ids=torch.from_numpy(row.input_ids.astype(np.int64))[None])
    for hook in hooks:
        hook.remove()
    layers, pooled = [], []
    for name, router in routers.items():
        odds = torch.softmax(given[name].reshape(-1, router.weight.shape[1]) @ router.weight.T, dim=1)
        real = odds[torch.from_numpy(counted)][:, : router.experts]
        layers.append(float(real.sum(dim=1).mean()))
        pooled += real.mean(dim=0).tolist()
    return float(np.mean(layers)), layers, pooled


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", ["all", "supervised"])
def test_quality_is_the_mean_over_layers_and_tokens_of_the_mass_on_real_experts(kind: str, tokens: str):
    model, routers = widened(kind)
    rows = some_rows()
    found = Quality(model, routers, tokens)(rows)
    assert found.quality.min() >= 0
    assert found.quality.max() <= 1
    for number, row in enumerate(rows):
        counted = row.supervised if tokens == "supervised" else np.ones(len(row.input_ids), bool)
        quality, layers, pooled = by_the_text(model, row, counted)
        assert found.quality[number] == pytest.approx(quality, abs=1e-5)
        assert found.by_layer[number] == pytest.approx(layers, abs=1e-5)
        assert found.pooled[number] == pytest.approx(pooled, abs=1e-5)


def test_padding_and_the_order_of_a_batch_change_nothing():
    model, routers = widened()
    rows = some_rows((4, 30, 7))
    score = Quality(model, routers)
    together = score(rows)
    for number, row in enumerate(rows):
        alone = score([row])
        assert alone.quality[0] == pytest.approx(together.quality[number], abs=1e-6)
    turned = score(rows[::-1])
    assert turned.quality[::-1] == pytest.approx(together.quality, abs=1e-6)
    assert turned.pooled[::-1] == pytest.approx(together.pooled, abs=1e-6)


def test_nothing_is_listened_to_afterwards():
    model, routers = widened()
    Quality(model, routers)(some_rows())
    assert all(router.tell is None for router in routers.values())


def test_a_router_that_throws_all_away_leaves_no_quality():
    model, routers = widened()
    for router in routers.values():
        router.weight.data[: router.experts] = 0
        router.weight.data[router.experts :] = 0
    even = Quality(model, routers)(some_rows())
    assert even.quality == pytest.approx(6 / 8, abs=1e-6)
