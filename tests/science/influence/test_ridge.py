"""Influence of a ridge regression's rows is what leaving each of them out does to the validation loss."""

import torch
from scipy.stats import spearmanr
from torch import nn

from support.regression import fit, squared, whitened

TRAIN, FEATURES, DAMPING = 300, 8, 0.05


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated features of unlike sizes, noisy labels; the last hundred rows are for validation."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    sizes = torch.logspace(-1, 1, FEATURES, dtype=torch.float64)
    rows = normal(TRAIN + 100, FEATURES) @ normal(FEATURES, FEATURES) * sizes
    return rows, rows @ normal(FEATURES, 1) / sizes.mean() + normal(TRAIN + 100, 1)


def with_one(rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)


def ridge(rows: torch.Tensor, labels: torch.Tensor, penalty: float) -> torch.Tensor:
    """The closed form; ``penalty`` is of the sum over rows, the intercept's included."""
    x = with_one(rows)
    return torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype), x.T @ labels)


def validation_loss(weights: torch.Tensor, rows: torch.Tensor, labels: torch.Tensor) -> float:
    return float(squared(with_one(rows[TRAIN:]) @ weights, labels[TRAIN:]).mean())


def left_out(rows: torch.Tensor, labels: torch.Tensor, penalty: float) -> torch.Tensor:
    """How much higher the validation loss is without each row, each time solved anew."""
    whole = validation_loss(ridge(rows[:TRAIN], labels[:TRAIN], penalty), rows, labels)
    losses = []
    for row in range(TRAIN):
        kept = [number for number in range(TRAIN) if number != row]
        losses.append(validation_loss(ridge(rows[kept], labels[kept], penalty), rows, labels) - whole)
    return torch.tensor(losses, dtype=torch.float64)


def test_influence_of_a_ridge_regression_is_exact_leave_one_out():
    rows, labels = problem()
    x = with_one(rows[:TRAIN])
    # The penalty is the damping: a share of the mean eigenvalue of the rows' second moments.
    share = DAMPING * float((x.T @ x / TRAIN).diagonal().mean())
    weights = ridge(rows[:TRAIN], labels[:TRAIN], share * TRAIN)
    layer = nn.Linear(FEATURES, 1).double()
    with torch.no_grad():
        layer.weight.copy_(weights[:-1].T)
        layer.bias.copy_(weights[-1])
    network = nn.Sequential(layer)
    # Errors of size one in place of normal ones: of one output, the curvature is then the Hessian to the last digit.
    signs = torch.randint(2, (TRAIN, 1), generator=torch.Generator().manual_seed(1)).double() * 2 - 1
    ekfac, means = fit(network, rows[:TRAIN], signs, DAMPING)
    assert abs(DAMPING * means["0"] - share) < 1e-9 * share
    features = whitened(ekfac, network, rows, labels)
    influence = features[:TRAIN] @ features[TRAIN:].mean(0) / TRAIN

    exact = left_out(rows, labels, share * TRAIN)
    assert spearmanr(influence, exact).statistic >= 0.99
    assert float(influence @ exact / (exact @ exact)) > 0.8, "in units of loss, and of the same sign"
    gradients = x * (x @ weights - labels[:TRAIN])
    target = with_one(rows[TRAIN:]) * (with_one(rows[TRAIN:]) @ weights - labels[TRAIN:])
    plain = spearmanr(gradients @ target.mean(0), exact).statistic
    assert plain < 0.9, "the plain dot product ranks worse, or nothing is shown"
