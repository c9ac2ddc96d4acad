"""Scores without a store: exact dot products with the targets' mean gradients, inside the backward pass.

The mean unit gradient of each subtask is kept whole. An example's own gradient is formed layer by layer, made a feature
(which holds its square, so the gradient itself is needed), multiplied with the means, and dropped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from winnow.gradients.blocks import Block
from winnow.gradients.collector import ResponseGradients
from winnow.gradients.features import Feature
from winnow.records.tokens import TokenRow

Means = dict[str, torch.Tensor]


def mean_unit_gradients(
    gradients: ResponseGradients, batches: Sequence[Sequence[TokenRow]], labels: Mapping[str, str]
) -> tuple[list[str], Means, list[str]]:
    """Labels, the mean unit gradient of each for every block [labels, elements], and rows that are not finite."""
    names = list(dict.fromkeys(labels[row.example_id] for rows in batches for row in rows))
    sums: Means = {}
    counts = np.zeros(len(names))
    rejected: list[str] = []
    for rows in batches:
        parts: list[tuple[Block, torch.Tensor]] = []
        gradients(rows, lambda block, gradient: parts.append((block, gradient)))  # noqa: B023
        norm = torch.stack([part.square().sum(dim=1) for _, part in parts]).sum(dim=0).sqrt()
        good = torch.isfinite(norm)
        rejected += [row.example_id for row, fine in zip(rows, good.tolist(), strict=True) if not fine]
        place = torch.tensor([names.index(labels[row.example_id]) for row in rows], device=norm.device)[good]
        np.add.at(counts, place.cpu().numpy(), 1)
        for block, part in parts:
            total = sums.setdefault(block.name, torch.zeros(len(names), block.size, device=norm.device))
            total.index_add_(0, place, part[good] / torch.where(norm == 0, 1.0, norm)[good, None])
    kept = [number for number in range(len(names)) if counts[number]]
    divisor = torch.from_numpy(counts[kept]).float()
    means = {name: total[kept] / divisor.to(total.device)[:, None] for name, total in sums.items()}
    return [names[number] for number in kept], means, rejected


class DirectScores:
    """Cosines of each row's feature with the mean gradients of the targets."""

    def __init__(self, gradients: ResponseGradients, feature: Feature, means: Means) -> None:
        self.gradients = gradients
        self.feature = feature
        self.means = means
        self.count = len(next(iter(means.values())))

    def __call__(self, rows: Sequence[TokenRow]) -> np.ndarray:
        """Scores [rows, labels]; NaN for a row whose gradient is not finite."""
        device = self.gradients.device
        dots, squares = torch.zeros(len(rows), self.count, device=device), torch.zeros(len(rows), device=device)

        def sink(block: Block, gradient: torch.Tensor) -> None:
            features = self.feature.of(block, gradient)
            dots.addmm_(features, self.means[block.name].T)
            squares.add_(features.square().sum(dim=1))

        self.gradients(rows, sink)
        norm = squares.sqrt()
        return (dots / torch.where(norm == 0, 1.0, norm)[:, None]).cpu().numpy()
