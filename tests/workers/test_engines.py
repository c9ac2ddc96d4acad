"""Every engine is really that engine, and trains to what one process without it does. Two CPU processes each."""

import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from pipelines.finetune.nodes import finetune
from support.tiny import Tiny, checksums, kill_launched, when
from support.training import history
from winnow.errors import BadSetting, WorkerFailed
from winnow.params import ArmParams, FinetuneParams, SamplesParams, TokenizeParams
from winnow.progress import listening
from winnow.stages import FinishedParts
from winnow.training.checkpoints import load_moments
from winnow.workers.engines import CONFIGURATIONS

PARAMS = {
    method: FinetuneParams(method=method, steps=12, batch=4, lr=0.01, save_every=4, moments=True)
    for method in ("lora", "full")
}
ENGINES = [
    ("fsdp", "lora"),
    ("fsdp", "full"),
    ("zero1", "lora"),
    ("zero2", "lora"),
    ("zero2_offload", "lora"),
    ("zero3", "lora"),
    ("zero3_offload", "full"),
]


def train(tiny: Tiny, root: Path, method: str, **machine: object) -> FinishedParts:
    settings = {"processes": 1, **machine}
    arm = ArmParams(seeds=2)
    return finetune(
        tiny.mix(2), tiny.tokens, tiny.base, PARAMS[method], TokenizeParams(), arm, tiny.machine(root, **settings)
    )


@pytest.fixture(scope="module")
def alone(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, FinishedParts]:
    return {method: train(tiny, tmp_path_factory.mktemp(method), method) for method in PARAMS}


def weights(folder: Path) -> dict[str, np.ndarray]:
    file = next(name for name in ("adapter_model.safetensors", "model.safetensors") if (folder / name).exists())
    return {name: tensor.numpy() for name, tensor in load_file(folder / file).items()}


def assert_alike(found: FinishedParts, expected: FinishedParts) -> None:
    for seed, part in expected.parts.items():
        mine, theirs = found.parts[seed].path, part.path
        np.testing.assert_allclose(history(mine)["loss"], history(theirs)["loss"], atol=1e-4)
        for folder in ("", "checkpoint-4", "checkpoint-12"):
            own, other = weights(mine / folder), weights(theirs / folder)
            assert own.keys() == other.keys()
            for name, tensor in other.items():
                np.testing.assert_allclose(own[name], tensor, atol=2e-4, err_msg=name)
        (step, own_moments), (other_step, moments) = (load_moments(path / "checkpoint-12") for path in (mine, theirs))
        assert step == other_step == 12
        assert own_moments.keys() == moments.keys()
        for name, kinds in moments.items():
            for kind, tensor in kinds.items():
                error = (own_moments[name][kind] - tensor).abs().max()
                assert error <= 1e-3 * tensor.abs().max() + 1e-12, (name, kind)


@pytest.mark.parametrize(("engine", "method"), ENGINES)
def test_an_engine_trains_to_the_same_losses_weights_and_moments(
    tiny: Tiny, alone: dict[str, FinishedParts], tmp_path: Path, engine: str, method: str
):
    found = train(tiny, tmp_path, method, engine=engine, processes=2)
    assert_alike(found, alone[method])
    left = {path.name for part in found.parts.values() for path in part.path.rglob("*")}
    assert not {name for name in left if name.endswith((".pt", ".pth", ".bin", ".py", ".distcp"))}


@pytest.mark.parametrize("engine", ["fsdp", "zero3"])
def test_looks_weights_and_checkpointing_are_the_same_where_weights_are_in_parts(
    tiny: Tiny, tmp_path: Path, engine: str
):
    """Loss weights in several micro-batches, activations computed twice, validation and answers on the way."""
    changed = {"weighting": "loss", "validation_rows": 6, "steps": 4, "save_every": 2, "moments": False}
    params = PARAMS["lora"].model_copy(update={**changed, "samples": SamplesParams(prompts=["What is 2+2?"])})
    mix = tiny.mix(1).assign(multiplicity=lambda rows: 1 + rows.index % 3)
    found = []
    for machine in ({"processes": 2, "engine": engine, "gradient_checkpointing": True, "micro_batch": 1}, {}):
        where = tiny.machine(tmp_path / str(len(found)), **machine)
        arm = ArmParams(seeds=1)
        parts = finetune(mix, tiny.tokens, tiny.base, params, TokenizeParams(), arm, where)
        found.append(parts.parts["0"].path)
    np.testing.assert_allclose(*(history(path)["loss"] for path in found), atol=1e-4)
    assert len({(path / "samples.jsonl").read_bytes() for path in found}) == 1
    validation = [pd.read_parquet(path / "validation.parquet") for path in found]
    np.testing.assert_allclose(validation[0]["loss"], validation[1]["loss"], atol=1e-4)


def test_four_bits_and_parts_of_the_optimizer_go_together(tiny: Tiny, tmp_path: Path):
    params = PARAMS["lora"].model_copy(update={"method": "qlora"})
    found = []
    for machine in ({"processes": 2, "engine": "zero2"}, {}):
        where = tiny.machine(tmp_path / str(len(found)), **machine)
        parts = finetune(tiny.mix(1), tiny.tokens, tiny.base, params, TokenizeParams(), ArmParams(seeds=1), where)
        found.append(history(parts.parts["0"].path)["loss"])
    np.testing.assert_allclose(*found, atol=1e-3)


def test_another_engine_begins_anew_where_the_checkpoints_are_not_its_own(
    tiny: Tiny, alone: dict[str, FinishedParts], tmp_path: Path
):
    kill = when(lambda news: (news.step or 0) >= 5 and news.message == "seed 0", kill_launched(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed):
        train(tiny, tmp_path, "lora", engine="zero1", processes=2)
    seen: list[int] = []
    with listening(lambda news: seen.append(news.step or 0)):
        found = train(tiny, tmp_path, "lora")
    assert min(step for step in seen if step) == 1, "it went on without the moments of the other engine"
    for seed, part in alone["lora"].parts.items():
        assert checksums(found.parts[seed].path) == checksums(part.path)


def test_several_processes_finish_what_was_complete_when_they_were_killed(
    tiny: Tiny, alone: dict[str, FinishedParts], tmp_path: Path
):
    train(tiny, tmp_path, "lora")
    sealed = tmp_path / "06_models" / "finetune" / alone["lora"].parts["0"].fingerprint
    (sealed / "record.json").unlink()
    sealed.rename(sealed.with_name(f"{sealed.name}.partial"))
    again = train(tiny, tmp_path, "lora", processes=2)
    assert checksums(again.parts["0"].path) == checksums(alone["lora"].parts["0"].path)


def test_a_launcher_that_starts_something_else_is_found_out(tiny: Tiny, tmp_path: Path):
    with pytest.raises(
        WorkerFailed, match="zero2 on 2 processes, but the model was wrapped as DistributedDataParallel"
    ):
        train(tiny, tmp_path, "lora", engine="zero2", processes=2, accelerate_config=CONFIGURATIONS / "ddp.yml")


@pytest.mark.parametrize("engine", ["fsdp", "zero3"])
def test_a_killed_training_of_parts_resumes_to_the_same_curve(
    tiny: Tiny, alone: dict[str, FinishedParts], tmp_path: Path, engine: str
):
    kill = when(lambda news: (news.step or 0) >= 5 and news.message == "seed 1", kill_launched(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed):
        train(tiny, tmp_path, "lora", engine=engine, processes=2)
    partial = next(tmp_path.glob("06_models/finetune/*.partial"))
    assert (partial / "checkpoint-4" / "trainer_state.json").exists(), "nothing was saved before the kill"
    seen: list[int] = []
    with listening(lambda news: seen.append(news.step or 0)):
        resumed = train(tiny, tmp_path, "lora", engine=engine, processes=2)
    assert min(seen) > 4, "the training began anew"
    assert_alike(resumed, alone["lora"])


def test_four_bits_cannot_be_cut_into_parts(tiny: Tiny, tmp_path: Path):
    params = PARAMS["lora"].model_copy(update={"method": "qlora"})
    machine = tiny.machine(tmp_path, engine="fsdp", processes=2)
    with pytest.raises(BadSetting, match="Choose ddp, zero1 or zero2"):
        finetune(tiny.mix(1), tiny.tokens, tiny.base, params, TokenizeParams(), ArmParams(seeds=1), machine)
