"""Inputs and output gradients of whole linear layers, example by example, while a backward pass goes by.

An input of one is appended where a layer has a bias, so that its weight and bias are one matrix [outputs, inputs].
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad
from transformers.pytorch_utils import Conv1D

from winnow.errors import BadInput, BadSetting
from winnow.gradients.capture import frozen


@dataclass(frozen=True)
class Layer:
    """A linear layer: its name, inputs (with the one for the bias) and outputs."""

    name: str
    inputs: int
    outputs: int
    has_bias: bool


# Takes a layer, its inputs and the gradients of its outputs, both [rows, tokens, features].
Tell = Callable[[Layer, torch.Tensor, torch.Tensor], None]


def find_layers(model: nn.Module, patterns: Sequence[str]) -> list[Layer]:
    """The linear layers whose names match, but for the output head."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    chosen = [_layer(name, linear[name]) for name in linear if any(fnmatch(name, pattern) for pattern in patterns)]
    if not chosen:
        raise BadSetting(
            f"`influence.ekfac.layers` is {list(patterns)}: no linear layer fits. Names are those of the model, such "
            f"as {next(iter(linear), '')!r}."
        )
    return chosen


class LayerPasses:
    """Hooks on ``layers`` that tell what goes in, and what gradient comes back."""

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        self.model = model
        self.layers = {layer.name: layer for layer in layers}

    @contextmanager
    def to(self, tell: Tell, rows: int) -> Iterator[None]:
        """Within this context run one forward and one backward pass of a batch of ``rows``.

        What is differentiated is the sum of the examples' losses.
        """
        hooks = [
            module.register_forward_hook(_listener(self.layers[name], tell, rows))
            for name, module in self.model.named_modules()
            if name in self.layers
        ]
        try:
            with frozen(self.model):
                yield
        finally:
            for hook in hooks:
                hook.remove()


def _layer(name: str, module: Any) -> Layer:
    outputs, inputs = reversed(module.weight.shape) if isinstance(module, Conv1D) else module.weight.shape
    has_bias = module.bias is not None
    return Layer(name, int(inputs) + has_bias, int(outputs), has_bias)


def _listener(layer: Layer, tell: Tell, rows: int) -> Callable[..., None]:
    def by_example(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[0] % rows or (tensor.ndim > 2 and tensor.shape[0] != rows):
            raise BadInput(
                f"The layer {layer.name!r} is given a tensor of shape {tuple(tensor.shape)} for a batch of {rows} "
                "rows, so they cannot be told apart. Leave it out with `influence.ekfac.layers`."
            )
        shaped = tensor.reshape(rows, -1, tensor.shape[-1])
        return shaped if shaped.dtype == torch.float64 else shaped.float()

    def after_forward(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if not output.requires_grad:
            output.requires_grad_()
        x = by_example(inputs[0].detach())
        output.register_hook(lambda d: tell(layer, pad(x, (0, int(layer.has_bias)), value=1.0), by_example(d)))

    return after_forward
