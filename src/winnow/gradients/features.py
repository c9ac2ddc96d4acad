"""What the optimizer would make of an example's gradient: the feature that is compared with validation gradients.

With the moments m, v of a warm-up checkpoint, LESS's `adam` feature of a gradient g is the update that Adam would make
on this example alone: m' = b1 m + (1 - b1) g, v' = b2 v + (1 - b2) g^2, feature m' / sqrt(v' + eps). See
https://arxiv.org/abs/2402.04333; the released code has eps inside the root and no bias correction, as the default here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch

from winnow.errors import BadInput
from winnow.gradients.blocks import Block


class Terms(NamedTuple):
    """An element-wise feature: (shift + scale g) / (sqrt(floor + square g^2) + outside), shift and floor [elements]."""

    shift: torch.Tensor
    scale: float
    floor: torch.Tensor
    square: float
    outside: float


class Feature(Protocol):
    """Turns the gradients of a block into features, both [rows, elements]."""

    def of(self, block: Block, gradient: torch.Tensor) -> torch.Tensor:
        """The features; the gradient may be written into."""


class Sgd:
    """The gradient itself."""

    def of(self, block: Block, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient."""
        return gradient


class Sign:
    """Only the direction of each element."""

    def of(self, block: Block, gradient: torch.Tensor) -> torch.Tensor:
        """-1, 0 or 1."""
        return gradient.sign_()


@dataclass(frozen=True)
class AdamForm:
    """Which reading of the formula is taken."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    eps_at: Literal["inside", "outside"] = "inside"
    bias_correction: bool = False
    momentum: bool = True


class Adam:
    """The update that Adam would make on one example alone, from the moments of a checkpoint."""

    def __init__(
        self, form: AdamForm, step: int, moments: Mapping[str, Mapping[str, torch.Tensor]], device: str = "cpu"
    ) -> None:
        self.form = form
        self.step = step
        self.moments = moments
        self.device = device
        self._terms: dict[str, Terms] = {}

    def of(self, block: Block, gradient: torch.Tensor) -> torch.Tensor:
        """The features of a block."""
        terms = self.terms(block)
        root = (gradient.square() * terms.square + terms.floor.to(gradient.dtype)).sqrt_().add_(terms.outside)
        return (gradient * terms.scale + terms.shift.to(gradient.dtype)).div_(root)

    def terms(self, block: Block) -> Terms:
        """The constants of a block's feature, kept from one batch to the next."""
        if block.name not in self._terms:
            self._terms[block.name] = self._make_terms(block)
        return self._terms[block.name]

    def _make_terms(self, block: Block) -> Terms:
        form = self.form
        first, second = (self._moment(block, kind) for kind in ("exp_avg", "exp_avg_sq"))
        after = self.step + 1
        mean, variance = (1 / (1 - beta**after) if form.bias_correction else 1.0 for beta in form.betas)
        shift = first * (form.betas[0] * mean if form.momentum else 0.0)
        floor = second * (form.betas[1] * variance) + (form.eps if form.eps_at == "inside" else 0.0)
        outside = form.eps if form.eps_at == "outside" else 0.0
        return Terms(shift, (1 - form.betas[0]) * mean, floor, (1 - form.betas[1]) * variance, outside)

    def _moment(self, block: Block, kind: str) -> torch.Tensor:
        try:
            whole = self.moments[block.parameter][kind]
        except KeyError:
            raise BadInput(
                f"The checkpoint holds no moment {kind} of {block.parameter!r}. It was trained on other parameters: "
                "choose some with `gradients.parameters`, or take `gradients.feature: sgd`, which needs none."
            ) from None
        return block.of(whole).reshape(-1).float().to(self.device)
