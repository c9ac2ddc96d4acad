"""EK-FAC: the inverse curvature of a network, layer by layer, in the eigenbasis of a Kronecker product.

A linear layer with inputs x and output gradients d has the factors A = E[x x^T] and S = E[d d^T] over tokens. In their
eigenbasis the curvature is taken as diagonal, with the values L = E[(Q_S^T G Q_A)^2] of each example's own gradient G.
Influence <G_v, H^-1 G_z> is then the dot product of two whitened gradients, Q_S^T G Q_A / sqrt(L + damping): features
like any others, which are projected, stored, and averaged over clusters as those are. https://arxiv.org/abs/2308.03296
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from winnow.gradients.blocks import Block
from winnow.gradients.capture import Sink
from winnow.gradients.collector import differentiate
from winnow.gradients.layers import Layer, LayerPasses
from winnow.records.tokens import TokenRow
from winnow.responses import Responses

Tensors = dict[str, torch.Tensor]
BASES, EIGENVALUES = "bases", "eigenvalues.safetensors"


class FactorSums:
    """Sums of x x^T and d d^T over the tokens that the losses depend on."""

    def __init__(self) -> None:
        self.sums: Tensors = {}

    def add(self, layer: Layer, x: torch.Tensor, d: torch.Tensor) -> None:
        """Add a batch [rows, tokens, features]; a token without any gradient is padding, or was not asked for."""
        used = (d != 0).any(dim=-1, keepdim=True)
        for side, values in (("inputs", x * used), ("outputs", d)):
            flat = values.flatten(0, 1)
            _accumulate(self.sums, f"{layer.name}.{side}", flat.T @ flat)


class EigenvalueSums:
    """Sums over examples of their squared gradients in the eigenbasis."""

    def __init__(self, bases: Mapping[str, torch.Tensor]) -> None:
        self.bases = bases
        self.sums: Tensors = {}

    def add(self, layer: Layer, x: torch.Tensor, d: torch.Tensor, tokens: torch.Tensor) -> None:
        """Add a batch; each example's gradient is that of its summed losses over the root of its tokens [rows]."""
        squares = rotated(self.bases, layer, x, d).square() / tokens.clamp(min=1).to(d)[:, None, None]
        _accumulate(self.sums, layer.name, squares.sum(dim=0))


class Ekfac:
    """Fitted curvature: bases of each layer's inputs and outputs, and eigenvalues [outputs, inputs]."""

    def __init__(
        self, bases: Mapping[str, torch.Tensor], eigenvalues: Mapping[str, torch.Tensor], damping: float
    ) -> None:
        """``damping`` is a share of each layer's mean eigenvalue."""
        self.bases = bases
        self.roots = {}
        for name, values in eigenvalues.items():
            root = (values + damping * values.mean()).sqrt()
            self.roots[name] = torch.where(root > 0, root, torch.ones_like(root))

    @classmethod
    def load(cls, folder: Path, damping: float, device: str) -> "Ekfac":
        """Read what was fitted."""
        return cls(load_bases(folder, device), load_file(folder / EIGENVALUES, device=device), damping)

    def whitened(self, layer: Layer, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        """Each example's gradient times the inverse root of the curvature, in the eigenbasis [rows, out, in].

        The dot product of two of them is their product by the inverse curvature.
        """
        return rotated(self.bases, layer, x, d).div_(self.roots[layer.name].to(d))


class WhitenedGradients:
    """Per-example gradients of the mean loss over each row's supervised tokens, whitened."""

    def __init__(self, model: Any, layers: Sequence[Layer], ekfac: Ekfac) -> None:
        self.responses = Responses(model)
        self.passes = LayerPasses(model, layers)
        self.blocks = [Block(layer.name, (layer.outputs, layer.inputs)) for layer in layers]
        self.ekfac = ekfac
        self.device = next(model.parameters()).device

    def __call__(self, rows: Sequence[TokenRow], sink: Sink) -> np.ndarray:
        """Hand each layer's to ``sink``; returns the losses [rows]."""
        blocks = {block.parameter: block for block in self.blocks}
        batch = self.responses.batch(rows)

        def tell(layer: Layer, x: torch.Tensor, d: torch.Tensor) -> None:
            sink(blocks[layer.name], self.ekfac.whitened(layer, x, d).flatten(1))

        with self.passes.to(tell, len(rows)):
            return differentiate(self.responses, batch, 1 / np.maximum(batch.counts, 1))


def rotated(bases: Mapping[str, torch.Tensor], layer: Layer, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Q_S^T G Q_A for each example [rows, outputs, inputs]."""
    outputs = d @ bases[f"{layer.name}.outputs"].to(d)
    return torch.bmm(outputs.transpose(1, 2), x @ bases[f"{layer.name}.inputs"].to(x))


def eigenbases(sums: Mapping[str, torch.Tensor], device: torch.device | str = "cpu") -> Tensors:
    """The eigenvectors, in columns, of each factor."""
    return {
        name: torch.linalg.eigh(factor.to(device, torch.float64))[1].to(factor.dtype) for name, factor in sums.items()
    }


def load_bases(folder: Path, device: torch.device | str) -> Tensors:
    """What was fitted, in a file for each layer."""
    bases: Tensors = {}
    for file in sorted((folder / BASES).glob("*.safetensors")):
        bases |= load_file(file, device=str(device))
    return bases


def model_labels(seed: int, batch: int, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Draws labels from the model's own predictions, alike for the same seed and number of the batch."""
    generator = torch.Generator(device).manual_seed(int(np.random.SeedSequence([seed, batch]).generate_state(1)[0]))

    def draw(logits: torch.Tensor) -> torch.Tensor:
        odds = torch.softmax(logits.detach().float(), dim=-1)
        return torch.multinomial(odds, 1, generator=generator).squeeze(1)

    return draw


def total(files: Iterable[Path], prefix: str = "") -> Tensors:
    """The sum of tensors in several files, in their order; of those alone whose names begin with ``prefix``."""
    sums: Tensors = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name.startswith(prefix):
                    _accumulate(sums, name, file.get_tensor(name))
    return sums


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """One safetensors file."""
    save_file({name: values.cpu().contiguous() for name, values in tensors.items()}, path)


def _accumulate(sums: Tensors, name: str, values: torch.Tensor) -> None:
    sums[name] = sums[name].add_(values) if name in sums else values
