"""Stages 1 and 2 of Select-MoE: whatever the kills, processes and batches, the same gates and the same quality."""

import signal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file

from pipelines.select_moe.nodes import score_pool, warm_up_routers
from support.tiny import Tiny, checksums, kill_workers, when
from winnow.errors import WorkerFailed
from winnow.fabricate.base_model import make_model
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.moe.convert import load_gates, new_gates, save_gates, widen
from winnow.moe.quality import Quality
from winnow.params import FabricatedSelector, LoraParams, SelectMoeParams, SelectorScoreParams, SelectorWarmupParams
from winnow.progress import listening
from winnow.records.tokens import TokenTable
from winnow.stages import Finished, Work, locate
from winnow.training.model import load_model
from winnow.workers.select_moe_score import POOLED

PARAMS = SelectMoeParams(
    trash_init_std=0.5,
    warmup=SelectorWarmupParams(share=0.4, steps=12, batch=4, lr=0.05, checkpoints=3),
    score=SelectorScoreParams(batch=8, batch_tokens=400, shard_rows=20),
)


@pytest.fixture(scope="session")
def selector(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An untrained mixture of experts with the fabricated tokenizer."""
    place = locate(tmp_path_factory.mktemp("selector"), "base", 1, {}, {})
    with Work.resume(place) as work:
        torch.manual_seed(0)
        tokenizer = make_tokenizer()
        shape = FabricatedSelector(hidden=16, layers=2, heads=2, experts=4, top_k=2)
        make_model(shape, tokenizer).save_pretrained(work.path)
        tokenizer.save_pretrained(work.path)
        return work.finish({"pretrained": None, "revision": None, "trust_remote_code": False}, {})


@pytest.fixture(scope="session")
def converted(selector: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    place = locate(tmp_path_factory.mktemp("converted"), "select_moe_converted", 1, {}, {"base": selector.fingerprint})
    with Work.resume(place) as work:
        save_gates(work.path, *new_gates(load_model(selector, "fp32", "cpu"), None, PARAMS.trash_init_std, 0))
        return work.finish({}, {})


@pytest.fixture(scope="session")
def gates(tiny: Tiny, root: Path, selector: Finished, converted: Finished) -> Finished:
    return warm_up_routers(converted, selector, tiny.tokens, PARAMS, tiny.machine(root))


@pytest.fixture(scope="session")
def quality(tiny: Tiny, root: Path, selector: Finished, gates: Finished) -> Finished:
    return score_pool(gates, selector, tiny.tokens, PARAMS, tiny.machine(root))


def test_routers_learn_the_constraint_and_nothing_else_is_kept(converted: Finished, gates: Finished):
    before, after = load_gates(converted.path)[0], load_gates(gates.path)[0]
    assert set(before) == set(after)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    history = pd.read_parquet(gates.path / "history.parquet")
    assert len(history) == 12
    masses = {f"trash_mass/layer_{n}" for n in range(2)}
    assert {"step", "loss", "lr", "ce", "constraint", "trash_share"} | masses == set(history) - {"grad_norm"}
    assert history["loss"].to_numpy() == pytest.approx(history["ce"] + 0.01 * history["constraint"], abs=2e-3)
    sizes = [path.stat().st_size for path in gates.path.rglob("*.safetensors")]
    assert max(sizes) < 20_000, "checkpoints hold gates, not the model"


def test_a_strong_constraint_draws_the_mass_to_its_minimum(
    tiny: Tiny, root: Path, selector: Finished, converted: Finished
):
    held = PARAMS.constraint.model_copy(update={"weight": 50.0, "alpha": 3.0})
    warmup = PARAMS.warmup.model_copy(update={"steps": 60})
    params = PARAMS.model_copy(update={"constraint": held, "warmup": warmup})
    found = warm_up_routers(converted, selector, tiny.tokens, params, tiny.machine(root))
    history = pd.read_parquet(found.path / "history.parquet")
    wanted = 1 / (1 + 3)
    for layer in range(2):
        mass = history[f"trash_mass/layer_{layer}"]
        assert abs(mass.iloc[-10:].mean() - wanted) < 0.5 * abs(mass.iloc[0] - wanted)


def test_a_killed_warm_up_ends_with_the_same_bytes(
    tiny: Tiny, root: Path, selector: Finished, converted: Finished, tmp_path: Path
):
    # Long enough that a launcher on a busy machine hears of a step before the last one.
    longer = PARAMS.warmup.model_copy(update={"steps": 40, "checkpoints": 10})
    params = PARAMS.model_copy(update={"warmup": longer})
    kill = when(lambda news: (news.step or 0) >= 5, kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed, match="select_moe_warmup"):
        warm_up_routers(converted, selector, tiny.tokens, params, tiny.machine(tmp_path))
    resumed = warm_up_routers(converted, selector, tiny.tokens, params, tiny.machine(tmp_path))
    undisturbed = warm_up_routers(converted, selector, tiny.tokens, params, tiny.machine(root))
    assert checksums(resumed.path) == checksums(undisturbed.path)


def test_two_processes_train_the_same_gates(
    tiny: Tiny, selector: Finished, converted: Finished, gates: Finished, tmp_path: Path
):
    other = warm_up_routers(converted, selector, tiny.tokens, PARAMS, tiny.machine(tmp_path, processes=2))
    ours, theirs = load_gates(gates.path)[0], load_gates(other.path)[0]
    for name, gate in ours.items():
        torch.testing.assert_close(theirs[name], gate, rtol=1e-3, atol=1e-4)
    one, two = (pd.read_parquet(part.path / "history.parquet") for part in (gates, other))
    assert two["constraint"].to_numpy() == pytest.approx(one["constraint"], rel=1e-3)


def test_adapters_of_the_routers_are_a_way_too(tiny: Tiny, root: Path, selector: Finished, converted: Finished):
    warmup = PARAMS.warmup.model_copy(update={"method": "lora", "lora": LoraParams(rank=2, alpha=4)})
    params = PARAMS.model_copy(update={"warmup": warmup})
    found = warm_up_routers(converted, selector, tiny.tokens, params, tiny.machine(root))
    before, after = load_gates(converted.path)[0], load_gates(found.path)[0]
    for name in before:
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 2
        assert not torch.equal(after[name], before[name])


def test_quality_is_that_of_each_row_by_itself(tiny: Tiny, selector: Finished, gates: Finished, quality: Finished):
    model = load_model(selector, "fp32", "cpu")
    score = Quality(model, widen(model, gates.path))
    tokens = TokenTable.open(tiny.tokens.path, "train")
    table = quality.scan("quality").collect()
    assert table["example_id"].to_list() == sorted(tokens.ids)
    assert table["quality"].is_between(0, 1).all()
    pooled = load_file(quality.path / POOLED)["pooled"]
    assert pooled.shape == (table.height, 2 * 4)
    for place in range(0, table.height, 17):
        row = table.row(place, named=True)
        (token_row,) = tokens.rows([row["example_id"]])
        alone = score([token_row])
        assert row["quality"] == pytest.approx(alone.quality[0], abs=1e-6)
        assert [row["layer_0"], row["layer_1"]] == pytest.approx(alone.by_layer[0].tolist(), abs=1e-6)
        assert row["n_tokens"] == len(token_row.input_ids)
        assert pooled[place].astype(np.float32) == pytest.approx(alone.pooled[0], abs=1e-3)


def test_processes_change_no_byte_and_batches_next_to_nothing(
    tiny: Tiny, selector: Finished, gates: Finished, quality: Finished, tmp_path: Path
):
    two = score_pool(gates, selector, tiny.tokens, PARAMS, tiny.machine(tmp_path, processes=2))
    assert checksums(two.path) == checksums(quality.path)
    small = PARAMS.model_copy(update={"score": PARAMS.score.model_copy(update={"batch": 1, "shard_rows": 7})})
    alone = score_pool(gates, selector, tiny.tokens, small, tiny.machine(tmp_path))
    ours, theirs = (part.scan("quality").collect()["quality"].to_numpy() for part in (quality, alone))
    assert theirs == pytest.approx(ours, abs=1e-6)


def test_a_killed_pass_goes_on_and_ends_with_the_same_bytes(
    tiny: Tiny, selector: Finished, gates: Finished, quality: Finished, tmp_path: Path
):
    slow = PARAMS.model_copy(update={"score": PARAMS.score.model_copy(update={"batch": 1, "shard_rows": 1})})
    whole = score_pool(gates, selector, tiny.tokens, slow, tiny.machine(tmp_path / "whole"))
    kill = when(lambda news: (news.done or 0) > 3, kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed, match="select_moe_score"):
        score_pool(gates, selector, tiny.tokens, slow, tiny.machine(tmp_path))
    assert list(tmp_path.glob("03_primary/select_moe_score/*.partial/.parts/*.safetensors"))
    resumed = score_pool(gates, selector, tiny.tokens, slow, tiny.machine(tmp_path))
    assert checksums(resumed.path) == checksums(whole.path)


def test_a_share_of_the_pool_is_a_draw_by_its_seed(
    tiny: Tiny, root: Path, selector: Finished, gates: Finished, quality: Finished
):
    half = PARAMS.model_copy(update={"score": PARAMS.score.model_copy(update={"share": 0.5})})
    found = score_pool(gates, selector, tiny.tokens, half, tiny.machine(root)).scan("quality").collect()
    whole = quality.scan("quality").collect()
    assert found.height == round(0.5 * whole.height)
    both = found.join(whole, on="example_id", suffix="_whole")
    assert both.height == found.height
    assert both.select((pl.col("quality") - pl.col("quality_whole")).abs().max()).item() < 1e-6
