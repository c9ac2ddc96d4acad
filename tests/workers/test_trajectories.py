"""Warm-ups and loss trajectories: equal to a plain loop, whatever the batches, processes, kills and trainers."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy

from pipelines.trajectories.nodes import follow_losses
from pipelines.warmup.nodes import warm_up
from support.tiny import Tiny, checksums, kill_workers, when
from winnow.checkpoints import checkpoint_folder, learning_rates
from winnow.errors import BadInput, BadSetting, MissingResource, WorkerFailed
from winnow.params import TrajectoriesParams, WarmupParams
from winnow.progress import listening
from winnow.records.tokens import TokenRow, TokenTable
from winnow.stages import Finished
from winnow.training.checkpoints import keep_moments, load_checkpoint, load_moments, optimizer_settings
from winnow.training.model import load_model
from winnow.training.recorder import Recorder, join_recorded
from winnow.trajectories import ResponseLoss

FULL = WarmupParams(method="full", steps=12, batch=8, lr=0.003, checkpoints=3)
LORA = WarmupParams(method="lora", steps=12, batch=8, lr=0.01, save_every=5, share=0.5)
PASS = TrajectoriesParams(batch=16, batch_tokens=600)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trajectories")


@pytest.fixture(scope="session")
def full(tiny: Tiny, root: Path) -> Finished:
    return warm_up("proxy", tiny.tokens, tiny.base, FULL, tiny.machine(root))


@pytest.fixture(scope="session")
def lora(tiny: Tiny, root: Path) -> Finished:
    return warm_up("proxy", tiny.tokens, tiny.base, LORA, tiny.machine(root))


def losses_of(
    tiny: Tiny, root: Path, warmup: Finished, params: TrajectoriesParams = PASS, **machine: object
) -> Finished:
    return follow_losses(warmup, tiny.tokens, tiny.base, params, tiny.machine(root, **machine))


def by_plain_loop(tiny: Tiny, model: torch.nn.Module) -> dict[str, float]:
    """Batch 1, all logits, the loss as transformers' models shift it."""
    tokens = TokenTable.open(tiny.tokens.path, "train")
    found = {}
    for row in tokens.rows(tokens.ids):
        ids = torch.from_numpy(row.input_ids.astype(np.int64))
        labels = torch.where(torch.from_numpy(row.supervised), ids, -100)
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0]
        found[row.example_id] = cross_entropy(logits[:-1].float(), labels[1:]).item()
    return found


def table_of(losses: Finished) -> pl.DataFrame:
    return losses.scan("losses").collect()


def test_losses_of_a_whole_model_are_those_of_a_plain_loop(tiny: Tiny, root: Path, full: Finished):
    table = table_of(losses_of(tiny, root, full))
    assert full.summary["steps"] == [4, 8, 12]
    assert [name for name in table.columns if name.isdigit()] == ["4", "8", "12"]
    for step in (4, 12):
        model = load_checkpoint(load_model(tiny.base, "fp32", "cpu"), checkpoint_folder(full, step))
        expected = by_plain_loop(tiny, model)
        assert set(expected) == set(table["example_id"])
        assert np.allclose(table[str(step)], [expected[name] for name in table["example_id"]], atol=1e-5)


def test_losses_of_an_adapter_are_those_of_a_plain_loop(tiny: Tiny, root: Path, lora: Finished):
    table = table_of(losses_of(tiny, root, lora))
    assert lora.summary["steps"] == [5, 10, 12]
    model = PeftModel.from_pretrained(load_model(tiny.base, "fp32", "cpu"), str(checkpoint_folder(lora, 10)))
    expected = by_plain_loop(tiny, model)
    assert np.allclose(table["10"], [expected[name] for name in table["example_id"]], atol=1e-5)
    assert not np.allclose(table["10"], table["5"], atol=1e-3)
    loss_of = ResponseLoss(model)
    loss_of(_rows(tiny)[:4])
    assert loss_of.has_plain_head, "an adapter leaves the head as it is"


def test_batches_and_padding_change_nothing(tiny: Tiny, root: Path, tmp_path: Path, full: Finished):
    first = table_of(losses_of(tiny, root, full))
    one_by_one = TrajectoriesParams(batch=1, checkpoints="12")
    other = table_of(losses_of(tiny, tmp_path, full, one_by_one))
    assert np.allclose(first["12"], other["12"], atol=1e-5)
    assert "4" not in other.columns


def test_copies_of_an_example_are_listed_and_have_equal_losses(tiny: Tiny, root: Path, full: Finished):
    losses = losses_of(tiny, root, full)
    copies = json.loads((losses.path / "duplicated_config.json").read_text(encoding="utf-8"))
    table = {row["example_id"]: row for row in table_of(losses).to_dicts()}
    tokens = TokenTable.open(tiny.tokens.path, "train")
    assert copies
    for first, others in copies.items():
        for other in others:
            a, b = tokens.rows([first, other])
            assert a.input_ids.tolist() == b.input_ids.tolist()
            assert table[first]["12"] == table[other]["12"]


def test_a_killed_pass_resumes_to_the_same_bytes(tiny: Tiny, root: Path, tmp_path: Path, full: Finished):
    small = TrajectoriesParams(batch=2, batch_tokens=300)
    undisturbed = losses_of(tiny, root, full, small)
    after = int(np.random.default_rng().integers(1, 5))
    seen: list[object] = []
    kill = when(lambda news: seen.append(news) or len(seen) >= after, kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed, match="exit code -9"):
        losses_of(tiny, tmp_path, full, small)
    resumed = losses_of(tiny, tmp_path, full, small)
    assert checksums(resumed.path) == checksums(undisturbed.path)


@pytest.mark.parametrize("shared", ["processes", "side_by_side"])
def test_two_processes_write_the_same_bytes_as_one(shared: str, tiny: Tiny, root: Path, tmp_path: Path, full: Finished):
    one = losses_of(tiny, root, full, PASS)
    two = losses_of(tiny, tmp_path, full, PASS, **{shared: 2})
    assert checksums(one.path) == checksums(two.path)


def test_more_checkpoints_pass_only_the_new_ones(tiny: Tiny, tmp_path: Path, full: Finished):
    losses_of(tiny, tmp_path, full, PASS.model_copy(update={"checkpoints": "4"}))
    passed = set()
    with listening(lambda news: passed.add(news.message)):
        losses_of(tiny, tmp_path, full, PASS.model_copy(update={"checkpoints": "4:12:8"}))
    assert passed == {"checkpoint 12"}


def test_files_of_the_older_scripts_are_written_on_request(tiny: Tiny, tmp_path: Path, full: Finished):
    losses = losses_of(tiny, tmp_path, full, PASS.model_copy(update={"write_losses_pt": True, "checkpoints": "8"}))
    tensor = torch.load(losses.path / "checkpoint-8" / "losses.pt", weights_only=True)
    assert tensor.tolist() == table_of(losses)["8"].to_list()
    without = losses_of(tiny, tmp_path, full, PASS.model_copy(update={"checkpoints": "8"}))
    assert without.fingerprint == losses.fingerprint, "what follows is not rebuilt for a file it does not read"


@pytest.mark.parametrize("cap", [2.0, 30.0])
def test_a_model_that_caps_its_logits_is_taken_at_its_word(tiny: Tiny, cap: float):
    tokens = TokenTable.open(tiny.tokens.path, "train")
    rows = tokens.rows(tokens.ids[:8])
    model = load_model(tiny.base, "fp32", "cpu")
    plain = ResponseLoss(model)
    plain(rows)
    assert plain.has_plain_head
    forward = model.forward

    def capped(*arguments: object, **named: object) -> object:
        out = forward(*arguments, **named)
        out.logits = cap * torch.tanh(out.logits / cap)
        return out

    model.forward = capped
    loss_of = ResponseLoss(model)
    losses = loss_of(rows)
    assert not loss_of.has_plain_head
    expected = by_plain_loop(tiny, model)
    assert np.allclose(losses, [expected[row.example_id] for row in rows], atol=1e-5)


def test_a_row_whose_only_learnt_token_is_its_first_has_no_loss(tiny: Tiny):
    row = TokenRow("a", np.array([5, 6, 7], np.int32), np.array([True, False, False]))
    other = TokenRow("b", np.array([5, 6, 7], np.int32), np.array([False, True, True]))
    found = ResponseLoss(load_model(tiny.base, "fp32", "cpu"))([row, other])
    assert np.isnan(found[0])
    assert np.isfinite(found[1])


def test_a_warm_up_keeps_moments_and_learning_rates(tiny: Tiny, full: Finished, lora: Finished):
    step, moments = load_moments(checkpoint_folder(lora, 10))
    assert step == 10
    assert all("lora_" in name for name in moments)
    assert lora.summary["rows"] == round(0.5 * len(TokenTable.open(tiny.tokens.path, "train")))
    rates = learning_rates(checkpoint_folder(full, 8))
    assert list(rates) == list(range(1, 9))
    assert rates.items() <= learning_rates(checkpoint_folder(full, 12)).items()
    assert optimizer_settings(checkpoint_folder(lora, 10)) == {"betas": [0.9, 0.999], "eps": 1e-8}
    _, moments = load_moments(checkpoint_folder(full, 12))
    assert set(moments) == {name for name, _ in load_model(tiny.base, "fp32", "cpu").named_parameters()}


def test_losses_recorded_while_training_are_those_of_the_batch_before_its_update(tiny: Tiny, tmp_path: Path):
    params = FULL.model_copy(update={"record": True})
    warmup = warm_up("proxy", tiny.tokens, tiny.base, params, tiny.machine(tmp_path))
    recorded = pl.read_parquet(warmup.path / "recorded.parquet")
    assert recorded["step"].unique().sort().to_list() == list(range(1, 13))
    assert recorded.height == 12 * 8
    history = pl.read_parquet(warmup.path / "history.parquet")
    tokens = {row.example_id: row for row in _rows(tiny)}
    counted = recorded.with_columns(
        pl.col("example_id").map_elements(lambda name: tokens[name].supervised[1:].sum(), pl.Int64).alias("tokens")
    )
    means = (
        counted.group_by("step").agg((pl.col("loss") * pl.col("tokens")).sum() / pl.col("tokens").sum()).sort("step")
    )
    assert np.allclose(means["loss"], history["loss"], atol=2e-4), "the Trainer rounds its losses"
    first = recorded.filter(pl.col("step") == 1)
    expected = by_plain_loop(tiny, load_model(tiny.base, "fp32", "cpu"))
    assert np.allclose(first["loss"], [expected[name] for name in first["example_id"]], atol=1e-5)


def test_a_killed_recording_ends_with_the_same_bytes(tiny: Tiny, tmp_path: Path):
    params = FULL.model_copy(update={"record": True})
    undisturbed = warm_up("proxy", tiny.tokens, tiny.base, params, tiny.machine(tmp_path / "a"))
    curves: set[str] = set()
    kill = when(lambda news: curves.update(news.metrics) or (news.step or 0) >= 5, kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed):
        warm_up("proxy", tiny.tokens, tiny.base, params, tiny.machine(tmp_path / "b"))
    resumed = warm_up("proxy", tiny.tokens, tiny.base, params, tiny.machine(tmp_path / "b"))
    assert checksums(resumed.path) == checksums(undisturbed.path)
    assert curves == {"warmup/loss/proxy"}


def _rows(tiny: Tiny) -> list[TokenRow]:
    tokens = TokenTable.open(tiny.tokens.path, "train")
    return tokens.rows(tokens.ids)


def test_checkpoints_of_another_trainer_are_taken_as_they_are(tiny: Tiny, tmp_path: Path, root: Path, lora: Finished):
    theirs = tmp_path / "theirs"
    for step in (5, 10):
        shutil.copytree(checkpoint_folder(lora, step), theirs / f"checkpoint-{step}")
        _, moments = load_moments(theirs / f"checkpoint-{step}")
        (theirs / f"checkpoint-{step}" / "moments.safetensors").unlink()
        _as_the_trainer_saves(theirs / f"checkpoint-{step}" / "optimizer.pt", moments, step)
    params = WarmupParams.model_validate({"method": "lora", "from": theirs})
    adopted = warm_up("proxy", tiny.tokens, tiny.base, params, tiny.machine(tmp_path / "data"))
    assert adopted.summary["steps"] == [5, 10]
    ours, same = load_moments(checkpoint_folder(lora, 10)), load_moments(adopted.path / "checkpoint-10")
    assert ours[0] == same[0]
    assert all(torch.equal(ours[1][name][kind], same[1][name][kind]) for name in ours[1] for kind in ours[1][name])
    theirs_losses = table_of(losses_of(tiny, tmp_path / "data", adopted))
    assert theirs_losses["10"].equals(table_of(losses_of(tiny, root, lora))["10"])


def _as_the_trainer_saves(path: Path, moments: dict[str, dict[str, torch.Tensor]], step: int) -> None:
    """By number, in the order of the model's parameters."""

    def order(name: str) -> tuple[int, int, int]:
        layer = int(name.split(".layers.")[1].split(".")[0])
        modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        return layer, next(n for n, module in enumerate(modules) if module in name), "lora_B" in name

    names = sorted(moments, key=order)
    state = {number: {**moments[name], "step": torch.tensor(float(step))} for number, name in enumerate(names)}
    torch.save({"state": state, "param_groups": []}, path)


def test_moments_of_other_shapes_are_refused(tiny: Tiny, tmp_path: Path):
    state = {0: {"exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3), "step": torch.tensor(1.0)}}
    torch.save({"state": state, "param_groups": []}, tmp_path / "optimizer.pt")
    with pytest.raises(BadInput, match="moments of 1 parameters whose shapes are not those"):
        keep_moments(tmp_path, load_model(tiny.base, "fp32", "cpu"))


def test_a_folder_without_checkpoints_is_a_clear_error(tiny: Tiny, tmp_path: Path, lora: Finished):
    empty = WarmupParams.model_validate({"from": tmp_path})
    with pytest.raises(MissingResource, match="where no `checkpoint-<step>` folder is"):
        warm_up("proxy", tiny.tokens, tiny.base, empty, tiny.machine(tmp_path))
    shutil.copytree(checkpoint_folder(lora, 5), tmp_path / "checkpoint-5")
    with pytest.raises(BadSetting, match="has the state of an optimizer"):
        warm_up("proxy", tiny.tokens, tiny.base, empty, tiny.machine(tmp_path))
    with pytest.raises(BadSetting, match="no checkpoint at step 7"):
        losses_of(tiny, tmp_path, lora, TrajectoriesParams(checkpoints="7"))


def test_recorded_parts_that_a_kill_left_beside_their_table_change_nothing(tmp_path: Path):
    recorder = Recorder(tmp_path, 0)
    for step in (1, 2):
        recorder.rows = [(step, "a", 0.5)]
        recorder.save(step)
    whole = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    join_recorded(tmp_path)
    joined = checksums(tmp_path)
    assert set(joined) == {"recorded.parquet"}
    second = sorted(whole)[1]
    (tmp_path / second).write_bytes(whole[second])
    join_recorded(tmp_path)
    assert checksums(tmp_path) == joined
