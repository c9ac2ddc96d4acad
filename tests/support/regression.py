"""EK-FAC of a small regression, through the hooks and sums that language models have."""

from collections.abc import Callable

import torch
from torch import nn

from winnow.gradients.layers import LayerPasses, find_layers
from winnow.influence.ekfac import EigenvalueSums, Ekfac, FactorSums, eigenbases

# Losses per row, from what a model says.
Losses = Callable[[torch.Tensor], torch.Tensor]


def squared(said: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The loss of each row under normal errors: labels of the model are what it says, and such an error."""
    return 0.5 * (said - wanted).square().sum(1)


def passes(network: nn.Module, rows: torch.Tensor, losses: Losses, tell: Callable[..., None]) -> None:
    with LayerPasses(network, find_layers(network, ["*"])).to(tell, len(rows)):
        losses(network(rows)).sum().backward()


def fit(network: nn.Module, rows: torch.Tensor, errors: torch.Tensor, damping: float) -> tuple[Ekfac, dict[str, float]]:
    """The curvature under the model's own labels, which are off by ``errors``; and each layer's mean eigenvalue."""

    def sampled(said: torch.Tensor) -> torch.Tensor:
        return squared(said, said.detach() + errors)

    ones = torch.ones(len(rows))
    factors = FactorSums()
    passes(network, rows, sampled, factors.add)
    squares = EigenvalueSums(eigenbases(factors.sums))
    passes(network, rows, sampled, lambda layer, x, d: squares.add(layer, x, d, ones))
    eigenvalues = {name: total / len(rows) for name, total in squares.sums.items()}
    return Ekfac(squares.bases, eigenvalues, damping), {name: float(part.mean()) for name, part in eigenvalues.items()}


def whitened(ekfac: Ekfac, network: nn.Module, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Each row's own gradient by the inverse root of the curvature [rows, parameters]."""
    found: list[torch.Tensor] = []
    own = lambda said: squared(said, labels)  # noqa: E731
    passes(network, rows, own, lambda layer, x, d: found.append(ekfac.whitened(layer, x, d).flatten(1)))
    return torch.cat(found, 1)
