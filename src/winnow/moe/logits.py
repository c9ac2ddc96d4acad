"""The logits of a converted model beside those of its base model."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from winnow.moe.router import TrashRouter, without_trash

ROWS, LENGTH = 2, 16
# The largest difference of a logit, where kernels may add up in another order.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.25}
# Name, value, what is expected, whether it is so, and a note.
Found = tuple[str, str, str, bool, str]


def all_logits(model: Any) -> dict[str, torch.Tensor]:
    """Logits of generated tokens, by the plain implementation of experts, and by the model's own."""
    own = model.config._experts_implementation
    logits = {kind: _logits(model, kind) for kind in dict.fromkeys(["eager", own])}
    model.set_experts_implementation(own)
    return logits


def compare_logits(
    before: Mapping[str, torch.Tensor], selector: Any, routers: Mapping[str, TrashRouter], tolerance: float | None
) -> Iterator[Found]:
    """Beside the base model's logits those without trash rows, which have to be the same, and those with them."""
    with without_trash(routers):
        without = all_logits(selector)
    for kind, expected in before.items():
        exact = kind == "eager" and expected.dtype == torch.float32
        allowed = (0.0 if exact else TOLERANCES[expected.dtype]) if tolerance is None else tolerance
        gap = _gap(without[kind], expected)
        note = str(expected.dtype).removeprefix("torch.")
        yield f"{kind}, without trash", f"{gap:.3g} apart", f"{allowed:g} apart at most", gap <= allowed, note
    for kind, found in all_logits(selector).items():
        yield f"{kind}, with trash", f"{_gap(found, before[kind]):.3g} apart", "", True, "for information"


def _logits(model: Any, kind: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(model.config.get_text_config().vocab_size, (ROWS, LENGTH), generator=generator).to(
        model.device
    )
    model.set_experts_implementation(kind)
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits
    return logits.cpu()


def _gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference; NaN where there is one, which is within no tolerance."""
    return float((found.float() - expected.float()).abs().max())
