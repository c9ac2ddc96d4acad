"""Routers with trash-can experts: rows of the gate beyond the experts, whose tokens get nothing.

A selected trash expert has weight 0 and the index of a real one, so that every kernel for experts takes it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from winnow.errors import BadInput
from winnow.gradients.blocks import is_router

PROBE_ROWS = 16
# Takes the logits [tokens, experts + trash] of one router.
Listener = Callable[[torch.Tensor], None]


class TrashRouter(nn.Module):
    """A softmax top-k router over ``experts`` real rows of the gate, and trash rows after them."""

    def __init__(
        self, weight: torch.Tensor, experts: int, top_k: int, renormalise: bool = False, in_float: bool = False
    ) -> None:
        super().__init__()
        # Kept in float32 whatever the model has: small steps would be lost in fewer bits.
        self.weight = nn.Parameter(weight.float())
        self.experts = experts
        self.top_k = top_k
        self.renormalise = renormalise
        self.in_float = in_float
        self.disabled = False
        self.tell: Listener | None = None

    @property
    def trash(self) -> int:
        """How many trash rows there are."""
        return len(self.weight) - self.experts

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, and weights and indices of the chosen experts [tokens, top_k]."""
        hidden = hidden.reshape(-1, hidden.shape[-1])
        gate = self.weight.to(hidden.dtype)
        # Apart: a product with more rows may differ in its last bits, and the real ones shall be what they were.
        real, trash = linear(hidden, gate[: self.experts]), linear(hidden, gate[self.experts :])
        logits = torch.cat([real, torch.full_like(trash, -torch.inf) if self.disabled else trash], dim=1)
        if self.tell is not None:
            self.tell(logits)
        # With columns of -inf a softmax may add up in another order, and differ in its last bits.
        odds = torch.softmax(real if self.disabled else logits, dim=-1, dtype=torch.float)
        weights, index = odds.topk(self.top_k, dim=-1)
        if self.renormalise:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        thrown = index >= self.experts
        # Spread over the experts: none gets all that is thrown away.
        index = torch.where(thrown, (index - self.experts) % self.experts, index)
        weights = weights.masked_fill(thrown, 0)
        return logits, weights if self.in_float else weights.to(logits.dtype), index


def find_routers(model: nn.Module) -> dict[str, Any]:
    """The routers of a model by name, as transformers made them or with trash rows."""
    return {
        name: module for name, module in model.named_modules() if is_router(module) or isinstance(module, TrashRouter)
    }


def attach(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, TrashRouter]:
    """Put routers with these gates [experts + trash, hidden] in the places of the model's own."""
    routers = find_routers(model)
    if not routers or set(weights) != set(routers):
        odd = sorted(set(weights) ^ set(routers))
        raise BadInput(
            f"The gates do not fit {type(model).__name__}: "
            + (f"{odd[0]!r} is in one of them alone." if odd else "it has no router that is a softmax over experts.")
        )
    attached = {}
    for name, weight in weights.items():
        attached[name] = _widened(name, routers[name], weight)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, attached[name])
    return attached


def _widened(name: str, router: Any, weight: torch.Tensor) -> TrashRouter:
    if isinstance(router, TrashRouter):
        raise BadInput(f"The router {name!r} has trash rows already. Convert the untouched model.")
    experts, hidden = router.weight.shape
    if weight.shape[1] != hidden or len(weight) <= experts:
        raise BadInput(f"The gate for {name!r} has the shape {tuple(weight.shape)}; the router's is {experts, hidden}.")
    top_k = int(getattr(router, "top_k", 0))
    for renormalise, in_float in product((False, True), repeat=2):
        made = TrashRouter(weight.to(router.weight.device), experts, top_k, renormalise, in_float)
        if top_k and _agree(router, made):
            return made
    raise BadInput(
        f"The router {name!r} ({type(router).__name__}) is no softmax over the products of its gate, taken top-k: it "
        "cannot be widened. OLMoE, Qwen3-MoE and Mixtral have such routers."
    )


@torch.no_grad()
def _agree(router: Any, widened: TrashRouter) -> bool:
    """Whether, without its trash rows, the new router does what the old one does, seen by what both say of a probe."""
    plain = TrashRouter(router.weight, widened.experts, widened.top_k, widened.renormalise, widened.in_float).to(
        router.weight.device
    )
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(PROBE_ROWS, router.weight.shape[1], generator=generator).to(router.weight)
    # Gates of zeros would tell nothing.
    scale = router.weight.float().square().sum(dim=1).mean().sqrt().clamp(min=1e-6)
    probe = probe / scale.to(probe)
    was_training = router.training
    try:
        found = router.eval()(probe)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        # It wants something else than hidden states, so it is another kind of router.
        return False
    finally:
        router.train(was_training)
    if not isinstance(found, tuple) or len(found) != 3:
        return False
    _, weights, index = plain(probe)
    same = torch.equal(index, found[2]) and weights.dtype == found[1].dtype
    return same and torch.allclose(weights, found[1], atol=1e-6, rtol=1e-3)


@contextmanager
def listening(routers: Mapping[str, TrashRouter], tell: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Within this context ``tell`` is given the name and the logits of each router at each pass."""
    with ExitStack() as undo:
        for name, router in routers.items():
            router.tell = lambda logits, name=name: tell(name, logits)
            undo.callback(setattr, router, "tell", None)
        yield


@contextmanager
def without_trash(routers: Mapping[str, TrashRouter]) -> Iterator[None]:
    """Within this context no token is thrown away: the model is the one that was converted."""
    for router in routers.values():
        router.disabled = True
    try:
        yield
    finally:
        for router in routers.values():
            router.disabled = False


def trash_mass(logits: torch.Tensor, experts: int) -> torch.Tensor:
    """The share of each token's probability that is on trash rows [tokens]."""
    return torch.softmax(logits, dim=-1, dtype=torch.float)[:, experts:].sum(dim=-1)
