"""Features and scores: equal to a plain loop, whatever the batches, processes, kills and modes."""

import json
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy

from pipelines.gradients.nodes import checkpoint_weights, collect_targets, collect_train
from pipelines.influence.nodes import diagnose_scores, read_scores, score, score_directly, write_selected_files
from pipelines.warmup.nodes import warm_up
from support.gradients import EXACT, WARMUP, collected
from support.tiny import Tiny, checksums, kill_workers, when
from winnow.checkpoints import checkpoint_folder
from winnow.errors import BadSetting, NothingToTrainOn, WorkerFailed
from winnow.gradients.store import FeatureStore
from winnow.params import (
    BudgetParams,
    GradientsParams,
    InfluenceParams,
    SelectionParams,
)
from winnow.progress import listening
from winnow.records.tokenizer import load_tokenizer
from winnow.records.tokens import TokenTable
from winnow.stages import Finished, Work, locate
from winnow.training.checkpoints import load_moments
from winnow.training.model import load_model

SMALL = GradientsParams(dims=[256], store="1-bit", batch=4, batch_tokens=300, shard_rows=20, certificate_rows=6)


def gradients_by_loop(tiny: Tiny, warmup: Finished, step: int, tokens: Finished, split: str) -> dict[str, torch.Tensor]:
    """Batch 1, plain autograd, all adapter parameters in the order of the model."""
    folder = checkpoint_folder(warmup, step)
    model = PeftModel.from_pretrained(load_model(tiny.base, "fp32", "cpu"), str(folder), is_trainable=True).eval()
    trained = [parameter for name, parameter in model.named_parameters() if "lora_" in name]
    table = TokenTable.open(tokens.path, split)
    found = {}
    for row in table.rows(table.ids):
        ids = torch.from_numpy(row.input_ids.astype(np.int64))
        wanted = torch.from_numpy(row.supervised[1:])
        loss = cross_entropy(model(input_ids=ids[None]).logits[0, :-1][wanted], ids[1:][wanted])
        found[row.example_id] = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)])
    return found


def adam_by_the_text(warmup: Finished, step: int, gradient: torch.Tensor, names: list[str]) -> torch.Tensor:
    _, moments = load_moments(checkpoint_folder(warmup, step))
    m, v = (torch.cat([moments[name][kind].flatten() for name in names]) for kind in ("exp_avg", "exp_avg_sq"))
    return (0.9 * m + 0.1 * gradient) / torch.sqrt(0.999 * v + 0.001 * gradient**2 + 1e-8)


def adapter_names(tiny: Tiny, warmup: Finished) -> list[str]:
    model = PeftModel.from_pretrained(load_model(tiny.base, "fp32", "cpu"), str(checkpoint_folder(warmup, 4)))
    return [name for name, _ in model.named_parameters() if "lora_" in name]


@pytest.fixture(scope="session")
def expected_scores(
    tiny: Tiny, root: Path, warmup: Finished, targets: Finished, target_tokens: Finished
) -> dict[str, dict[str, np.ndarray]]:
    """algorithms.md section 3 by plain loops: per checkpoint and subtask the mean cosine of every training row."""
    names = adapter_names(tiny, warmup)
    labels = {row["example_id"]: f"{row['subset']}/{row['subtask']}" for row in targets.scan().collect().to_dicts()}
    found = {}
    for step in (4, 8):
        train = gradients_by_loop(tiny, warmup, step, tiny.tokens, "train")
        features = {name: adam_by_the_text(warmup, step, g, names) for name, g in train.items()}
        validation = gradients_by_loop(tiny, warmup, step, target_tokens, "validation")
        unit = torch.nn.functional.normalize
        table = unit(torch.stack([features[name] for name in sorted(features)]), dim=1)
        found[str(step)] = {
            label: (table @ unit(torch.stack([g for n, g in validation.items() if labels[n] == label]), dim=1).T)
            .mean(dim=1).numpy()
            for label in sorted(set(labels.values()))
        }  # fmt: skip
    return found


def test_features_are_those_of_a_loop_over_single_rows(tiny: Tiny, root: Path, warmup: Finished):
    parts = collected(tiny, root, warmup)
    names = adapter_names(tiny, warmup)
    for step in (4, 8):
        store = FeatureStore(parts.parts[f"{step}@0"].path)
        ids, found = store.features()
        loop = gradients_by_loop(tiny, warmup, step, tiny.tokens, "train")
        expected = torch.stack([adam_by_the_text(warmup, step, loop[name], names) for name in ids]).numpy()
        assert set(ids) == set(loop)
        error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert error.max() < 2e-5
        store.verify()


@pytest.mark.parametrize("mode", ["store", "direct"])
def test_scores_of_both_modes_are_the_formula_by_plain_loops(
    mode: str,
    tiny: Tiny,
    root: Path,
    warmup: Finished,
    targets: Finished,
    target_tokens: Finished,
    expected_scores: dict[str, dict[str, np.ndarray]],
):
    machine = tiny.machine(root)
    if mode == "store":
        train = collected(tiny, root, warmup)
        validation = collect_targets(warmup, target_tokens, tiny.base, EXACT, machine)
        found = score(train, validation, targets, InfluenceParams(), machine)
    else:
        inputs = (warmup, tiny.tokens, target_tokens, targets, tiny.base)
        found = score_directly(*inputs, EXACT, InfluenceParams(mode="direct"), machine)
    assert found.summary["weights"] == checkpoint_weights(warmup, EXACT)
    total: dict[str, np.ndarray] = {}
    for step, labels in expected_scores.items():
        table = found.parts[step].scan("scores").collect()
        assert table["example_id"].to_list() == sorted(TokenTable.open(tiny.tokens.path, "train").ids)
        for label, expected in labels.items():
            assert np.allclose(table[label], expected, atol=2e-5)
            total[label] = total.get(label, 0) + found.summary["weights"][step] * expected
    whole = read_scores(found)
    assert all(np.allclose(whole[label], expected, atol=2e-5) for label, expected in total.items())


def test_per_row_scores_have_the_subtask_scores_as_their_means(
    tiny: Tiny, root: Path, warmup: Finished, targets: Finished, target_tokens: Finished
):
    machine = tiny.machine(root)
    validation = collect_targets(warmup, target_tokens, tiny.base, EXACT, machine)
    found = score(collected(tiny, root, warmup), validation, targets, InfluenceParams(), machine)
    per_row = pl.read_parquet(found.parts["4"].path / "per_row.parquet")
    table = found.parts["4"].scan("scores").collect()
    for (subset, subtask), rows in targets.scan().collect().group_by("subset", "subtask"):
        mean = per_row.select(pl.mean_horizontal(rows["example_id"].to_list())).to_series()
        assert np.allclose(table[f"{subset}/{subtask}"], mean, atol=1e-6)
    without = score(
        collected(tiny, root, warmup), validation, targets, InfluenceParams(per_row_mb=0), tiny.machine(root)
    )
    assert not (without.parts["4"].path / "per_row.parquet").exists()


def test_batches_change_nothing_but_the_last_digits(tiny: Tiny, root: Path, tmp_path: Path, warmup: Finished):
    one = FeatureStore(collected(tiny, root, warmup).parts["8@0"].path)
    single = EXACT.model_copy(update={"batch": 1, "shard_rows": 7, "checkpoints": "8"})
    other = FeatureStore(collected(tiny, tmp_path, warmup, single).parts["8@0"].path)
    ids, found = one.features()
    same, others = other.features()
    assert ids == same
    assert np.allclose(found, others, atol=1e-4 * np.abs(found).max())


def test_several_dimensions_in_one_pass_are_those_of_a_pass_each(
    tiny: Tiny, root: Path, tmp_path: Path, warmup: Finished
):
    both = collected(tiny, root, warmup, SMALL.model_copy(update={"dims": [64, 256]}))
    assert set(both.parts) == {"4@64", "4@256", "8@64", "8@256"}
    alone = collected(tiny, tmp_path, warmup, SMALL)
    assert checksums(alone.parts["4@256"].path) == checksums(both.parts["4@256"].path)


def test_copies_share_a_row_and_have_equal_scores(
    tiny: Tiny, root: Path, warmup: Finished, targets: Finished, target_tokens: Finished
):
    machine = tiny.machine(root)
    parts = collected(tiny, root, warmup, SMALL)
    table = TokenTable.open(tiny.tokens.path, "train")
    rows = FeatureStore(parts.parts["4@256"].path).rows()
    content = {row.example_id: row.input_ids.tobytes() for row in table.rows(table.ids)}
    copies = _pairs_of_copies(content)
    assert copies
    validation = collect_targets(warmup, target_tokens, tiny.base, SMALL, machine)
    scores = read_scores(score(parts, validation, targets, InfluenceParams(), machine))
    place = {name: (shard, row) for name, shard, row in rows.select("example_id", "shard", "row").iter_rows()}
    value = {row[0]: row[1:] for row in scores.iter_rows()}
    for one, other in copies:
        assert place[one] == place[other]
        assert value[one] == value[other]
    assert parts.parts["4@256"].summary["computed_rows"] == len(set(content.values()))


def _pairs_of_copies(content: dict[str, bytes]) -> list[tuple[str, str]]:
    first: dict[bytes, str] = {}
    return [(first[data], name) for name, data in content.items() if first.setdefault(data, name) != name]


@pytest.mark.parametrize(("shared", "number"), [("processes", 2), ("processes", 4), ("side_by_side", 2)])
def test_any_number_of_processes_writes_the_same_bytes(
    shared: str, number: int, tiny: Tiny, root: Path, tmp_path: Path, warmup: Finished
):
    one = collected(tiny, root, warmup, SMALL)
    several = collected(tiny, tmp_path, warmup, SMALL, **{shared: number})
    for name, part in one.parts.items():
        assert checksums(part.path) == checksums(several.parts[name].path)


def test_a_killed_collection_resumes_to_the_same_bytes(tiny: Tiny, root: Path, tmp_path: Path, warmup: Finished):
    undisturbed = collected(tiny, root, warmup, SMALL)
    after = int(np.random.default_rng().integers(3, 30))
    seen: list[object] = []
    kill = when(lambda news: seen.append(news) or len(seen) >= after, kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed, match="exit code -9"):
        collected(tiny, tmp_path, warmup, SMALL)
    partial = list(tmp_path.rglob("*.partial"))
    resumed = collected(tiny, tmp_path, warmup, SMALL)
    assert partial
    for name, part in undisturbed.parts.items():
        assert checksums(part.path) == checksums(resumed.parts[name].path)


def test_a_killed_direct_pass_resumes_to_the_same_bytes(
    tiny: Tiny, root: Path, tmp_path: Path, warmup: Finished, targets: Finished, target_tokens: Finished
):
    params = EXACT.model_copy(update={"batch": 2, "shard_rows": 10})
    inputs = (warmup, tiny.tokens, target_tokens, targets, tiny.base, params, InfluenceParams(mode="direct"))
    undisturbed = score_directly(*inputs, tiny.machine(root))
    seen: list[object] = []
    kill = when(lambda news: seen.append(news) or len(seen) >= 5, kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed, match="exit code -9"):
        score_directly(*inputs, tiny.machine(tmp_path))
    resumed = score_directly(*inputs, tiny.machine(tmp_path))
    for step, part in undisturbed.parts.items():
        assert checksums(part.path) == checksums(resumed.parts[step].path)


def test_a_direct_pass_goes_on_with_shards_of_its_own_size_alone(
    tiny: Tiny, root: Path, warmup: Finished, targets: Finished, target_tokens: Finished
):
    """Shards are cut at `shard_rows`: half of a pass in one size must not be joined with half in another."""

    def fingerprint(shard_rows: int) -> str:
        params = EXACT.model_copy(update={"batch": 2, "shard_rows": shard_rows})
        inputs = (warmup, tiny.tokens, target_tokens, targets, tiny.base, params, InfluenceParams(mode="direct"))
        return score_directly(*inputs, tiny.machine(root)).fingerprint

    assert fingerprint(10) != fingerprint(20)


def test_the_certificate_tells_the_error_of_the_store(tiny: Tiny, root: Path, warmup: Finished):
    """The error of a sketched cosine is about 1 / sqrt(k); signs add to it, whole features have none."""
    coarse = collected(tiny, root, warmup, SMALL.model_copy(update={"certificate_rows": 24}))
    certificate = coarse.parts["8@256"].summary["certificate"]
    assert certificate["pairs"] == 24 * 23
    assert 0.5 < certificate["rms_error"] * np.sqrt(256) < 2.0
    assert certificate["momentum"] > 0
    exact = collected(tiny, root, warmup).parts["8@0"].summary["certificate"]
    assert exact["largest_error"] < 1e-5
    assert exact["spearman"] > 0.9999
    assert exact["spread"] == pytest.approx(certificate["spread"], rel=0.5)


def test_rows_without_a_finite_gradient_are_set_aside_by_name(
    tiny: Tiny, tmp_path: Path, warmup: Finished, targets: Finished, target_tokens: Finished
):
    """A token whose embedding is not a number, in the checkpoint's base model: its rows, and no others."""
    whole = load_model(tiny.base, "fp32", "cpu")
    whole.config.tie_word_embeddings = False
    broken = type(whole)(whole.config)
    broken.load_state_dict(whole.state_dict())
    table = TokenTable.open(tiny.tokens.path, "train")
    checked = TokenTable.open(target_tokens.path, "validation")
    used = {row.example_id: set(row.input_ids.tolist()) for row in [*table.rows(table.ids), *checked.rows(checked.ids)]}
    counts = {t: sum(t in ids for ids in used.values()) for t in range(broken.config.vocab_size)}
    token = min((t for t in counts if counts[t] > 0), key=lambda t: (counts[t], t))
    with torch.no_grad():
        broken.get_input_embeddings().weight[token] = float("nan")
    with Work.resume(locate(tmp_path / "06_models", "base", 1, {"broken": True}, {})) as made:
        broken.save_pretrained(made.path)
        load_tokenizer(tiny.base).save_pretrained(made.path)
        base = made.finish(tiny.base.summary, {})
    machine = tiny.machine(tmp_path)
    lost = sorted(name for name in table.ids if token in used[name])
    train = collect_train(warmup, tiny.tokens, base, SMALL, machine)
    store = FeatureStore(train.parts["4@256"].path)
    assert store.rejected()["example_id"].to_list() == lost
    assert "not finite" in store.rejected()["reason"][0]
    assert not set(lost) & set(store.rows()["example_id"])
    if any(token in used[name] for name in checked.ids):
        return
    validation = collect_targets(warmup, target_tokens, base, SMALL, machine)
    found = score(train, validation, targets, InfluenceParams(), machine)
    assert not set(lost) & set(read_scores(found)["example_id"])
    assert np.isfinite(read_scores(found).drop("example_id").to_numpy()).all()
    table_of, _, _ = diagnose_scores(found, tiny.tokens, tiny.train, InfluenceParams(), train)
    assert f"checkpoint 4: {lost[0]}" in table_of["of"].to_list()


def test_weights_of_checkpoints_change_the_order_but_no_pass(
    tiny: Tiny, root: Path, warmup: Finished, targets: Finished, target_tokens: Finished
):
    machine = tiny.machine(root)
    validation = collect_targets(warmup, target_tokens, tiny.base, SMALL, machine)
    first = score(collected(tiny, root, warmup, SMALL), validation, targets, InfluenceParams(), machine)
    news: list[object] = []
    with listening(news.append):
        given = SMALL.model_copy(update={"checkpoint_weights": [1.0, 3.0]})
        second = score(collected(tiny, root, warmup, given), validation, targets, InfluenceParams(), machine)
    assert not news, "nothing is computed anew"
    assert second.summary["weights"] == {"4": 0.25, "8": 0.75}
    assert not read_scores(first).equals(read_scores(second))
    with pytest.raises(BadSetting, match=r"checkpoint_weights.*2 checkpoints 4, 8"):
        collected(tiny, root, warmup, SMALL.model_copy(update={"checkpoint_weights": [1.0]}))


def test_selected_files_are_those_of_less(
    tiny: Tiny, root: Path, warmup: Finished, targets: Finished, target_tokens: Finished
):
    machine = tiny.machine(root)
    validation = collect_targets(warmup, target_tokens, tiny.base, SMALL, machine)
    found = score(collected(tiny, root, warmup, SMALL), validation, targets, InfluenceParams(), machine)
    budget = BudgetParams(share=0.05)
    files = write_selected_files(
        found, tiny.train, tiny.tokens, InfluenceParams(), budget, SelectionParams(deduplicate="exact"), machine
    )
    folder = files.path / "selected_data"
    names = {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
    folders = {"all", "math", "code", "science"}
    assert {f"{name}/sorted.csv" for name in folders} | {f"{name}/top_p0.05.jsonl" for name in folders} <= names
    lines = [json.loads(line) for line in (files.path / "selected_data/math/top_p0.05.jsonl").read_text().splitlines()]
    scores = [line["score"] for line in lines]
    assert scores == sorted(scores, reverse=True), "best first"
    assert len(lines) == len(TokenTable.open(tiny.tokens.path, "train")) * 5 // 100
    assert lines[0]["messages"][0]["role"] == "user"
    sorted_csv = pl.read_csv(files.path / "selected_data/math/sorted.csv")
    assert sorted_csv.columns == ["file name", "index", "score"]
    assert f"{sorted_csv['file name'][0]}:{sorted_csv['index'][0]}" == lines[0]["id"]


def test_direct_mode_refuses_what_does_not_fit(
    tiny: Tiny, tmp_path: Path, warmup: Finished, targets: Finished, target_tokens: Finished
):
    inputs = (warmup, tiny.tokens, target_tokens, targets, tiny.base)
    params = InfluenceParams(mode="direct", direct_gb=1e-5)
    with pytest.raises(BadSetting, match=r"mean gradient of 3 subtasks.*direct_gb"):
        score_directly(*inputs, EXACT, params, tiny.machine(tmp_path))


def test_a_warm_up_without_moments_has_sgd_features_only(tiny: Tiny, tmp_path: Path):
    plain = WARMUP.model_copy(update={"moments": False})
    bare = warm_up("less", tiny.tokens, tiny.base, plain, tiny.machine(tmp_path))
    with pytest.raises(BadSetting, match=r"no moments of the optimizer at step 4.*warmup\.less\.moments"):
        collected(tiny, tmp_path, bare, SMALL)
    assert collected(tiny, tmp_path, bare, SMALL.model_copy(update={"feature": "sgd"})).parts


def test_gradients_of_a_whole_model_are_those_of_its_linear_layers(tiny: Tiny, tmp_path: Path):
    full = warm_up("less", tiny.tokens, tiny.base, WARMUP.model_copy(update={"method": "full"}), tiny.machine(tmp_path))
    parts = collected(tiny, tmp_path, full, SMALL.model_copy(update={"checkpoints": "8"}))
    model = load_model(tiny.base, "fp32", "cpu")
    layers = [m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "head" not in name]
    expected = sum(p.numel() for layer in layers for p in layer.parameters())
    assert parts.parts["8@256"].summary["dimensions"] == expected


def test_a_dimension_that_was_not_collected_is_a_clear_error(
    tiny: Tiny, root: Path, warmup: Finished, targets: Finished, target_tokens: Finished
):
    machine = tiny.machine(root)
    validation = collect_targets(warmup, target_tokens, tiny.base, SMALL, machine)
    with pytest.raises(BadSetting, match=r"`influence\.dim` is 512.*\[256\]"):
        score(collected(tiny, root, warmup, SMALL), validation, targets, InfluenceParams(dim=512), machine)


def test_a_subtask_without_any_gradient_cannot_be_scored_for():
    from winnow.workers.scores import require_all

    with pytest.raises(NothingToTrainOn, match="No row of the subtask 'b/x' has a gradient: r1 is not finite"):
        require_all({"r0": "a/x", "r1": "b/x"}, ["a/x"], [("r1", "is not finite")])
