"""Stage 1: the loss is cross-entropy and the constraint, of which routers alone learn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from support.experts import tiny_experts
from winnow.moe.convert import load_gates, new_gates, widen
from winnow.moe.router import TrashRouter, attach, listening
from winnow.moe.training import TOKENS, SelectorTraining
from winnow.params import ConstraintParams, SelectMoeParams
from winnow.records.tokens import TokenRow
from winnow.training.data import IGNORED, collate

PARAMS = SelectMoeParams(constraint=ConstraintParams(weight=0.5))


def selector(params: SelectMoeParams = PARAMS) -> tuple[Any, dict[str, TrashRouter], SelectorTraining]:
    model = tiny_experts()
    gates, conversion = new_gates(model, None, 0.5, 0)
    routers = attach(model, gates)
    model.requires_grad_(False)
    for router in routers.values():
        router.requires_grad_(True)
    return model, routers, SelectorTraining(model, routers, conversion, params)


def batch(lengths: tuple[int, ...] = (6, 11, 4)) -> dict[str, Any]:
    random = np.random.default_rng(1)
    rows = [
        TokenRow(f"r:{n}", random.integers(1, 64, size).astype(np.int32), np.arange(size) >= 2)
        for n, size in enumerate(lengths)
    ]
    made = collate(rows, pad_id=0)
    made.pop("example_ids")
    return made


@pytest.mark.parametrize("tokens", ["all", "supervised"])
def test_the_loss_is_cross_entropy_and_the_mean_constraint(tokens: str):
    params = PARAMS.model_copy(update={"tokens": tokens})
    model, routers, module = selector(params)
    inputs = batch()
    loss = module(**inputs)["loss"]

    seen: dict[str, torch.Tensor] = {}
    with listening(routers, seen.__setitem__):
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    expected = cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten(), ignore_index=IGNORED)
    counted = inputs["labels"] != IGNORED if tokens == "supervised" else inputs["attention_mask"] == 1
    held = []
    for name, router in routers.items():
        r = torch.softmax(seen[name][counted.flatten()], dim=1)[:, router.experts :].sum(dim=1)
        held.append((-r.log() - (1 - r).log()).mean())
    assert float(loss) == pytest.approx(float(expected + 0.5 * torch.stack(held).mean()), rel=1e-5)


@pytest.mark.parametrize("tokens", ["all", "supervised"])
def test_micro_batches_add_up_to_the_whole_batch(tokens: str):
    """Two parts of unequal length, told how many tokens the whole has, give the whole's gradient."""
    _, _, module = selector(PARAMS.model_copy(update={"tokens": tokens}))
    whole = batch()
    total = int((whole["labels"][:, 1:] != IGNORED).sum())
    counts = {"num_items_in_batch": total, TOKENS: int(whole["attention_mask"].sum())}
    module(**whole)["loss"].backward()
    expected = {name: value.grad.clone() for name, value in module.trained.items()}
    module.zero_grad()
    for rows in (slice(0, 1), slice(1, 3)):
        module(**{name: values[rows] for name, values in whole.items()}, **counts)["loss"].backward()
    for name, value in module.trained.items():
        torch.testing.assert_close(value.grad, expected[name], rtol=1e-4, atol=1e-7)


def test_only_routers_learn_and_only_they_are_saved(tmp_path: Path):
    model, routers, module = selector()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    module(**batch())["loss"].backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{name}.weight" for name in routers}
    assert set(module.state_dict()) == {f"trained.{name.replace('.', '/')}/weight" for name in routers}
    module.save_pretrained(tmp_path)
    again = tiny_experts()
    loaded = widen(again, tmp_path)
    assert all(torch.equal(loaded[name].weight, router.weight) for name, router in routers.items())


def test_adapters_of_gates_are_saved_as_the_gates_they_make(tmp_path: Path):
    model = tiny_experts()
    gates, conversion = new_gates(model, None, 0.5, 0)
    routers = attach(model, gates)
    config = LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=[], target_parameters=["gate.weight"])
    adapted = get_peft_model(model, config)
    module = SelectorTraining(adapted, routers, conversion, PARAMS)
    assert all("lora_" in name for name in module.trained)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    for _ in range(2):
        module(**batch())["loss"].backward()
        optimizer.step()
    expected = adapted(input_ids=batch()["input_ids"]).logits
    module.save_pretrained(tmp_path)
    assert any(not torch.equal(gate, gates[name]) for name, gate in load_gates(tmp_path)[0].items())
    again = tiny_experts()
    widen(again, tmp_path)
    torch.testing.assert_close(again(input_ids=batch()["input_ids"]).logits, expected, rtol=1e-4, atol=1e-6)


def test_what_is_told_are_means_over_tokens():
    _, routers, module = selector()
    module(**batch((6,)))
    module(**batch((11, 4)))
    told = module.told()
    assert set(told) == {"ce", "constraint", "trash_share", "trash_mass/layer_0", "trash_mass/layer_1"}
    assert 0 < told["trash_share"] <= 1
    _, _, alone = selector()
    masses, sizes = [], []
    for lengths in ((6,), (11, 4)):
        alone(**batch(lengths))
        masses.append(alone.told()["trash_mass/layer_1"])
        sizes.append(sum(lengths))
    assert told["trash_mass/layer_1"] == pytest.approx(np.average(masses, weights=sizes), rel=1e-5)
    assert len(routers) == 2
