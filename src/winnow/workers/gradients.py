"""Worker: features of every row of a split at every chosen checkpoint, one finished store per checkpoint and dimension.

Shards are runs of planned batches and are shared among the processes; equal rows are computed once.
"""

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from peft import PeftModel

from winnow.batching import planned_batches, runs_of
from winnow.gradients.blocks import Block, find_blocks, left_out
from winnow.gradients.certificate import certify, rows_that_fit
from winnow.gradients.collector import Collector, ResponseGradients, RowGradients
from winnow.gradients.features import Adam, AdamForm, Feature, Sgd, Sign
from winnow.gradients.layers import find_layers
from winnow.gradients.quantize import encode, row_bytes
from winnow.gradients.sketch import Projection, identity, make_projection
from winnow.gradients.store import seal_store, write_shard
from winnow.influence.ekfac import Ekfac, WhitenedGradients
from winnow.params import GradientsParams
from winnow.records.tokens import TokenTable
from winnow.stages import Finished, Work
from winnow.training.checkpoints import load_checkpoint, load_moments, optimizer_settings
from winnow.training.model import load_model
from winnow.trajectories import unique_rows
from winnow.workers.runtime import Worker, forget_peak_memory, peak_memory_gb, run, threads_per_process

CERTIFICATE = "certificate.json"


def work(worker: Worker) -> dict[str, Any]:
    """Pass over the rows once per checkpoint, for all dimensions that are missing."""
    use_threads(worker)
    task = worker.job.task
    params = GradientsParams.model_validate(task["params"])
    rows = Rows(TokenTable.open(Path(task["tokens"]), task["split"]), params)
    model: Any = load_model(Finished.open(Path(task["base_model"])), params.precision, worker.device())
    stores = [(name.split("@"), place) for name, place in worker.job.places.items()]
    steps = list(dict.fromkeys(step for (step, _), _ in stores))
    for number, step in enumerate(steps):
        start = time.monotonic()
        forget_peak_memory()
        model = load_checkpoint(model, Path(task["checkpoints"][step]))
        gradients, feature = _differentiator(worker, model, params, step)
        blocks = gradients.blocks
        places = {int(dim): place for (own, dim), place in stores if own == step}
        projections = [make_projection(params.projection, dim, params.seed, blocks) for dim in places]
        collector = Collector(gradients, feature, projections)
        targets = [Work(place) for place in places.values()]
        report = partial(_report, worker, number * rows.count, len(steps) * rows.count, f"checkpoint {step}")
        _collect(worker, rows, collector, targets, task["store"], report)
        worker.barrier()
        if worker.is_main:
            if task["split"] == "train":
                _certify(rows, collector, blocks, task["store"], targets)
            for target, projection in zip(targets, projections, strict=True):
                made_with = {**task["made_with"][step], "projection": identity(projection, blocks)}
                _seal(target, rows, collector, projection, task["store"], made_with, time.monotonic() - start)
        worker.barrier()
    return {}


def _differentiator(worker: Worker, model: Any, params: GradientsParams, step: str) -> tuple[RowGradients, Feature]:
    """What takes the rows' gradients, whitened where there are factors, and what is made of them."""
    task = worker.job.task
    if factors := task.get("factors"):
        merged = model.merge_and_unload() if isinstance(model, PeftModel) else model
        layers = find_layers(merged, task["layers"])
        return WhitenedGradients(merged, layers, Ekfac.load(Path(factors), task["damping"], worker.device())), Sgd()
    feature = make_feature(task["feature"], params, Path(task["moments"][step]), worker.device())
    return ResponseGradients(model, find_blocks(model, params.parameters)), feature


class Rows:
    """The different rows of a split, in planned batches; a run of batches is a shard."""

    def __init__(self, tokens: TokenTable, params: GradientsParams) -> None:
        self.tokens = tokens
        self.groups = unique_rows(tokens)
        lengths = [len(row.input_ids) for row in tokens.rows([group[0] for group in self.groups])]
        self.count = len(self.groups)
        self.total_tokens = sum(lengths)
        self.params = params
        self.runs = runs_of(planned_batches(lengths, params.batch, params.batch_tokens), params.shard_rows)

    def of(self, batch: Sequence[int]) -> list[Any]:
        """The token rows of a batch."""
        return self.tokens.rows([self.groups[place][0] for place in batch])

    def copies(self, batch: Sequence[int]) -> list[Any]:
        """The token rows of a batch, and those equal to them."""
        return self.tokens.rows([name for place in batch for name in self.groups[place]])

    def shards(self) -> dict[str, list[list[str]]]:
        """The ids that each row of each shard stands for."""
        return {
            shard_name(number): [self.groups[place] for batch in run_of for place in batch]
            for number, run_of in enumerate(self.runs)
        }

    def sample(self, count: int) -> list[list[Any]]:
        """A random sample, in batches."""
        random = np.random.default_rng(self.params.seed)
        chosen = random.permutation(self.count)[:count].tolist()
        lengths = [len(row.input_ids) for row in self.of(chosen)]
        planned = planned_batches(lengths, self.params.batch, self.params.batch_tokens)
        return [self.of([chosen[place] for place in batch]) for batch in planned]


def use_threads(worker: Worker) -> None:
    """Compiled loops have threads of their own, which torch's number does not reach."""
    import numba

    numba.set_num_threads(min(threads_per_process(worker.job.machine), numba.config.NUMBA_NUM_THREADS))


def make_feature(kind: str, params: GradientsParams, moments: Path, device: str) -> Feature:
    """The optimizer feature of one checkpoint."""
    if kind != "adam":
        return Sgd() if kind == "sgd" else Sign()
    theirs, ours = optimizer_settings(moments), params.adam
    betas = ours.betas or tuple(theirs.get("betas", AdamForm.betas))
    eps = ours.eps or theirs.get("eps", AdamForm.eps)
    form = AdamForm((betas[0], betas[1]), eps, ours.eps_at, ours.bias_correction, ours.momentum)
    return Adam(form, *load_moments(moments), device)


def shard_name(number: int) -> str:
    """Where a shard lies in its store."""
    return f"shards/{number:05}.safetensors"


def _collect(
    worker: Worker, rows: Rows, collector: Collector, targets: Sequence[Work], kind: str, report: partial[None]
) -> None:
    done = 0
    for number, run_of in enumerate(rows.runs):
        name = shard_name(number)
        done += sum(map(len, run_of))
        missing = [target for target in targets if not target.is_committed(name)]
        if number % worker.world_size != worker.rank or not missing:
            continue
        collected = []
        before = done - sum(map(len, run_of))
        for batch in run_of:
            collected.append(collector(rows.of(batch)))
            before += len(batch)
            report(before)
        losses = np.concatenate([part.losses for part in collected])
        for place, target in enumerate(targets):
            if target in missing:
                encoded = encode(np.concatenate([part.features[place] for part in collected]), kind)
                target.commit(name, partial(write_shard, rows=encoded, losses=losses))


def _report(worker: Worker, before: int, total: int, message: str, done: int) -> None:
    worker.report(done=before + done, total=total, unit="rows", message=message)


def _certify(rows: Rows, collector: Collector, blocks: Sequence[Block], kind: str, targets: Sequence[Work]) -> None:
    """Measure once how exact the stores are; a resumed worker keeps what an earlier one found."""
    if all(target.is_committed(CERTIFICATE) for target in targets):
        return
    batches = rows.sample(rows_that_fit(rows.params.certificate_rows, blocks))
    found = certify(collector.gradients, collector.feature, collector.projections, kind, batches)
    for target, certificate in zip(targets, found, strict=True):
        target.commit(CERTIFICATE, partial(Path.write_text, data=json.dumps(certificate, indent=1)))


def _seal(
    target: Work,
    rows: Rows,
    collector: Collector,
    projection: Projection,
    kind: str,
    made_with: dict[str, Any],
    seconds: float,
) -> None:
    tables = seal_store(target, kind, projection.dim, rows.shards(), made_with)
    blocks = collector.gradients.blocks
    certificate = target.path / CERTIFICATE
    summary = {
        "tables": tables,
        "dimensions": sum(block.size for block in blocks),
        "left_out": left_out(collector.gradients.responses.model, blocks),
        "row_bytes": row_bytes(kind, projection.dim),
        "computed_rows": rows.count,
        "certificate": json.loads(certificate.read_text()) if certificate.exists() else {},
    }
    speed = rows.total_tokens / seconds
    target.finish(summary, {"seconds": seconds, "peak_memory_gb": peak_memory_gb(), "tokens_per_second": speed})


if __name__ == "__main__":
    run(work)
