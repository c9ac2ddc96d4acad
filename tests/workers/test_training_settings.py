"""What a training may be told besides its rows: each setting does what it says, and nothing else."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from pipelines.finetune.nodes import finetune
from support.tiny import Tiny, checksums, kill_workers, when
from support.training import history
from winnow.errors import BadSetting, MissingResource, OutOfMemory, WorkerFailed
from winnow.params import ArmParams, FinetuneParams, SamplesParams, TokenizeParams
from winnow.progress import listening
from winnow.records.tokens import TokenTable
from winnow.stages import Finished, FinishedParts
from winnow.workers.job import Job
from winnow.workers.memory import is_out_of_memory, remedies
from winnow.workers.runtime import Worker, perform

PARAMS = FinetuneParams(steps=8, batch=4, lr=0.01)
WATCHED = {"validation_rows": 10, "samples": SamplesParams(prompts=["What is 2+2?", "Who are you?"], every=3)}


def train(tiny: Tiny, root: Path, machine: dict[str, object] | None = None, **changed: object) -> Finished:
    return both(tiny, root, 1, machine, **changed).parts["0"]


def both(tiny: Tiny, root: Path, seeds: int, machine: dict[str, object] | None, **changed: object) -> FinishedParts:
    params, arm = PARAMS.model_copy(update=changed), ArmParams(seeds=seeds)
    where = tiny.machine(root, **(machine or {}))
    return finetune(tiny.mix(seeds), tiny.tokens, tiny.base, params, TokenizeParams(), arm, where)


@pytest.fixture(scope="module")
def plain(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return train(tiny, tmp_path_factory.mktemp("plain"))


def losses(part: Finished) -> np.ndarray:
    return history(part.path)["loss"].to_numpy()


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_packed_rows_train_to_the_same_losses(tiny: Tiny, plain: Finished, tmp_path: Path, micro_batch: int | None):
    packed = train(tiny, tmp_path, {"micro_batch": micro_batch}, packing=True)
    np.testing.assert_allclose(losses(packed), losses(plain), atol=1e-4)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_gradient_checkpointing_changes_no_loss(tiny: Tiny, tmp_path: Path, method: str):
    kept, twice = (
        train(tiny, tmp_path / str(flag), {"gradient_checkpointing": flag}, method=method) for flag in (False, True)
    )
    np.testing.assert_allclose(losses(twice), losses(kept), atol=1e-5)


def test_a_loss_weight_counts_as_that_many_copies_in_the_batch(tiny: Tiny, tmp_path: Path):
    """One step over a whole mix: repeated rows, and the same rows once with weights, give the same loss and weights."""
    mix = tiny.mix(1, rows=8).assign(multiplicity=[1, 2, 3, 1, 2, 1, 3, 3])
    base = {"steps": 1, "lr": 0.01, "warmup_share": 0.0}
    found = []
    for weighting, batch in (("repeat", 16), ("loss", 8)):
        params = FinetuneParams(**base, weighting=weighting, batch=batch)
        machine = tiny.machine(tmp_path, micro_batch=batch // 2)
        parts = finetune(mix, tiny.tokens, tiny.base, params, TokenizeParams(), ArmParams(seeds=1), machine)
        found.append(parts.parts["0"])
    np.testing.assert_allclose(losses(found[0]), losses(found[1]), rtol=1e-5)
    repeated, weighted = (load_file(part.path / "adapter_model.safetensors") for part in found)
    # Adam's first step is the gradient's sign: where that is 0 by cancellation, rounding decides.
    for name, tensor in repeated.items():
        np.testing.assert_allclose(weighted[name].numpy(), tensor.numpy(), atol=2e-3, err_msg=name)
    grad = [history(part.path)["grad_norm"].item() for part in found]
    assert grad[0] == pytest.approx(grad[1], rel=1e-4)


def test_checkpoints_come_every_so_many_steps_and_the_last_ones_are_kept(tiny: Tiny, tmp_path: Path):
    part = train(tiny, tmp_path, save_every=2, keep_checkpoints=2)
    assert sorted(path.name for path in part.path.glob("checkpoint-*")) == ["checkpoint-6", "checkpoint-8"]


def test_what_a_kill_left_of_older_checkpoints_is_removed(tiny: Tiny, tmp_path: Path):
    """The training was complete, and a kill came while the last but two were removed."""
    part = train(tiny, tmp_path, save_every=2, keep_checkpoints=2)
    before = checksums(part.path)
    (part.path / "record.json").unlink()
    partial = part.path.with_name(f"{part.path.name}.partial")
    part.path.rename(partial)
    (partial / "checkpoint-2").mkdir()
    (partial / "checkpoint-2" / "optimizer.pt").write_bytes(b"half")
    assert checksums(train(tiny, tmp_path, save_every=2, keep_checkpoints=2).path) == before


def test_packed_rows_carry_their_weights(tiny: Tiny, tmp_path: Path):
    mix = tiny.mix(1).assign(multiplicity=lambda rows: 1 + rows.index % 3)
    found = []
    for packing in (False, True):
        params = PARAMS.model_copy(update={"packing": packing, "weighting": "loss"})
        machine = tiny.machine(tmp_path, micro_batch=2)
        parts = finetune(mix, tiny.tokens, tiny.base, params, TokenizeParams(), ArmParams(seeds=1), machine)
        found.append(losses(parts.parts["0"]))
    np.testing.assert_allclose(*found, atol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "after"), [("linear", [1.0, 0.75, 0.5, 0.25]), ("constant", [1.0, 1.0, 1.0, 1.0])]
)
def test_the_learning_rate_follows_the_schedule(tiny: Tiny, tmp_path: Path, schedule: str, after: list[float]):
    part = train(tiny, tmp_path, schedule=schedule, warmup_share=0.5)
    expected = [0.01 * share for share in [0.0, 0.25, 0.5, 0.75, *after]]
    np.testing.assert_allclose(history(part.path)["lr"], expected, rtol=1e-6)


def test_an_adapter_is_trained_on_a_base_in_four_bits(tiny: Tiny, plain: Finished, tmp_path: Path):
    parts = both(tiny, tmp_path, 2, None, method="qlora")
    found = losses(parts.parts["0"])
    # Nearly the base: its first loss is that of a model whose weights were rounded.
    assert 0 < abs(found[0] - losses(plain)[0]) < 0.05
    assert found[-1] < found[0]
    assert set(load_file(parts.parts["0"].path / "adapter_model.safetensors")) == set(
        load_file(plain.path / "adapter_model.safetensors")
    )
    alone = both(tiny, tmp_path / "alone", 2, None, method="qlora")
    assert checksums(alone.parts["1"].path) == checksums(parts.parts["1"].path)


def test_bf16_and_fp16_are_what_they_say_or_refused(tiny: Tiny, plain: Finished, tmp_path: Path):
    half = losses(train(tiny, tmp_path, precision="bf16"))
    assert 0 < np.abs(half - losses(plain)).max() < 0.1
    with pytest.raises(BadSetting, match="fp16, whose scaled losses need CUDA"):
        train(tiny, tmp_path, precision="fp16")
    with pytest.raises(MissingResource, match="Liger's kernels are for CUDA"):
        train(tiny, tmp_path, liger=True)


@pytest.fixture(scope="module")
def watched(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> FinishedParts:
    return both(tiny, tmp_path_factory.mktemp("watched"), 2, None, save_every=4, **WATCHED)


def test_a_training_that_is_watched_ends_with_the_same_weights(tiny: Tiny, plain: Finished, watched: FinishedParts):
    mine, theirs = (part.path / "adapter_model.safetensors" for part in (watched.parts["0"], plain))
    assert mine.read_bytes() == theirs.read_bytes()


def test_a_base_in_four_bits_is_the_same_after_it_was_looked_at(tiny: Tiny, tmp_path: Path):
    """On CPUs with AVX512-BF16 bitsandbytes rounds the weights anew at the first forward in eval mode."""
    alone = train(tiny, tmp_path / "alone", method="qlora")
    seen = train(tiny, tmp_path / "seen", method="qlora", **WATCHED)
    mine, theirs = (part.path / "adapter_model.safetensors" for part in (seen, alone))
    assert mine.read_bytes() == theirs.read_bytes()


def test_answers_and_losses_are_told_before_and_at_saves_and_between(tiny: Tiny, watched: FinishedParts):
    folder = watched.parts["0"].path
    told = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert [row["step"] for row in told] == [step for step in (0, 3, 4, 6, 8) for _ in range(2)]
    assert {row["prompt"] for row in told} == {"What is 2+2?", "Who are you?"}
    table = pl.read_parquet(folder / "validation.parquet")
    assert table.group_by("step").len().sort("step").rows() == [(step, 10) for step in (0, 3, 4, 6, 8)]
    known = set(TokenTable.open(tiny.tokens.path, "validation").ids)
    assert set(table["example_id"]) <= known


def test_a_watched_training_that_is_killed_ends_with_the_same_bytes(tiny: Tiny, watched: FinishedParts, tmp_path: Path):
    kill = when(lambda news: (news.step or 0) >= 6 and news.message == "seed 1", kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed, match="exit code -9"):
        both(tiny, tmp_path, 2, None, save_every=4, **WATCHED)
    resumed = both(tiny, tmp_path, 2, None, save_every=4, **WATCHED)
    for seed, part in resumed.parts.items():
        assert checksums(part.path) == checksums(watched.parts[seed].path)


def test_expected_answers_of_a_file_are_compared(tiny: Tiny, tmp_path: Path):
    rows = [{"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]} for n in "123"]
    file = tmp_path / "skill.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    part = train(tiny, tmp_path, samples=SamplesParams(files=[str(file)], limit=2))
    told = [json.loads(line) for line in (part.path / "samples.jsonl").read_text().splitlines()]
    assert len(told) == 4
    assert {(row["group"], row["expected"]) for row in told} == {("skill", "a")}
    assert not any(row["correct"] for row in told)
    file.write_text(file.read_text().replace("q", "r"))
    again = train(tiny, tmp_path, samples=SamplesParams(files=[str(file)], limit=2))
    assert again.fingerprint != part.fingerprint, "other prompts, the same result"


def test_out_of_memory_names_the_settings_that_take_less(tiny: Tiny, tmp_path: Path):
    task = {"params": PARAMS.model_copy(update={"method": "full", "batch": 16}).model_dump(mode="json")}
    job = Job("finetune", task, {}, tiny.machine(tmp_path), os.getpid(), tmp_path)

    def work(worker: Worker) -> dict[str, object]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    assert perform(work, job.write()) == 1
    answer = json.loads((tmp_path / "result.json").read_text())
    assert answer["error"] == OutOfMemory.__name__
    for said in ("20 GiB", "machine.micro_batch: 8", "gradient_checkpointing: true", "method: lora", "max_length"):
        assert said in answer["message"]
    assert "side_by_side" not in answer["message"], "it is alone"
    beside = replace(job, machine=tiny.machine(tmp_path, side_by_side=2))
    assert remedies(beside).split(":")[0].strip() == "machine.side_by_side"


def test_other_errors_are_not_taken_for_a_full_memory():
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
