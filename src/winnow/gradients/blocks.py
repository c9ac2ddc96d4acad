"""Which parameters have per-example gradients, in blocks: one tensor of a linear layer, or of one expert."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from peft.tuners.lora.layer import ParamWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from winnow.errors import BadSetting


@dataclass(frozen=True)
class Block:
    """A parameter, or one expert's slice of it. Its name alone decides how it is projected."""

    parameter: str
    shape: tuple[int, ...]
    expert: int | None = None

    @property
    def name(self) -> str:
        """The parameter's name, with the number of the expert."""
        return self.parameter if self.expert is None else f"{self.parameter}[{self.expert}]"

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(torch.Size(self.shape).numel())

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The block's part of a tensor that is shaped like the parameter."""
        return tensor if self.expert is None else tensor[self.expert]


def is_linear(module: nn.Module) -> bool:
    """Whether its output is its input times its weight."""
    return isinstance(module, nn.Linear | Conv1D)


def is_router(module: nn.Module) -> bool:
    """Whether it scores experts: its first output is the input times its weight."""
    weight = getattr(module, "weight", None)
    return type(module).__name__.endswith("TopKRouter") and isinstance(weight, nn.Parameter) and weight.ndim == 2


def is_experts(module: nn.Module) -> bool:
    """Whether it holds the weights of all experts of a layer, fused as transformers does it."""
    plain = not getattr(module, "has_bias", False) and not getattr(module, "is_transposed", False)
    return plain and all(hasattr(module, name) for name in ("gate_up_proj", "down_proj", "act_fn", "num_experts"))


def _is_merged_into_weight(module: nn.Module) -> bool:
    """Whether an adapter's weights are multiplied with each other, and its layers are not passed through by tokens."""
    return isinstance(module, ParamWrapper) or any(getattr(module, "use_dora", {}).values())


def find_blocks(model: nn.Module, patterns: Sequence[str] | None = None) -> list[Block]:
    """The blocks in the order of `named_parameters`: those whose names match, or all that can be captured.

    Without patterns these are the adapter's where there is one, and else every linear layer's but the output head's.
    """
    kinds = {}
    bare = tuple(f"{path}." for path, module in model.named_modules() if _is_merged_into_weight(module))
    for path, module in model.named_modules():
        if (is_linear(module) or is_router(module) or is_experts(module)) and not path.startswith(bare):
            own = module.named_parameters(prefix=path, recurse=False)
            kinds.update({name: is_experts(module) for name, _ in own})
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    chosen = _chosen(model, list(shapes), patterns)
    lost = [name for name in chosen if name not in kinds]
    if patterns is not None and (lost or not chosen):
        raise BadSetting(
            f"`gradients.parameters` is {list(patterns)}: "
            + (f"{lost[0]!r} belongs to no linear layer, router or experts. " if lost else "no parameter fits. ")
            + f"Names are those of the model, such as {next(iter(kinds), '')!r}."
        )
    if lost and any(map(_is_adapters, chosen)):
        raise BadSetting(
            f"{len(lost)} parameters of the adapter belong to no layer whose gradient is taken, {lost[0]!r} first "
            "(those of `target_parameters` and of DoRA do not). Name others with `gradients.parameters`, or warm up "
            "without them."
        )
    blocks: list[Block] = []
    for name in (name for name in chosen if name in kinds):
        shape = shapes[name]
        if kinds[name]:
            blocks += [Block(name, shape[1:], expert) for expert in range(shape[0])]
        else:
            blocks.append(Block(name, shape))
    if not blocks:
        raise BadSetting("The model has no linear layer whose gradient could be taken; see `gradients.parameters`.")
    return blocks


def left_out(model: nn.Module, blocks: Sequence[Block]) -> list[str]:
    """Parameters that were trained in an adapter but have no per-example gradient here."""
    names = {block.parameter for block in blocks}
    adapters = [name for name, _ in model.named_parameters() if _is_adapters(name)]
    return [name for name in adapters if name not in names]


def _chosen(model: nn.Module, names: Sequence[str], patterns: Sequence[str] | None) -> list[str]:
    if patterns is not None:
        return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
    if adapted := [name for name in names if _is_adapters(name)]:
        return adapted
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    heads = {id(parameter) for parameter in head.parameters()} if isinstance(head, nn.Module) else set()
    return [name for name, parameter in model.named_parameters() if id(parameter) not in heads]


def _is_adapters(name: str) -> bool:
    return ".lora_" in name or ".modules_to_save." in name
