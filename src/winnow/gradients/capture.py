"""Per-example gradients of a whole batch from one forward and one backward pass.

A linear layer's gradient is the sum over tokens of (output gradient) x (input). Kept apart by example it is one small
product per layer, formed while the backward pass goes by, handed on, and dropped: no parameter has a `.grad`, and the
full gradient of a batch never exists. The output of each layer is what the backward pass begins or ends with, so any
module and any per-example loss will do.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from winnow.errors import BadInput
from winnow.gradients.adapters import adapted, plain_adapter
from winnow.gradients.blocks import Block, is_experts, is_router

# Takes a block and the gradients of all examples of the batch for it [rows, elements]; it may write into them.
Sink = Callable[[Block, torch.Tensor], None]


class Capture:
    """Hooks that hand the per-example gradients of ``blocks`` to a sink during a backward pass."""

    def __init__(self, model: nn.Module, blocks: Sequence[Block]) -> None:
        self.model = model
        self.blocks = list(blocks)
        self._of: dict[str, list[Block]] = defaultdict(list)
        for block in blocks:
            self._of[block.parameter].append(block)
        self._adapters = {path: found for path, module in model.named_modules() if (found := self._fused(path, module))}
        fused = {f"{path}.{part}.{self._adapters[path]}" for path in self._adapters for part in ("lora_A", "lora_B")}
        owners = {name.rpartition(".")[0] for name in self._of} - fused | set(self._adapters)
        self._modules = [(path, module) for path, module in model.named_modules() if path in owners]
        self._rows, self._length = 0, 1
        self._sink: Sink | None = None
        self._uses: dict[str, int] = defaultdict(int)
        self._sums: dict[str, torch.Tensor] = {}
        self._emitted: set[Block] = set()

    @contextmanager
    def to(self, sink: Sink, rows: int, length: int = 1) -> Iterator[None]:
        """Within this context run one forward and one backward pass of a batch of ``rows`` x ``length`` tokens.

        What is differentiated is the sum of the examples' losses. On leaving, blocks that no example used are handed
        on as zeros: their optimizer feature is not zero.
        """
        self._rows, self._length, self._sink = rows, length, sink
        self._uses.clear()
        self._sums.clear()
        self._emitted.clear()
        with ExitStack() as undo, frozen(self.model):
            for path, module in self._modules:
                self._attach(path, module, undo)
            if any(is_router(module) or is_experts(module) for _, module in self._modules):
                embedding = self.model.get_input_embeddings()
                undo.callback(embedding.register_forward_hook(_require_grad).remove)
            yield
        device = next(self.model.parameters()).device
        for block in self.blocks:
            if block not in self._emitted:
                # A use whose output nothing was made of has no gradient; what the others gave is waiting.
                waiting = self._sums.pop(block.name, None)
                self._emit(block, torch.zeros(rows, block.size, device=device) if waiting is None else waiting)

    def _fused(self, path: str, module: nn.Module) -> str | None:
        """The adapter of a layer whose whole adapter is captured, and nothing else of it."""
        name = plain_adapter(module)
        wanted = [f"{path}.lora_{part}.{name}.weight" in self._of for part in "AB"]
        base = [f"{path}.base_layer.{part}" in self._of for part in ("weight", "bias")]
        return name if name is not None and all(wanted) and not any(base) else None

    def _attach(self, path: str, module: nn.Module, undo: ExitStack) -> None:
        if path in self._adapters or is_experts(module):
            step = self._adapted if path in self._adapters else self._experts
            module.forward = partial(step, path, module)
            undo.callback(module.__dict__.pop, "forward")
        else:
            undo.callback(module.register_forward_hook(partial(self._after_forward, path)).remove)

    def _after_forward(self, path: str, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        tensor = output[0] if is_router(module) else output
        if not tensor.requires_grad:
            tensor.requires_grad_()
        self._uses[path] += 1
        tensor.register_hook(partial(self._after_backward, path, module, inputs[0].detach()))

    def _after_backward(self, path: str, module: nn.Module, x: torch.Tensor, d: torch.Tensor) -> None:
        x, d = self._by_example(path, x), self._by_example(path, d)
        self._uses[path] -= 1
        for name in ("weight", "bias"):
            for block in self._of.get(f"{path}.{name}" if path else name, ()):
                if name == "bias":
                    gradient = d.sum(dim=1)
                else:
                    pair = (x, d) if isinstance(module, Conv1D) else (d, x)
                    gradient = torch.bmm(pair[0].transpose(1, 2), pair[1]).flatten(1)
                self._add(block, gradient, is_last=self._uses[path] == 0)

    def _adapted(self, path: str, module: nn.Module, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """The forward pass of a layer with a low-rank adapter, in one step."""
        self._uses[path] += 1
        shape = x.shape
        return adapted(module, self._adapters[path], x, partial(self._after_adapter, path, module, shape))

    def _after_adapter(
        self, path: str, module: Any, shape: torch.Size, x: torch.Tensor, d: torch.Tensor, *parts: torch.Tensor
    ) -> None:
        tensors = (x, d, *parts)
        x, d, inner, pulled = (self._by_example(path, tensor.view(*shape[:-1], -1)) for tensor in tensors)
        self._uses[path] -= 1
        name = self._adapters[path]
        for part, left, right in (("lora_B", d, inner * module.scaling[name]), ("lora_A", pulled, x)):
            for block in self._of[f"{path}.{part}.{name}.weight"]:
                gradient = torch.bmm(left.transpose(1, 2), right).flatten(1)
                self._add(block, gradient, is_last=self._uses[path] == 0)

    def _by_example(self, path: str, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor as [rows, tokens, features], in float32 at least."""
        whole = tensor.shape[0] == self._rows if tensor.ndim != 2 else tensor.shape[0] in self._flat_sizes()
        if not whole:
            raise BadInput(
                f"The layer {path!r} is given a tensor of shape {tuple(tensor.shape)} for a batch of {self._rows} x "
                f"{self._length} tokens, so its rows cannot be told apart. Leave it out with `gradients.parameters`."
            )
        shaped = tensor.reshape(self._rows, -1, tensor.shape[-1])
        return shaped if shaped.dtype == torch.float64 else shaped.float()

    def _flat_sizes(self) -> tuple[int, int]:
        return self._rows, self._rows * self._length

    def _add(self, block: Block, gradient: torch.Tensor, is_last: bool) -> None:
        """A layer that is used several times has the sum of its uses."""
        if block.name in self._sums:
            gradient = gradient.add_(self._sums.pop(block.name))
        if is_last:
            self._emit(block, gradient)
        else:
            self._sums[block.name] = gradient

    def _emit(self, block: Block, gradient: torch.Tensor) -> None:
        assert self._sink is not None
        self._emitted.add(block)
        self._sink(block, gradient)

    def _experts(
        self,
        path: str,
        module: Any,
        hidden: torch.Tensor,
        top_k_index: torch.Tensor,
        top_k_weights: torch.Tensor,
        *_: Any,
        **__: Any,
    ) -> torch.Tensor:
        """The experts' forward pass, expert by expert, each product known to `_PerExample`."""
        out = torch.zeros_like(hidden)
        for expert in top_k_index.unique().tolist():
            if expert >= module.num_experts:
                continue
            token, slot = torch.where(top_k_index == expert)
            rows = token.div(self._length, rounding_mode="floor")
            up = partial(self._of_expert, f"{path}.gate_up_proj", expert, rows)
            down = partial(self._of_expert, f"{path}.down_proj", expert, rows)
            gate, value = _PerExample.apply(hidden[token], module.gate_up_proj[expert], up).chunk(2, dim=-1)
            made = _PerExample.apply(module.act_fn(gate) * value, module.down_proj[expert], down)
            out = out.index_add(0, token, (made * top_k_weights[token, slot, None]).to(out.dtype))
        return out

    def _of_expert(self, name: str, expert: int, rows: torch.Tensor, x: torch.Tensor, d: torch.Tensor) -> None:
        for block in self._of.get(name, ()):
            if block.expert == expert:
                wide = torch.float64 if d.dtype == torch.float64 else torch.float32
                gradient = torch.zeros(self._rows, *block.shape, device=d.device, dtype=wide)
                for row in rows.unique().tolist():
                    mine = rows == row
                    gradient[row] = d[mine].to(wide).T @ x[mine].to(wide)
                self._emit(block, gradient.flatten(1))


class _PerExample(torch.autograd.Function):
    """A product with a weight; the backward pass tells input and output gradient, and goes on to the input alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, tell: Callable[..., None]) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.tell = tell
        return linear(x, weight)

    @staticmethod
    def backward(ctx: Any, d: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, weight = ctx.saved_tensors
        ctx.tell(x, d)
        return d @ weight, None, None


def _require_grad(_: nn.Module, __: Any, output: torch.Tensor) -> None:
    if not output.requires_grad:
        output.requires_grad_()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter's own gradient is computed: it would be a third of the work."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_()
