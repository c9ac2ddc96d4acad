"""How far stored features are from the exact ones, measured on a random sample of the rows themselves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from winnow.gradients.blocks import Block
from winnow.gradients.collector import RowGradients
from winnow.gradients.features import Adam, Feature, Sgd
from winnow.gradients.quantize import FLOATS, decode, encode
from winnow.gradients.sketch import Projection
from winnow.records.tokens import TokenRow

SAMPLE_BYTES = 1 << 30
LEAST_ROWS = 4


def rows_that_fit(wanted: int, blocks: Sequence[Block]) -> int:
    """How many rows' whole features and gradients may be in memory at once."""
    return max(LEAST_ROWS, min(wanted, SAMPLE_BYTES // (8 * sum(block.size for block in blocks))))


def certify(
    gradients: RowGradients,
    feature: Feature,
    projections: Sequence[Projection],
    kind: str,
    batches: Sequence[Sequence[TokenRow]],
) -> list[dict[str, Any]]:
    """For each projection, compare cosines of stored features with raw gradients, as targets have them.

    Every sampled row stands once for a training row (its feature, stored) and once for a validation row (its gradient,
    in float32); all pairs but those of a row with itself are compared.
    """
    samples = []
    for rows in batches:
        samples.append(_Sample(len(rows), feature, projections, gradients.device))
        gradients(rows, samples[-1])
    truth = _cosines(_joined([torch.cat(sample.features, 1) for sample in samples]),
                     _joined([torch.cat(sample.gradients, 1) for sample in samples]))  # fmt: skip
    pull = torch.cat([sample.pull for sample in samples]).sqrt().median().item() if isinstance(feature, Adam) else None
    found = []
    for number, projection in enumerate(projections):
        stored, raw = (_joined([projection.finish(sample.sums[number][side]) for sample in samples]) for side in (0, 1))
        kept = encode(stored, kind)
        codes = kept.codes if kind in FLOATS else kept.codes.numpy()
        read = decode(codes, kind, projection.dim) * kept.scale[:, None]
        estimate = _cosines(read, raw, np.linalg.norm(stored, axis=1))
        found.append(_compare(estimate, truth) | {"momentum": pull})
    return found


class _Sample:
    """A sink that keeps the gradients and features of a batch, whole and projected."""

    def __init__(self, rows: int, feature: Feature, projections: Sequence[Projection], device: torch.device) -> None:
        self.feature = feature
        self.projections = projections
        self.features: list[torch.Tensor] = []
        self.gradients: list[torch.Tensor] = []
        shapes = [(rows, projection.dim) for projection in projections]
        self.sums = [(torch.zeros(shape, device=device), torch.zeros(shape, device=device)) for shape in shapes]
        self._shared, self._own = torch.zeros(1, device=device), torch.zeros(rows, device=device)

    @property
    def pull(self) -> torch.Tensor:
        """Square of the shared momentum's size over that of the example's own part [rows]."""
        return self._shared / self._own

    def __call__(self, block: Block, gradient: torch.Tensor) -> None:
        for projection, (stored, raw) in zip(self.projections, self.sums, strict=True):
            projection.add(block, gradient.clone(), self.feature, stored)
            projection.add(block, gradient.clone(), Sgd(), raw)
        if isinstance(self.feature, Adam):
            terms = self.feature.terms(block)
            self._shared += terms.shift.square().sum()
            self._own += (gradient * terms.scale).square().sum(dim=1)
        self.gradients.append(gradient.clone())
        self.features.append(self.feature.of(block, gradient))


def _joined(parts: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.cat(list(parts)).cpu().numpy()


def _cosines(features: np.ndarray, gradients: np.ndarray, norms: np.ndarray | None = None) -> np.ndarray:
    """Cosines of all pairs of different rows; ``norms`` are the features' own before they were stored."""
    norms = np.linalg.norm(features, axis=1) if norms is None else norms
    products = features.astype(np.float64) @ gradients.T / norms[:, None] / np.linalg.norm(gradients, axis=1)
    return products[~np.eye(len(products), dtype=bool)]


def _compare(estimate: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    finite = np.isfinite(estimate) & np.isfinite(truth)
    estimate, truth = estimate[finite], truth[finite]
    error = estimate - truth
    if not len(error):
        return {"pairs": 0, "rms_error": None, "largest_error": None, "spearman": None, "spread": None}
    return {
        "pairs": len(error),
        "rms_error": float(np.sqrt(np.mean(error**2))),
        "largest_error": float(np.abs(error).max()),
        "spearman": float(spearmanr(estimate, truth).statistic),
        "spread": float(truth.std()),
    }
