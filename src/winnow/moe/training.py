"""Stage 1: what a selector learns from. The loss of the next tokens, and the constraint on what its routers throw away.

Only routers are trained: a checkpoint holds them and nothing else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import distributed, nn
from torch.nn.functional import cross_entropy

from winnow.moe.constraint import constrained_mass, constraint
from winnow.moe.convert import Conversion, save_gates
from winnow.moe.router import TrashRouter, listening, trash_mass
from winnow.params import SelectMoeParams
from winnow.training.data import IGNORED

# What the trainer calls the number of tokens of a whole batch.
TOKENS = "tokens_in_batch"


class SelectorTraining(nn.Module):
    """A selector as the trainer sees it: its trained parameters, and a forward pass that ends in the loss."""

    def __init__(
        self, model: Any, routers: Mapping[str, TrashRouter], conversion: Conversion, params: SelectMoeParams
    ) -> None:
        super().__init__()
        # Not a submodule: what is saved, moved and counted are the trained parameters alone.
        self.__dict__["model"] = model
        self.__dict__["routers"] = dict(routers)
        self.conversion = conversion
        self.params = params
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.trained = nn.ParameterDict({name.replace(".", "/"): value for name, value in trained.items()})
        self.sums: torch.Tensor | None = None

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
        tokens_in_batch: torch.Tensor | int | None = None,
        **_: Any,
    ) -> dict[str, torch.Tensor]:
        """The loss of a batch, by which all its tokens count alike, however they are shared among micro-batches."""
        seen: dict[str, torch.Tensor] = {}
        with listening(self.routers, seen.__setitem__):
            logits = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        wanted = labels[:, 1:]
        losses = cross_entropy(
            logits[:, :-1].float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        supervised = (wanted != IGNORED).sum()
        counted = (labels != IGNORED if self.params.tokens == "supervised" else attention_mask.bool()).flatten()
        held = self._constraint({name: values[counted] for name, values in seen.items()})
        self._note(losses.detach(), supervised, held.detach(), {name: seen[name].detach()[counted] for name in seen})
        all_supervised = supervised.clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        all_counted = num_items_in_batch if self.params.tokens == "supervised" else tokens_in_batch
        all_counted = counted.sum() if all_counted is None else all_counted
        return {"loss": losses / all_supervised + self.params.constraint.weight * held / all_counted}

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """The gates, with what adapters added to them."""
        causal = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        gates = {name: gate_of(causal.get_submodule(name)) for name in self.routers}
        save_gates(Path(folder), gates, self.conversion)

    def told(self) -> dict[str, float]:
        """Means since the last call, over all processes: CE, constraint, share thrown away, trash mass by layer."""
        assert self.sums is not None
        sums, self.sums = self.sums, None
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(sums)
        supervised, counted = sums[0], sums[1]
        found = {"ce": sums[2] / supervised, "constraint": sums[3] / counted, "trash_share": sums[4] / counted}
        found |= {f"trash_mass/layer_{n}": mass / counted for n, mass in enumerate(sums[5:])}
        return {name: float(value) for name, value in found.items()}

    def _constraint(self, seen: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The mean over layers, summed over tokens."""
        settings = self.params.constraint
        layers = []
        for name, router in self.routers.items():
            mass = constrained_mass(seen[name], router.experts, router.top_k, settings)
            layers.append(constraint(mass, settings).sum())
        return torch.stack(layers).mean()

    @torch.no_grad()
    def _note(
        self, losses: torch.Tensor, supervised: torch.Tensor, held: torch.Tensor, seen: Mapping[str, torch.Tensor]
    ) -> None:
        thrown, masses = [], []
        for name, router in self.routers.items():
            chosen = seen[name].topk(router.top_k, dim=-1).indices
            thrown.append((chosen >= router.experts).any(dim=-1).sum())
            masses.append(trash_mass(seen[name], router.experts).sum())
        number = torch.tensor(len(next(iter(seen.values()))), device=losses.device)
        thrown_mean = torch.stack(thrown).double().mean()
        sums = torch.stack([value.double() for value in (supervised, number, losses, held, thrown_mean, *masses)])
        self.sums = sums if self.sums is None else self.sums + sums


def gate_of(router: Any) -> torch.Tensor:
    """A router's gate, with the product of its adapter added where it has one."""
    if isinstance(router, TrashRouter):
        return router.weight.detach()
    with torch.no_grad():
        (name,) = router.active_adapters
        gate: torch.Tensor = router.get_base_layer().weight + router.get_delta_weight(name)
        return gate
