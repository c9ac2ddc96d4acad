"""EK-FAC is the exact inverse curvature where that is a Kronecker product, and ranks like it where it is not."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.func import functional_call

from support.regression import fit, passes, squared, whitened
from winnow.errors import BadInput, BadSetting
from winnow.gradients.layers import Layer, LayerPasses, find_layers
from winnow.influence.ekfac import (
    EigenvalueSums,
    Ekfac,
    FactorSums,
    eigenbases,
    model_labels,
    rotated,
)

ONE = Layer("one", 3, 2, has_bias=False)


def fitted(batches: list[tuple[torch.Tensor, torch.Tensor]], damping: float = 0.0) -> Ekfac:
    """EK-FAC of one layer from inputs and output gradients [rows, tokens, features]."""
    factors = FactorSums()
    for x, d in batches:
        factors.add(ONE, x, d)
    squares = EigenvalueSums(eigenbases(factors.sums))
    for x, d in batches:
        squares.add(ONE, x, d, torch.tensor([x.shape[1]]))
    rows = sum(len(x) for x, _ in batches)
    return Ekfac(squares.bases, {name: total / rows for name, total in squares.sums.items()}, damping)


def every_pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and output gradients that are exactly independent: each input with each gradient."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(7, 3, generator=random, dtype=torch.float64)
    d = torch.randn(5, 2, generator=random, dtype=torch.float64)
    return x.repeat_interleave(5, 0)[:, None], d.repeat(7, 1)[:, None]


def test_on_a_quadratic_it_is_the_exact_inverse_hessian_product():
    """Squared error of a linear layer: the Hessian is S x A, if errors do not depend on inputs."""
    x, d = every_pair(0)
    ekfac = fitted([(x, d)], damping=0.1)
    whitened = ekfac.whitened(ONE, x, d).flatten(1)
    hessian = torch.kron(d[:, 0].T @ d[:, 0] / len(d), x[:, 0].T @ x[:, 0] / len(x))
    hessian += 0.1 * hessian.diagonal().mean() * torch.eye(6)
    gradients = torch.einsum("nto,nti->noi", d, x).flatten(1)
    exact = gradients @ torch.linalg.solve(hessian, gradients.T)
    torch.testing.assert_close(whitened @ whitened.T, exact)


def test_with_identity_factors_it_is_the_dot_product():
    x, d = every_pair(1)
    bases = {"one.inputs": torch.eye(3).double(), "one.outputs": torch.eye(2).double()}
    whitened = Ekfac(bases, {"one": torch.ones(2, 3).double()}, 0.0).whitened(ONE, x, d).flatten(1)
    gradients = torch.einsum("nto,nti->noi", d, x).flatten(1)
    torch.testing.assert_close(whitened @ whitened.T, gradients @ gradients.T)


def test_tokens_without_a_gradient_change_nothing():
    x, d = every_pair(2)
    plain = fitted([(x, d)])
    more = torch.cat([x, 100 * torch.ones_like(x)], 1), torch.cat([d, torch.zeros_like(d)], 1)
    factors = FactorSums()
    factors.add(ONE, *more)
    torch.testing.assert_close(torch.linalg.eigh(factors.sums["one.inputs"])[1].abs(), plain.bases["one.inputs"].abs())
    torch.testing.assert_close(plain.whitened(ONE, *more), plain.whitened(ONE, x, d))


def test_eigenvalues_do_not_shrink_with_the_tokens_of_a_row():
    """Of independent tokens: a mean over tokens in place of the root would make them smaller by their number."""
    random = torch.Generator().manual_seed(3)
    x, d = (torch.randn(40_000, 8, size, generator=random) for size in (3, 2))
    many = fitted([(x, d)]).roots["one"]
    single = fitted([(x[:, :1], d[:, :1])]).roots["one"]
    torch.testing.assert_close(many, single, rtol=0.05, atol=0)


def test_batches_add_up():
    x, d = every_pair(4)
    whole, parts = fitted([(x, d)], 0.1), fitted([(x[:20], d[:20]), (x[20:], d[20:])], 0.1)
    torch.testing.assert_close(
        (whole.whitened(ONE, x, d).flatten(1) ** 2).sum(1), (parts.whitened(ONE, x, d).flatten(1) ** 2).sum(1)
    )


def test_labels_are_drawn_from_the_model_and_again_the_same():
    odds = torch.tensor([0.7, 0.2, 0.1])
    logits = odds.log().expand(20_000, 3)
    drawn = model_labels(0, 5, torch.device("cpu"))(logits)
    assert torch.bincount(drawn).numpy() / len(drawn) == pytest.approx(odds.numpy(), abs=0.02)
    assert torch.equal(drawn, model_labels(0, 5, torch.device("cpu"))(logits))
    assert not torch.equal(drawn, model_labels(0, 6, torch.device("cpu"))(logits))


TRAIN, ALL = 2000, 2200


def small_network() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A regression on noisy waves, trained until it is near a minimum."""
    torch.manual_seed(0)
    rows = torch.randn(ALL, 4, dtype=torch.float64)
    waves = torch.sin(rows @ torch.randn(4, 3, dtype=torch.float64))
    labels = waves + 0.5 * torch.randn(ALL, 3, dtype=torch.float64)
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = squared(network(rows[:TRAIN]), labels[:TRAIN]).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return network, rows, labels


def test_it_ranks_like_exact_influence_on_a_small_network():
    network, rows, labels = small_network()
    errors = torch.randn(TRAIN, 3, dtype=torch.float64)
    ekfac, means = fit(network, rows[:TRAIN], errors, 0.1)
    features = whitened(ekfac, network, rows, labels)
    estimate = features[:TRAIN] @ features[TRAIN:].mean(0)

    damping = {name: 0.1 * mean for name, mean in means.items()}
    exact, by_layer, dots = exact_influence(network, rows, labels, damping)
    assert spearmanr(estimate, exact).statistic >= 0.9
    assert spearmanr(estimate, by_layer).statistic >= 0.98
    assert spearmanr(dots, exact).statistic < 0.7, "the plain dot product ranks worse, or nothing is shown"


def exact_influence(
    network: nn.Module, rows: torch.Tensor, labels: torch.Tensor, damping: dict[str, float]
) -> list[torch.Tensor]:
    """<mean validation gradient, (H + damping)^-1 gradient> with the whole Hessian, layer by layer, and without it."""
    parameters = dict(network.named_parameters())
    jacobians = torch.func.jacrev(lambda given: functional_call(network, given, rows))(parameters)
    jacobian = torch.cat([part.flatten(2) for part in jacobians.values()], 2).detach()
    hessian = torch.einsum("nck,ncl->kl", jacobian[:TRAIN], jacobian[:TRAIN]) / TRAIN
    gradients = torch.einsum("nck,nc->nk", jacobian, (network(rows) - labels).detach())
    added = torch.cat([torch.full((p.numel(),), damping[name.split(".")[0]]) for name, p in parameters.items()])
    within = added[:, None] == added
    curvatures = [hessian + added.diag(), hessian * within + added.diag(), torch.eye(len(added))]
    validation = gradients[TRAIN:].mean(0)
    return [gradients[:TRAIN] @ torch.linalg.solve(curvature.double(), validation) for curvature in curvatures]


def test_a_bias_is_an_input_of_one():
    network, rows, labels = small_network()
    found: dict[str, torch.Tensor] = {}

    def tell(layer: Layer, x: torch.Tensor, d: torch.Tensor) -> None:
        bases = {f"{layer.name}.{side}": torch.eye(n).double() for side, n in
                 (("inputs", layer.inputs), ("outputs", layer.outputs))}  # fmt: skip
        found[layer.name] = rotated(bases, layer, x, d).sum(0)

    passes(network, rows, lambda said: squared(said, labels), tell)
    assert all(parameter.requires_grad for parameter in network.parameters())
    network.zero_grad()
    squared(network(rows), labels).sum().backward()
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            expected = torch.cat([module.weight.grad, module.bias.grad[:, None]], 1)
            torch.testing.assert_close(found[name], expected)


def test_layers_are_chosen_by_name_and_unknown_names_are_told():
    network, _, _ = small_network()
    assert [layer.name for layer in find_layers(network, ["[02]"])] == ["0", "2"]
    assert np.array([(layer.inputs, layer.outputs) for layer in find_layers(network, ["*"])])[0].tolist() == [5, 4]
    with pytest.raises(BadSetting, match=r"no linear layer fits.*'0'"):
        find_layers(network, ["q_proj"])


def test_rows_that_cannot_be_told_apart_are_refused():
    network, rows, _ = small_network()
    with (
        pytest.raises(BadInput, match=r"'0' is given a tensor of shape \(2200, 4\) for a batch of 7"),
        LayerPasses(network, find_layers(network, ["*"])).to(lambda *_: None, 7),
    ):
        network(rows)
