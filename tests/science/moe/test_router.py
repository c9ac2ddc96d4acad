"""Without its trash rows a widened model is the base model; with them a token that is thrown away gets nothing."""

import re
from typing import Any

import pytest
import torch
from torch import nn
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from support.experts import KINDS, tiny_experts
from winnow.errors import BadInput
from winnow.moe.convert import new_gates
from winnow.moe.router import TrashRouter, attach, find_routers, listening, trash_mass, without_trash

KERNELS = ("eager", "grouped_mm", "batched_mm")
DTYPES = (torch.float32, torch.bfloat16)
TOKENS = torch.arange(40).reshape(2, 20)


def logits_of(model: Any, kernel: str) -> torch.Tensor:
    model.set_experts_implementation(kernel)
    with torch.no_grad():
        return model(TOKENS).logits


def widened(model: Any, trash: int | None = None, std: float = 1.0) -> dict[str, TrashRouter]:
    gates, _ = new_gates(model, trash, std, 0)
    return attach(model, gates)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_without_trash_rows_logits_are_those_of_the_base_bit_for_bit(kind: str, dtype: torch.dtype, kernel: str):
    model = tiny_experts(kind, dtype)
    expected = logits_of(model, kernel)
    routers = widened(model)
    assert not torch.equal(logits_of(model, kernel), expected)
    with without_trash(routers):
        assert torch.equal(logits_of(model, kernel), expected)


@pytest.mark.parametrize(("experts", "trash"), [(3, 1), (6, 7), (8, 8), (10, 8), (15, 2), (64, 8), (128, 8)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_this_holds_for_any_number_of_rows(experts: int, trash: int, dtype: torch.dtype):
    """A softmax over more columns adds up in another order, even where these are nothing."""
    model = tiny_experts("olmoe", dtype, num_experts=experts)
    expected = logits_of(model, "eager")
    with without_trash(widened(model, trash)):
        assert torch.equal(logits_of(model, "eager"), expected)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("kind", ["olmoe", "qwen3_moe"])
def test_weights_are_renormalised_where_the_model_does_so_before_trash_is_dropped(kind: str, normalised: bool):
    model = tiny_experts(kind, norm_topk_prob=normalised)
    router = next(iter(widened(model, 6).values()))
    assert router.renormalise is normalised
    hidden = torch.randn(50, 16)
    logits, weights, index = router(hidden)
    odds, chosen = torch.softmax(hidden @ router.weight.T, dim=-1).topk(2, dim=-1)
    expected = (odds / odds.sum(1, keepdim=True) if normalised else odds) * (chosen < 6)
    assert logits.shape == (50, 12)
    assert ((chosen >= 6).any(1) & (chosen < 6).any(1)).any()
    torch.testing.assert_close(weights, expected)
    assert int(index.max()) < 6
    assert torch.equal(index[chosen < 6], chosen[chosen < 6])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_is_thrown_away_gets_nothing_from_the_experts(kind: str, kernel: str):
    """By hand: real experts' outputs by their weights, and zero for those beyond."""
    model = tiny_experts(kind)
    routers = widened(model, 2)
    model.set_experts_implementation(kernel)
    block, router = model.model.layers[0].mlp, next(iter(routers.values()))
    hidden = torch.randn(1, 5, 16)
    hidden[0, :2] = torch.eye(16)[:2]
    with torch.no_grad():
        # Token 0 goes to trash alone, token 1 to trash and expert 2.
        router.weight[:, :2] = 0
        router.weight[6:, 0] = router.weight[6, 1] = 5
        router.weight[2, 1] = 6
        found = block(hidden)[0]
        odds, chosen = torch.softmax(hidden[0] @ router.weight.T, dim=-1).topk(2, dim=-1)
        if router.renormalise:
            odds = odds / odds.sum(1, keepdim=True)
        expected = torch.zeros(5, 16)
        for token, slot in ((token, slot) for token in range(5) for slot in range(2)):
            if (expert := int(chosen[token, slot])) < 6:
                gate, up = (block.experts.gate_up_proj[expert] @ hidden[0, token]).chunk(2)
                made = block.experts.down_proj[expert] @ (block.experts.act_fn(gate) * up)
                expected[token] += odds[token, slot] * made
    assert set(chosen[0].tolist()) == {6, 7}
    assert set(chosen[1].tolist()) == {2, 6}
    assert torch.equal(found[0], torch.zeros(16))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_agree_on_tokens_some_of_which_are_thrown_away(kind: str, dtype: torch.dtype):
    model = tiny_experts(kind, dtype)
    routers = widened(model)
    thrown: list[torch.Tensor] = []
    with listening(routers, lambda name, logits: thrown.append(logits.topk(2).indices >= 6)):
        expected = logits_of(model, "eager")
    assert 0 < torch.cat(thrown).float().mean() < 1
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    for kernel in KERNELS[1:]:
        torch.testing.assert_close(logits_of(model, kernel), expected, atol=tolerance, rtol=tolerance)


def test_rows_of_experts_are_copied_and_trash_rows_have_the_given_spread():
    model = tiny_experts()
    before = {name: router.weight.clone() for name, router in find_routers(model).items()}
    gates, conversion = new_gates(model, 400, 0.02, 0)
    assert conversion.trash_experts == 400
    for name, gate in gates.items():
        assert torch.equal(gate[:6], before[name])
        assert float(gate[6:].std()) == pytest.approx(0.02, rel=0.05)
        assert abs(float(gate[6:].mean())) < 0.002


def test_trash_mass_is_the_share_of_probability_on_trash_rows():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [5.0, 1.0, 2.0, -1.0]])
    odds = logits.exp() / logits.exp().sum(1, keepdim=True)
    torch.testing.assert_close(trash_mass(logits, 3), odds[:, 3])
    model = tiny_experts()
    with listening(widened(model), lambda name, found: heard.append((name, trash_mass(found, 6)))):
        heard: list[tuple[str, torch.Tensor]] = []
        logits_of(model, "eager")
    assert [name for name, _ in heard] == ["model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]
    assert all(((mass > 0) & (mass < 1)).all() and len(mass) == 40 for _, mass in heard)


def test_only_trash_rows_and_gates_are_added_to_what_can_be_trained():
    model = tiny_experts("mixtral")
    names = [name for name, _ in model.named_parameters()]
    widened(model)
    assert [name for name, _ in model.named_parameters()] == names


class SigmoidTopKRouter(nn.Module):
    """As some models score experts: each by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.top_k = 2
        self.weight = nn.Parameter(torch.randn(6, 16))

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = hidden.reshape(-1, 16) @ self.weight.T
        return logits, *logits.sigmoid().topk(2)


class BiasedTopKRouter(SigmoidTopKRouter):
    """A softmax whose choice is corrected by a bias."""

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = hidden.reshape(-1, 16) @ self.weight.T
        odds = torch.softmax(logits, -1)
        index = (odds + torch.linspace(0, 1, 6)).topk(2).indices
        return logits, odds.gather(1, index), index


class WordTopKRouter(SigmoidTopKRouter):
    """It wants the words, too."""

    def forward(self, hidden: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return super().forward(hidden)


class ShapelessTopKRouter(nn.Module):
    """Named like a router, and otherwise none."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 16))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


class DeepseekTopKRouter(DeepseekV3TopkRouter):
    """Under the name that finds it."""


def deepseek() -> nn.Module:
    config = DeepseekV3Config(hidden_size=16, n_routed_experts=8, num_experts_per_tok=2, n_group=2, topk_group=1)
    router = DeepseekTopKRouter(config)
    nn.init.normal_(router.weight)
    return router


@pytest.mark.parametrize(
    "make",
    [SigmoidTopKRouter, BiasedTopKRouter, WordTopKRouter, ShapelessTopKRouter, deepseek],
    ids=lambda m: m.__name__,
)
def test_other_routers_are_refused_with_their_names(make: Any):
    model = nn.Module()
    model.block = nn.Module()
    model.block.gate = make()
    gates, _ = new_gates(model, 2, 0.02, 0)
    kind = re.escape(type(model.block.gate).__name__)
    with pytest.raises(BadInput, match=rf"'block\.gate' \({kind}\) is no softmax .* cannot be widened"):
        attach(model, gates)


def test_gates_of_another_shape_are_refused_with_the_router():
    model = tiny_experts()
    gates, _ = new_gates(model, 2, 0.02, 0)
    first = next(iter(gates))
    with pytest.raises(BadInput, match=r"'model\.layers\.0\.mlp\.gate' has the shape \(8, 15\)"):
        attach(model, {**gates, first: gates[first][:, :15]})
