"""Per-example gradients from one backward pass are those of a loop over single rows."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.functional import cross_entropy

from support.models import MODELS, make_model, make_rows
from winnow.errors import BadInput, BadSetting
from winnow.gradients.blocks import Block, find_blocks, left_out
from winnow.gradients.capture import Capture
from winnow.gradients.collector import ResponseGradients
from winnow.records.tokens import TokenRow
from winnow.responses import token_losses

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def by_loop(model: nn.Module, blocks: list[Block], rows: list[TokenRow]) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Batch 1, the model's own forward pass, all logits, autograd: nothing of what is tested."""
    parameters = dict(model.named_parameters())
    names = list(dict.fromkeys(block.parameter for block in blocks))
    found: dict[str, list[torch.Tensor]] = {block.name: [] for block in blocks}
    losses = []
    for parameter in parameters.values():
        parameter.requires_grad_()
    model.eval()
    for row in rows:
        ids = torch.from_numpy(row.input_ids.astype(np.int64))[None]
        logits = model(input_ids=ids).logits[0, :-1]
        wanted = torch.from_numpy(row.supervised[1:])
        loss = cross_entropy(logits[wanted], ids[0, 1:][wanted])
        gradients = torch.autograd.grad(loss, [parameters[name] for name in names], allow_unused=True)
        by_name = dict(zip(names, gradients, strict=True))
        for block in blocks:
            gradient = by_name[block.parameter]
            whole = torch.zeros_like(parameters[block.parameter]) if gradient is None else gradient
            found[block.name].append(block.of(whole).flatten())
        losses.append(loss.item())
    return {name: torch.stack(gradients) for name, gradients in found.items()}, losses


def by_hooks(model: nn.Module, blocks: list[Block], rows: list[TokenRow]) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    found: dict[str, torch.Tensor] = {}

    def sink(block: Block, gradient: torch.Tensor) -> None:
        assert block.name not in found, "each block is handed on once"
        found[block.name] = gradient.clone()

    losses = ResponseGradients(model, blocks)(rows, sink)
    return found, losses


def relative_error(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert set(found) == set(expected)
    ours = torch.cat([found[name] for name in expected], dim=1)
    theirs = torch.cat([expected[name] for name in expected], dim=1)
    return float(((ours - theirs).norm(dim=1) / theirs.norm(dim=1)).max())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_a_loop_over_single_rows(name: str, lora: bool, dtype: torch.dtype):
    model = make_model(name, dtype, lora)
    blocks = find_blocks(model)
    rows = make_rows()
    found, losses = by_hooks(model, blocks, rows)
    expected, expected_losses = by_loop(model, blocks, rows)
    assert relative_error(found, expected) < TOLERANCE[dtype]
    assert np.allclose(losses, expected_losses, atol=1e-5)
    assert all(gradient.dtype == dtype for gradient in found.values())


@pytest.mark.parametrize("name", MODELS)
def test_every_linear_layer_but_the_head_is_taken_and_nothing_else(name: str):
    blocks = find_blocks(make_model(name))
    parameters = {block.parameter for block in blocks}
    absent = {parameter for parameter, _ in make_model(name).named_parameters()} - parameters
    assert all(
        "norm" in name or "embed" in name or "ln_" in name or ".wte" in name or ".wpe" in name or "head" in name
        for name in absent
    ), absent
    if name == "olmoe":
        experts = [block for block in blocks if block.expert is not None]
        assert len(experts) == 2 * 2 * 6
        assert {block.parameter for block in blocks if "gate.weight" in block.parameter}


def test_an_expert_that_no_token_chose_has_a_gradient_of_zero():
    model = make_model("olmoe")
    blocks = find_blocks(model, ["*experts*"])
    found, _ = by_hooks(model, blocks, make_rows(1, longest=5))
    assert any(not gradient.any() for gradient in found.values())
    assert any(gradient.any() for gradient in found.values())


def test_parameters_and_modules_are_as_before():
    model = make_model("olmoe", lora=True)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    forwards = {name: module.forward for name, module in model.named_modules()}
    by_hooks(model, find_blocks(model, ["*experts*", "*lora_A*"]), make_rows(2))
    assert trained == [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not module._forward_hooks for module in model.modules())
    assert {name: module.forward for name, module in model.named_modules()} == forwards


def test_padding_has_no_effect():
    model = make_model("qwen2", torch.float64, lora=True)
    blocks, rows = find_blocks(model), make_rows(5)
    longest = TokenRow("long", np.arange(1, 50, dtype=np.int32), np.ones(49, bool))
    alone, _ = by_hooks(model, blocks, rows)
    beside, _ = by_hooks(model, blocks, [*rows, longest])
    assert relative_error({name: gradient[:5] for name, gradient in beside.items()}, alone) < 1e-10


@pytest.mark.parametrize("name", ["qwen2", "olmoe"])
def test_the_order_of_a_batch_has_no_effect(name: str):
    model = make_model(name, torch.float64, lora=name == "qwen2")
    blocks, rows = find_blocks(model), make_rows(6)
    order = [4, 0, 5, 2, 1, 3]
    found, _ = by_hooks(model, blocks, rows)
    shuffled, _ = by_hooks(model, blocks, [rows[place] for place in order])
    assert relative_error(shuffled, {block: gradient[order] for block, gradient in found.items()}) < 1e-10


def test_logits_of_large_vocabularies_are_made_in_pieces(monkeypatch: pytest.MonkeyPatch):
    model = make_model("llama", torch.float64)
    blocks, rows = find_blocks(model), make_rows(5)
    whole, _ = by_hooks(model, blocks, rows)
    monkeypatch.setattr("winnow.responses.LOGIT_BYTES", 4 * 61 * 3)
    pieces, _ = by_hooks(model, blocks, rows)
    assert relative_error(pieces, whole) < 1e-10


@pytest.mark.parametrize("name", [name for name in MODELS if name != "olmoe"])
def test_the_last_mlp_is_given_supervised_tokens_alone(name: str):
    """That it changes nothing is what the comparison with the loop shows."""
    model, rows = make_model(name), make_rows(4)
    gradients = ResponseGradients(model, find_blocks(model))
    seen: list[torch.Size] = []
    next(gradients.responses.last_mlp.children()).register_forward_hook(
        lambda _, given, __: seen.append(given[0].shape)
    )
    gradients(rows[:1], lambda *_: None)
    seen.clear()
    gradients(rows, lambda *_: None)
    supervised = [int(row.supervised[1:].sum()) for row in rows]
    assert [shape[:2] for shape in seen] == [(4, max(supervised))]
    assert max(supervised) < max(len(row.input_ids) for row in rows)


def test_token_losses_are_the_cross_entropy_and_so_is_their_gradient():
    logits = torch.randn(7, 11, dtype=torch.float64, requires_grad=True)
    labels, weight = torch.randint(11, (7,)), torch.rand(7, dtype=torch.float64)
    expected = cross_entropy(logits, labels, reduction="none")
    (gradient,) = torch.autograd.grad((expected * weight).sum(), logits)
    ours = token_losses(logits * 1.0, labels)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(torch.autograd.grad((ours * weight).sum(), logits)[0], gradient)
    huge = torch.tensor([[1e4, -1e4, 0.0]])
    torch.testing.assert_close(token_losses(huge, torch.tensor([2])), torch.tensor([1e4]))


def test_a_model_that_caps_its_logits_is_taken_at_its_word():
    model = make_model("qwen2", torch.float64)
    forward = model.forward

    def capped(*arguments: object, **named: object) -> object:
        out = forward(*arguments, **named)
        out.logits = 2.0 * torch.tanh(out.logits / 2.0)
        return out

    model.forward = capped
    blocks, rows = find_blocks(model, ["*layers.1*proj.weight"]), make_rows(3)
    assert relative_error(by_hooks(model, blocks, rows)[0], by_loop(model, blocks, rows)[0]) < 1e-10


def test_a_layer_used_twice_has_the_sum_of_its_uses():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(torch.tanh(self.inner(x)))

    torch.manual_seed(0)
    model, x = Twice().double(), torch.randn(5, 4, dtype=torch.float64)
    found: dict[str, torch.Tensor] = {}
    with Capture(model, find_blocks(model)).to(lambda block, gradient: found.update({block.name: gradient}), 5):
        model(x).square().sum().backward()
    for row in range(5):
        model.zero_grad()
        model(x[row : row + 1]).square().sum().backward()
        assert torch.allclose(found["inner.weight"][row], model.inner.weight.grad.flatten(), atol=1e-12)
        assert torch.allclose(found["inner.bias"][row], model.inner.bias.grad, atol=1e-12)


def test_a_use_that_nothing_came_of_takes_nothing_away():
    model = nn.Linear(4, 4).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    found: dict[str, torch.Tensor] = {}
    with Capture(model, find_blocks(model)).to(lambda block, gradient: found.update({block.name: gradient}), 5):
        loss = model(x).square().sum()
        model(2 * x)
        loss.backward()
    expected = 2 * model(x).detach()
    assert torch.allclose(found["bias"], expected, atol=1e-12)


def test_ridge_regression_has_its_closed_form():
    """One layer, squared loss: the gradient of example i is 2 (w x_i - y_i) x_i."""
    torch.manual_seed(0)
    model = nn.Linear(7, 1, bias=False).double()
    x, y = torch.randn(9, 7, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    found: dict[str, torch.Tensor] = {}
    with Capture(model, find_blocks(model)).to(lambda block, gradient: found.update({block.name: gradient}), 9):
        (model(x)[:, 0] - y).square().sum().backward()
    residual = (x @ model.weight[0] - y).detach()
    assert torch.allclose(found["weight"], 2 * residual[:, None] * x, atol=1e-12)


def test_rows_that_cannot_be_told_apart_are_refused():
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x[:3])

    model = Mixing()
    with (
        pytest.raises(BadInput, match="its rows cannot be told apart"),
        Capture(model, find_blocks(model)).to(lambda *_: None, 5),
    ):
        model(torch.randn(5, 4)).sum().backward()


def test_names_that_fit_nothing_are_a_clear_error():
    model = make_model("qwen2", lora=True)
    with pytest.raises(BadSetting, match=r"gradients\.parameters.*no parameter fits"):
        find_blocks(model, ["*nothing*"])
    with pytest.raises(BadSetting, match="belongs to no linear layer"):
        find_blocks(model, ["*norm*"])
    assert left_out(model, find_blocks(model)) == []
    assert len(left_out(model, find_blocks(model, ["*lora_A*"]))) == 14


def test_an_adapter_that_cannot_be_captured_whole_is_refused():
    options = {"target_modules": ["q_proj"], "target_parameters": ["gate.weight"]}
    model = get_peft_model(make_model("olmoe"), LoraConfig(task_type="CAUSAL_LM", r=2, **options))
    with pytest.raises(BadSetting, match=r"parameters of the adapter belong to no layer.*gradients\.parameters"):
        find_blocks(model)
    blocks = find_blocks(model, ["*q_proj.lora_?.*"])
    assert len(blocks) == 4
    rows = make_rows(3)
    assert relative_error(by_hooks(model, blocks, rows)[0], by_loop(model, blocks, rows)[0]) < 1e-5
    assert left_out(model, blocks)


def test_an_adapter_of_dora_is_refused():
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], use_dora=True)
    model = get_peft_model(make_model("qwen2"), config)
    with pytest.raises(BadSetting, match="6 parameters of the adapter belong to no layer"):
        find_blocks(model)
    with pytest.raises(BadSetting, match="belongs to no linear layer"):
        find_blocks(model, ["*lora_A*"])


def test_bf16_bodies_have_gradients_in_float32():
    exact = make_model("qwen2", lora=True)
    model = make_model("qwen2", torch.bfloat16, lora=True)
    blocks, rows = find_blocks(model), make_rows(4)
    found, _ = by_hooks(model, blocks, rows)
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    assert relative_error(found, by_loop(exact, blocks, rows)[0]) < 0.2
