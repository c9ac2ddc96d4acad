"""Worker: the factors of EK-FAC at one checkpoint, from a random sample of the training rows.

Two passes: one for the factors, whose eigenvectors are the bases, and one for the eigenvalues in these. Shards of
planned batches are shared among the processes; their sums are added up in order.
"""

import shutil
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
    model_labels,
    total,
    write_tensors,
)
from winnow.params import EkfacParams, GradientsParams
from winnow.records.tokens import TokenRow, TokenTable
from winnow.responses import Batch, Responses
from winnow.stages import Finished, Work
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
    fit.sum_up("sums", BASES, _factors)
    fit.seal(BASES, lambda: eigenbases(total(fit.shards("sums")), fit.told("bases", 2 * len(layers), "factors")))
    fit.sum_up("squares", EIGENVALUES, fit.eigenvalues)
    fit.seal(EIGENVALUES, lambda: {name: sums / fit.rows for name, sums in total(fit.shards("squares")).items()})
    if worker.is_main:
        for name in ("sums", "squares"):
            shutil.rmtree(target.path / name, ignore_errors=True)
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

    def shards(self, kind: str) -> list[Path]:
        """The files of a pass, in order."""
        return [self.target.path / f"{kind}/{number:05}.safetensors" for number in range(len(self.runs))]

    def told(self, what: str, count: int, unit: str) -> Callable[[int], None]:
        """Something that reports how many of ``count`` are done."""
        return lambda done: self.worker.report(done=done, total=count, unit=unit, message=what)

    def sum_up(self, kind: str, result: str, begin: Callable[[], Adder]) -> None:
        """One pass over the batches, unless what comes of it is there."""
        report, done = self.told(kind, self.rows, "rows"), 0
        for number, run_of in enumerate(self.runs):
            name = f"{kind}/{number:05}.safetensors"
            done += sum(len(rows) for _, rows in run_of)
            mine = number % self.worker.world_size == self.worker.rank
            if not mine or self.target.is_committed(result) or self.target.is_committed(name):
                continue
            add, sums = begin()
            for place, rows in run_of:
                self._pass(add, place, rows)
            self.target.commit(name, partial(write_tensors, tensors=sums))
            report(done)
        self.worker.barrier()

    def seal(self, name: str, make: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Write a result once."""
        if self.worker.is_main and not self.target.is_committed(name):
            self.target.commit(name, partial(write_tensors, tensors=make()))
        self.worker.barrier()

    def eigenvalues(self) -> Adder:
        """Sums in the eigenbases."""
        bases = total([self.target.path / BASES])
        found = EigenvalueSums({name: basis.to(self.device) for name, basis in bases.items()})
        return lambda layer, x, d, batch: found.add(
            layer, x, d, torch.from_numpy(batch.counts).to(d.device)
        ), found.sums

    def _pass(self, add: Callable[[Layer, torch.Tensor, torch.Tensor, Batch], None], place: int, rows: Any) -> None:
        batch = self.responses.batch(rows)
        relabel = model_labels(self.params.seed, place, self.device) if self.params.labels == "model" else None
        with self.passes.to(lambda layer, x, d: add(layer, x, d, batch), len(rows)):
            differentiate(self.responses, batch, np.ones(len(rows)), relabel)


def _factors() -> Adder:
    found = FactorSums()
    return lambda layer, x, d, _: found.add(layer, x, d), found.sums


if __name__ == "__main__":
    run(work)
