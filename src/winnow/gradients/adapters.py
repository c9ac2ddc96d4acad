"""A low-rank adapter's layer as one step: output and gradients without the intermediate results of its parts."""

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn
from torch.nn.functional import linear

# Takes the layer's input x, its output gradient d, x A^T and s d B, each [tokens, features].
Tell = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], None]


def plain_adapter(module: nn.Module) -> str | None:
    """The name of a layer's adapter where its output is `x W^T + bias + s x A^T B^T` in one dtype, else None."""
    if not isinstance(module, LoraLinear) or module.merged or len(module.active_adapters) != 1:
        return None
    (name,) = module.active_adapters
    base = module.base_layer
    if type(base) is not nn.Linear or name not in module.lora_A or module.use_dora.get(name):
        return None
    if module.training and not isinstance(module.lora_dropout[name], nn.Identity):
        return None
    down, up = module.lora_A[name], module.lora_B[name]
    dtypes = {base.weight.dtype, down.weight.dtype, up.weight.dtype}
    return name if len(dtypes) == 1 and down.bias is None and up.bias is None else None


def adapted(module: Any, adapter: str, x: torch.Tensor, tell: Tell) -> torch.Tensor:
    """The layer's output; ``tell`` is called when its gradient is known."""
    base = module.base_layer
    down, up = module.lora_A[adapter].weight, module.lora_B[adapter].weight
    # Without an input that needs a gradient the backward pass would not come by.
    anchor = torch.empty(0, device=x.device, requires_grad=True)
    return _Adapted.apply(x, anchor, base.weight, base.bias, down, up, module.scaling[adapter], tell)


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        _: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
        tell: Tell,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        inner = flat @ down.T
        out = linear(flat, weight, bias).addmm_(inner, up.T, alpha=scaling)
        ctx.save_for_backward(flat, inner, weight, down, up)
        ctx.shape, ctx.scaling, ctx.tell = x.shape, scaling, tell
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, d: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inner, weight, down, up = ctx.saved_tensors
        d = d.reshape(-1, d.shape[-1])
        pulled = (d @ up).mul_(ctx.scaling)
        ctx.tell(x, d, inner, pulled)
        back = (d @ weight).addmm_(pulled, down).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return back, *([None] * 7)
