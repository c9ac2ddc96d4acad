"""Worker: the factors of EK-FAC at one checkpoint, from a random sample of the training rows.

Two passes: one for the factors, whose eigenvectors are the bases, and one for the eigenvalues in these. Shards of
planned batches are shared among the processes; their sums are added up in order.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from winnow.gradients.collector import differentiate
from winnow.gradients.layers import Layer, LayerPasses, find_layers
from winnow.influence.ekfac import (
    BASES,
    EIGENVALUES,
    EigenvalueSums,
    FactorSums,
    eigenbases,
    load_bases,
    model_labels,
    total,
    write_tensors,
)
from winnow.params import EkfacParams, GradientsParams
from winnow.records.tokens import TokenRow, TokenTable
from winnow.responses import Batch, Responses
from winnow.stages import PARTS, Finished, Work
from winnow.training.checkpoints import load_merged
from winnow.training.model import load_model
from winnow.workers.gradients import Rows, use_threads
from winnow.workers.runtime import Worker, peak_memory_gb, run

# What sums up a batch, and the sums.
Adder = tuple[Callable[[Layer, torch.Tensor, torch.Tensor, Batch], None], dict[str, torch.Tensor]]


def work(worker: Worker) -> dict[str, Any]:
    """Fit and seal."""
    start = time.monotonic()
    use_threads(worker)
    task = worker.job.task
    ekfac = EkfacParams.model_validate(task["ekfac"])
    params = GradientsParams.model_validate(task["params"])
    rows = Rows(TokenTable.open(Path(task["tokens"]), "train"), params)
    model = load_model(Finished.open(Path(task["base_model"])), params.precision, worker.device())
    model = load_merged(model, Path(task["checkpoint"]))
    layers = find_layers(model, ekfac.layers)
    target = Work(worker.job.places["ekfac"])
    fit = _Fit(worker, target, model, layers, ekfac, rows.sample(ekfac.rows), params.shard_rows)
    fit.sum_up("sums", _factors)
    fit.find_bases()
    fit.sum_up("squares", fit.eigenvalues)
    if worker.is_main:
        values = {name: sums / fit.rows for name, sums in total(fit.parts("squares")).items()}
        target.commit(EIGENVALUES, partial(write_tensors, tensors=values))
        shapes = {layer.name: [layer.outputs, layer.inputs] for layer in layers}
        cost = {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()}
        target.finish({"layers": shapes, "rows": fit.rows}, cost)
    worker.barrier()
    return {}


class _Fit:
    """A model, the layers whose curvature is fitted, and the batches that it is fitted to, in shards."""

    def __init__(
        self,
        worker: Worker,
        target: Work,
        model: Any,
        layers: Sequence[Layer],
        params: EkfacParams,
        batches: Sequence[list[TokenRow]],
        shard_rows: int,
    ) -> None:
        self.worker, self.target, self.params = worker, target, params
        self.responses = Responses(model)
        self.passes = LayerPasses(model, layers)
        self.device = next(model.parameters()).device
        self.rows = sum(map(len, batches))
        self.runs: list[list[tuple[int, list[TokenRow]]]] = [[]]
        for number, batch in enumerate(batches):
            if sum(len(rows) for _, rows in self.runs[-1]) >= shard_rows:
                self.runs.append([])
            self.runs[-1].append((number, batch))

    def parts(self, kind: str) -> list[Path]:
        """The files of a pass, in order."""
        return [self.target.path / _part(kind, number) for number in range(len(self.runs))]

    def sum_up(self, kind: str, begin: Callable[[], Adder]) -> None:
        """One pass over the batches."""
        done = 0
        for number, run_of in enumerate(self.runs):
            name = _part(kind, number)
            done += sum(len(rows) for _, rows in run_of)
            if not self._is_mine(number) or self.target.is_committed(name):
                continue
            add, sums = begin()
            for place, rows in run_of:
                self._pass(add, place, rows)
            self.target.commit(name, partial(write_tensors, tensors=sums))
            self.worker.report(done=done, total=self.rows, unit="rows", message=kind)
        self.worker.barrier()

    def find_bases(self) -> None:
        """The eigenvectors of each layer, in a file of its own: large layers take minutes."""
        layers = list(self.passes.layers)
        for number, layer in enumerate(layers):
            name = f"{BASES}/{number:05}.safetensors"
            if self._is_mine(number) and not self.target.is_committed(name):
                bases = eigenbases(total(self.parts("sums"), f"{layer}."), self.device)
                self.target.commit(name, partial(write_tensors, tensors=bases))
                self.worker.report(done=number + 1, total=len(layers), unit="layers", message=BASES)
        self.worker.barrier()

    def eigenvalues(self) -> Adder:
        """Sums in the eigenbases."""
        found = EigenvalueSums(load_bases(self.target.path, self.device))
        return lambda layer, x, d, batch: found.add(
            layer, x, d, torch.from_numpy(batch.counts).to(d.device)
        ), found.sums

    def _is_mine(self, number: int) -> bool:
        return number % self.worker.world_size == self.worker.rank

    def _pass(self, add: Callable[[Layer, torch.Tensor, torch.Tensor, Batch], None], place: int, rows: Any) -> None:
        batch = self.responses.batch(rows)
        relabel = model_labels(self.params.seed, place, self.device) if self.params.labels == "model" else None
        with self.passes.to(lambda layer, x, d: add(layer, x, d, batch), len(rows)):
            differentiate(self.responses, batch, np.ones(len(rows)), relabel)


def _part(kind: str, number: int) -> str:
    return f"{PARTS}/{kind}/{number:05}.safetensors"


def _factors() -> Adder:
    found = FactorSums()
    return lambda layer, x, d, _: found.add(layer, x, d), found.sums


if __name__ == "__main__":
    run(work)
