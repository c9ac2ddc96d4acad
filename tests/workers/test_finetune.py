"""Fine-tuning: what is learnt, that a kill changes nothing, that seeds and processes do not touch each other."""

import json
import math
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from pipelines.finetune.nodes import finetune
from support.tiny import Tiny, checksums, kill_workers, when
from support.training import history
from winnow.errors import BadSetting, WorkerFailed
from winnow.params import ArmParams, FinetuneParams, TokenizeParams
from winnow.progress import listening
from winnow.records.tokens import TokenTable
from winnow.stages import FinishedParts
from winnow.training.checkpoints import load_moments
from winnow.training.data import expand
from winnow.training.finetune import train as train_one
from winnow.training.plan import Plan

PARAMS = FinetuneParams(steps=16, batch=4, lr=0.01, checkpoints=4, moments=True)
ARM = ArmParams(seeds=2)


def train(tiny: Tiny, root: Path, params: FinetuneParams = PARAMS, seeds: int = 2, **machine: object) -> FinishedParts:
    return finetune(
        tiny.mix(seeds), tiny.tokens, tiny.base, params, TokenizeParams(), ARM, tiny.machine(root, **machine)
    )


@pytest.fixture(scope="session")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> FinishedParts:
    return train(tiny, tmp_path_factory.mktemp("undisturbed"))


def test_killed_training_resumes_from_its_checkpoint_to_the_same_bytes(
    tiny: Tiny, undisturbed: FinishedParts, tmp_path: Path
):
    step = int(np.random.default_rng().integers(5, 12))
    kill = when(lambda news: (news.step or 0) >= step and news.message == "seed 1", kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed, match="exit code -9"):
        train(tiny, tmp_path)
    partial = next(tmp_path.glob("06_models/finetune/*.partial"))
    assert list(partial.glob("checkpoint-*")), "nothing was saved before the kill"
    seen: list[int] = []
    with listening(lambda news: seen.append(news.step or 0)):
        resumed = train(tiny, tmp_path)
    assert min(seen, default=step) > 1, "the training began anew"
    for seed, part in resumed.parts.items():
        assert checksums(part.path) == checksums(undisturbed.parts[seed].path)


def test_the_cost_is_read_before_the_main_process_may_move_the_folder(
    tiny: Tiny, undisturbed: FinishedParts, tmp_path: Path
):
    """Another process that comes late from the last barrier finds the folder where finished results lie."""
    folder = shutil.copytree(undisturbed.parts["0"].path, tmp_path / "0.partial")
    expected = json.loads((folder / "cost.json").read_text())["seconds"]
    barriers = iter([False, False, True])

    def barrier() -> None:
        if next(barriers):
            folder.rename(tmp_path / "0")

    plan = Plan(PARAMS, 0, [], folder, "", 0, tiny.machine(tmp_path), "cpu", is_main=False, barrier=barrier)
    assert train_one(None, TokenTable([]), plan, lambda **_: None)["seconds"] == expected
    assert not folder.exists()


def test_an_interrupt_leaves_a_state_that_resumes_to_the_same_bytes(
    tiny: Tiny, undisturbed: FinishedParts, tmp_path: Path
):
    def interrupt() -> None:
        raise KeyboardInterrupt

    with listening(when(lambda news: (news.step or 0) >= 7, interrupt)), pytest.raises(KeyboardInterrupt):
        train(tiny, tmp_path)
    resumed = train(tiny, tmp_path)
    for seed, part in resumed.parts.items():
        assert checksums(part.path) == checksums(undisturbed.parts[seed].path)


def test_seeds_side_by_side_are_killed_together_and_end_with_the_bytes_of_one_after_the_other(
    tiny: Tiny, undisturbed: FinishedParts, tmp_path: Path
):
    before = set(multiprocessing.active_children())

    def kill_the_first() -> None:
        children = sorted(set(multiprocessing.active_children()) - before, key=lambda child: child.pid)
        assert len(children) == 2, "they do not work at once"
        os.kill(children[0].pid, signal.SIGKILL)

    late = when(lambda one: (one.step or 0) >= 6, kill_the_first)
    with listening(late), pytest.raises(WorkerFailed, match="exit code -9"):
        train(tiny, tmp_path, side_by_side=2)
    assert set(multiprocessing.active_children()) == before, "the other went on"
    resumed = train(tiny, tmp_path, side_by_side=2)
    for seed, part in resumed.parts.items():
        assert checksums(part.path) == checksums(undisturbed.parts[seed].path)


def test_a_seeds_model_does_not_depend_on_the_seeds_before_it(tiny: Tiny, undisturbed: FinishedParts, tmp_path: Path):
    mix = tiny.mix(2)
    alone = finetune(mix[mix.seed == 1], tiny.tokens, tiny.base, PARAMS, TokenizeParams(), ARM, tiny.machine(tmp_path))
    assert checksums(alone.parts["1"].path) == checksums(undisturbed.parts["1"].path)
    assert checksums(undisturbed.parts["0"].path) != checksums(undisturbed.parts["1"].path)


def test_more_seeds_train_only_the_new_ones(tiny: Tiny, undisturbed: FinishedParts):
    root = undisturbed.parts["0"].path.parents[2]
    trained: set[str] = set()
    with listening(lambda news: trained.add(news.message)):
        more = train(tiny, root, seeds=3)
    assert trained == {"seed 2"}
    assert more.parts["0"] == undisturbed.parts["0"]


def test_the_loss_is_of_the_answers_alone(tiny: Tiny, undisturbed: FinishedParts):
    mix = tiny.mix(1)
    order = expand(dict(zip(mix.example_id, mix.multiplicity, strict=True)), 0, PARAMS.steps, 1.0, PARAMS.batch)
    model = AutoModelForCausalLM.from_pretrained(tiny.base.path)
    losses = []
    for row in TokenTable.open(tiny.tokens.path, "train").rows(order[: PARAMS.batch]):
        ids = torch.from_numpy(row.input_ids.astype(np.int64))
        with torch.no_grad():
            log_probabilities = model(ids[None]).logits[0].log_softmax(-1)
        places = np.flatnonzero(row.supervised)
        losses += [-float(log_probabilities[place - 1, ids[place]]) for place in places]
    first = history(undisturbed.parts["0"].path).loc[0]
    assert first["step"] == 1
    assert first["loss"] == pytest.approx(np.mean(losses), abs=1e-4)


def test_every_steps_learning_rate_is_kept_and_follows_the_schedule(undisturbed: FinishedParts):
    warm = round(PARAMS.warmup_share * PARAMS.steps)
    cosine = [
        0.5 * (1 + math.cos(math.pi * (step - warm) / (PARAMS.steps - warm))) for step in range(warm, PARAMS.steps)
    ]
    expected = [PARAMS.lr * step / warm for step in range(warm)] + [PARAMS.lr * value for value in cosine]
    np.testing.assert_allclose(history(undisturbed.parts["0"].path)["lr"], expected, rtol=1e-6)


def test_a_checkpoint_holds_moments_and_the_learning_rates_so_far(undisturbed: FinishedParts):
    folder = undisturbed.parts["0"].path
    assert sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*")) == [4, 8, 12, 16]
    state = json.loads((folder / "checkpoint-8" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"]] == list(range(1, 9))
    assert all("learning_rate" in entry for entry in state["log_history"])
    step, moments = load_moments(folder / "checkpoint-8")
    assert step == 8
    with safe_open(folder / "checkpoint-8" / "adapter_model.safetensors", framework="pt") as weights:
        shapes = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    assert {name.replace(".default.", "."): tuple(kinds["exp_avg"].shape) for name, kinds in moments.items()} == shapes


def test_no_file_of_a_model_needs_pickle_or_names_a_folder_of_this_machine(tiny: Tiny, undisturbed: FinishedParts):
    folder = undisturbed.parts["0"].path
    assert not list(folder.rglob("training_args.bin"))
    assert not list(folder.rglob("rng_state*"))
    for file in folder.rglob("*.json"):
        assert str(tiny.root) not in file.read_text()


def test_two_processes_train_to_the_same_losses(tiny: Tiny, undisturbed: FinishedParts, tmp_path: Path):
    two = train(tiny, tmp_path, seeds=1, processes=2)
    mine, theirs = (history(parts.parts["0"].path) for parts in (two, undisturbed))
    np.testing.assert_allclose(mine["loss"], theirs["loss"], atol=1e-4)


def test_micro_batches_train_to_the_same_losses(tiny: Tiny, undisturbed: FinishedParts, tmp_path: Path):
    small = train(tiny, tmp_path, seeds=1, micro_batch=2)
    mine, theirs = (history(parts.parts["0"].path) for parts in (small, undisturbed))
    np.testing.assert_allclose(mine["loss"], theirs["loss"], atol=1e-4)


def test_a_batch_that_cannot_be_shared_is_refused_with_a_remedy(tiny: Tiny, tmp_path: Path):
    with pytest.raises(BadSetting, match="Choose a multiple of 3"):
        train(tiny, tmp_path, micro_batch=3)


def test_an_arms_own_settings_that_do_not_fit_are_refused(tiny: Tiny, tmp_path: Path):
    arm = ArmParams(seeds=1, finetune={"lora": {"width": 3}})
    with pytest.raises(BadSetting, match="width"):
        finetune(tiny.mix(1), tiny.tokens, tiny.base, PARAMS, TokenizeParams(), arm, tiny.machine(tmp_path))


def test_lora_targets_that_match_no_layer_are_refused(tiny: Tiny, tmp_path: Path):
    params = PARAMS.model_copy(update={"lora": PARAMS.lora.model_copy(update={"targets": ["nothing"]})})
    with pytest.raises(BadSetting, match=r"finetune\.lora\.targets"):
        train(tiny, tmp_path, params)


def test_a_kill_after_the_last_step_keeps_the_training(tiny: Tiny, undisturbed: FinishedParts, tmp_path: Path):
    train(tiny, tmp_path)
    sealed = tmp_path / "06_models" / "finetune" / undisturbed.parts["0"].fingerprint
    (sealed / "record.json").unlink()
    sealed.rename(sealed.with_name(f"{sealed.name}.partial"))
    steps: list[int] = []
    with listening(lambda news: steps.append(news.step or 0)):
        again = train(tiny, tmp_path)
    assert steps == []
    assert checksums(again.parts["0"].path) == checksums(undisturbed.parts["0"].path)
