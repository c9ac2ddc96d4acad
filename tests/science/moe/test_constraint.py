"""The constraint is least where its formula puts the minimum, and never loses its gradient."""

import numpy as np
import pytest
import torch
from scipy import stats

from winnow.moe.constraint import constrained_mass, constraint
from winnow.params import ConstraintParams

GRID = torch.linspace(1e-4, 1 - 1e-4, 20_001, dtype=torch.float64)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 2.0), (1.0, 1.5), (3.0, 2.0), (0.5, 4.0)])
def test_the_ratio_is_least_at_beta_minus_one_over_beta_minus_one_plus_alpha(alpha: float, beta: float):
    loss = constraint(GRID, ConstraintParams(alpha=alpha, beta=beta))
    assert float(GRID[loss.argmin()]) == pytest.approx((beta - 1) / (beta - 1 + alpha), abs=1e-4)
    expected = -(beta - 1) * np.log(GRID.numpy()) - alpha * np.log1p(-GRID.numpy())
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 2.0), (2.0, 2.0), (5.0, 1.0), (0.5, 0.5)])
def test_the_likelihood_is_that_of_a_beta_distribution(alpha: float, beta: float):
    loss = constraint(GRID, ConstraintParams(kind="likelihood", alpha=alpha, beta=beta))
    np.testing.assert_allclose(loss.numpy(), -stats.beta.logpdf(GRID.numpy(), alpha, beta), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", ["ratio", "likelihood"])
def test_nothing_and_everything_thrown_away_have_a_finite_loss(kind: str):
    found = constraint(torch.tensor([0.0, 1.0]), ConstraintParams.model_validate({"kind": kind, "alpha": 2, "beta": 3}))
    assert found.isfinite().all()


def test_the_softmax_mass_has_a_gradient_where_that_of_the_topk_has_none():
    """Both trash rows are far below the experts: none is chosen."""
    for mass, alive in (("softmax", True), ("topk", False)):
        logits = torch.tensor([[4.0, 3.0, 2.0, -1.0, -2.0]], requires_grad=True)
        params = ConstraintParams.model_validate({"mass": mass})
        constraint(constrained_mass(logits, 3, 2, params), params).sum().backward()
        assert bool((logits.grad[:, 3:] != 0).all()) is alive
        # Less trash than the minimum: descent raises the trash logits.
        assert not alive or (logits.grad[:, 3:] < 0).all()


@pytest.mark.parametrize("mass", ["softmax", "topk"])
def test_the_mass_is_a_share(mass: str):
    torch.manual_seed(0)
    logits = 20 * torch.randn(500, 10)
    found = constrained_mass(logits, 7, 3, ConstraintParams.model_validate({"mass": mass}))
    assert ((found >= 0) & (found <= 1)).all()
    odds = torch.softmax(logits.double(), -1)
    chosen = odds.topk(3).indices
    inside = torch.zeros_like(odds).scatter(1, chosen, 1.0) if mass == "topk" else torch.ones_like(odds)
    torch.testing.assert_close(found.double(), (odds * inside)[:, 7:].sum(1), atol=1e-6, rtol=1e-5)
