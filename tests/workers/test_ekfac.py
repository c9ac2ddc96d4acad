"""Influence by EK-FAC, from the worker to the matrix: the formula by plain loops, whatever the kills and processes."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from pipelines.ekfac.nodes import fit_factors, whiten
from pipelines.ekfac.pipeline import create_pipeline
from pipelines.influence_matrix.nodes import find_matrix
from support.gradients import EXACT
from support.tiny import Tiny, checksums, kill_workers, when
from winnow.checkpoints import checkpoint_folder
from winnow.errors import BadSetting, WorkerFailed
from winnow.gradients.layers import find_layers
from winnow.influence.ekfac import EIGENVALUES, load_bases, total
from winnow.params import EkfacParams, InfluenceParams, WarmupParams
from winnow.progress import listening
from winnow.records.tokens import TokenRow, TokenTable
from winnow.stages import Finished, FinishedParts
from winnow.training.checkpoints import load_merged
from winnow.training.model import load_model

EKFAC = EkfacParams(rows=60, store="float32", labels="data", layers=["*layers.1*"])
PARAMS = InfluenceParams(estimator="ekfac", columns="subset", ekfac=EKFAC)


def factors_of(tiny: Tiny, root: Path, warmup: Finished, params: InfluenceParams, **machine: object) -> Finished:
    few = EXACT.model_copy(update={"batch": 1, "shard_rows": 1})
    return fit_factors(warmup, tiny.tokens, tiny.base, few, params, tiny.machine(root, **machine))


@pytest.fixture(scope="session")
def factors(tiny: Tiny, root: Path, warmup: Finished) -> Finished:
    return factors_of(tiny, root, warmup, PARAMS)


@pytest.fixture(scope="session")
def features(
    tiny: Tiny, root: Path, warmup: Finished, factors: Finished, target_tokens: Finished
) -> tuple[FinishedParts, FinishedParts]:
    settings = (tiny.base, EXACT, PARAMS, tiny.machine(root))
    train = whiten("train")(factors, warmup, tiny.tokens, *settings)
    return train, whiten("validation")(factors, warmup, target_tokens, *settings)


def gradients_by_loop(tiny: Tiny, warmup: Finished, table: TokenTable, reduction: str) -> dict[str, list[torch.Tensor]]:
    """Batch 1, plain autograd: one matrix per layer of the merged model."""
    model = load_merged(load_model(tiny.base, "fp32", "cpu"), checkpoint_folder(warmup, 8))
    layers = [model.get_submodule(layer.name) for layer in find_layers(model, EKFAC.layers)]
    assert len(layers) == 7
    model.requires_grad_(True)

    def gradient(row: TokenRow) -> list[torch.Tensor]:
        ids = torch.from_numpy(row.input_ids.astype(np.int64))
        wanted = torch.from_numpy(row.supervised[1:])
        model.zero_grad()
        cross_entropy(
            model(input_ids=ids[None]).logits[0, :-1][wanted], ids[1:][wanted], reduction=reduction
        ).backward()
        return [
            layer.weight.grad.clone()
            if layer.bias is None
            else torch.cat([layer.weight.grad, layer.bias.grad[:, None]], 1)
            for layer in layers
        ]

    return {row.example_id: gradient(row) for row in table.rows(table.ids)}


def test_cells_are_the_means_of_gradients_by_the_inverse_curvature(
    tiny: Tiny,
    root: Path,
    warmup: Finished,
    targets: Finished,
    target_tokens: Finished,
    factors: Finished,
    features: tuple[FinishedParts, FinishedParts],
):
    bases, eigenvalues = load_bases(factors.path, "cpu"), total([factors.path / EIGENVALUES])
    names = list(factors.summary["layers"])
    sides = {
        split: gradients_by_loop(tiny, warmup, TokenTable.open(tokens.path, split), "mean")
        for split, tokens in (("train", tiny.tokens), ("validation", target_tokens))
    }

    def solved(gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        found = []
        for name, gradient in zip(names, gradients, strict=True):
            left, right, values = bases[f"{name}.outputs"], bases[f"{name}.inputs"], eigenvalues[name]
            found.append(left @ (left.T @ gradient @ right / (values + 0.1 * values.mean())) @ right.T)
        return found

    subset = dict(tiny.tokens.scan("lengths").select("example_id", "subset").collect().iter_rows())
    domain = dict(targets.scan().select("example_id", "subset").collect().iter_rows())
    cells = find_matrix(*features, targets, tiny.tokens, PARAMS, tiny.machine(root)).scan("cells").collect()
    for cell in cells.iter_rows(named=True):
        z = [g for name, g in sides["train"].items() if subset[name] == cell["cluster"]]
        v = [g for name, g in sides["validation"].items() if cell["domain"] in ("average", domain[name])]
        mean_z, mean_v = ([torch.stack(part).mean(0) for part in zip(*side, strict=True)] for side in (z, v))
        expected = sum(float((a * b).sum()) for a, b in zip(mean_v, solved(mean_z), strict=True))
        assert cell["rows"] == len(z)
        assert cell["influence"] == pytest.approx(expected, rel=2e-3, abs=1e-6)
        assert cell["error"] > 0


def test_eigenvalues_are_squared_gradients_in_the_eigenbasis(tiny: Tiny, warmup: Finished, factors: Finished):
    """With the rows' own labels; each gradient is that of the summed losses over the root of its tokens."""
    everything = EKFAC.model_copy(update={"rows": 10_000})
    whole = factors_of(tiny, tiny.root / "whole", warmup, PARAMS.model_copy(update={"ekfac": everything}))
    table = TokenTable.open(tiny.tokens.path, "train")
    counts = {row.example_id: int(row.supervised[1:].sum()) for row in table.rows(table.ids)}
    unique = {
        (row.input_ids.tobytes(), row.supervised.tobytes()): row.example_id for row in table.rows(table.ids)
    }.values()
    gradients = gradients_by_loop(tiny, warmup, table, "sum")
    bases, eigenvalues = load_bases(whole.path, "cpu"), total([whole.path / EIGENVALUES])
    assert whole.summary["rows"] == len(unique)
    for number, name in enumerate(whole.summary["layers"]):
        left, right = bases[f"{name}.outputs"], bases[f"{name}.inputs"]
        squares = [(left.T @ gradients[row][number] @ right).square() / counts[row] for row in unique]
        expected = torch.stack(squares).mean(0)
        torch.testing.assert_close(eigenvalues[name], expected, rtol=1e-3, atol=float(1e-4 * expected.mean()))


@pytest.mark.parametrize("moment", ["sums", "bases", "squares"])
def test_a_killed_fit_goes_on_and_ends_with_the_same_bytes(
    tiny: Tiny, warmup: Finished, factors: Finished, tmp_path: Path, moment: str
):
    kill = when(lambda news: news.message == moment, kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed, match="ekfac"):
        factors_of(tiny, tmp_path, warmup, PARAMS)
    (partial,) = tmp_path.glob("03_primary/ekfac/*.partial")
    kept = sorted(path.name for path in partial.rglob(f"{moment}/*.safetensors"))
    assert kept
    resumed = factors_of(tiny, tmp_path, warmup, PARAMS)
    assert checksums(resumed.path) == checksums(factors.path)


def test_two_processes_fit_the_same_bytes(tiny: Tiny, warmup: Finished, factors: Finished, tmp_path: Path):
    assert checksums(factors_of(tiny, tmp_path, warmup, PARAMS, processes=2).path) == checksums(factors.path)


def test_labels_of_the_model_and_of_the_rows_give_different_curvature(
    tiny: Tiny, root: Path, warmup: Finished, factors: Finished
):
    model = PARAMS.model_copy(update={"ekfac": EKFAC.model_copy(update={"labels": "model"})})
    other = factors_of(tiny, root, warmup, model)
    assert other.fingerprint != factors.fingerprint
    ours, theirs = (total([part.path / EIGENVALUES]) for part in (factors, other))
    assert all((values > 0).any() for values in theirs.values())
    assert any(not torch.allclose(ours[name], theirs[name], rtol=0.05) for name in ours)


def test_damping_takes_no_new_fit_but_new_features(tiny: Tiny, root: Path, warmup: Finished, factors: Finished):
    other = PARAMS.model_copy(update={"ekfac": EKFAC.model_copy(update={"damping": 1.0, "store": "1-bit"})})
    assert factors_of(tiny, root, warmup, other).fingerprint == factors.fingerprint


def test_single_checkpoints_and_steps_are_checked(tiny: Tiny, root: Path, warmup: Finished):
    nowhere = PARAMS.model_copy(update={"ekfac": EKFAC.model_copy(update={"checkpoint": 5})})
    with pytest.raises(BadSetting, match=r"no checkpoint at step 5.*4, 8"):
        factors_of(tiny, root, warmup, nowhere)


def test_the_targets_have_to_be_tokenized_for_the_same_model():
    warmups = {"less": WarmupParams(), "proxy": WarmupParams(base="some/model")}
    proxy = EkfacParams(warmup="proxy")
    with pytest.raises(BadSetting, match=r"`influence\.ekfac\.warmup` is proxy"):
        create_pipeline(proxy, warmups)
    nodes = create_pipeline(proxy, {**warmups, "proxy": WarmupParams()}).nodes
    assert {"proxy_checkpoints", "tokens"} <= set(nodes[0].inputs)
