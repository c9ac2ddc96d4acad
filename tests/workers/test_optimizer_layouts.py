"""Adam's moments by name out of what Trainer, DeepSpeed and FSDP leave; the layouts are written here as they do it."""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import save

from support.models import make_model
from winnow.checkpoints import optimizer_layout
from winnow.errors import BadInput
from winnow.training.checkpoints import keep_moments, load_moments, optimizer_settings
from winnow.training.optimizer_layouts import KINDS, OptimizerState, optimizer_order, read_optimizer

Moments = dict[str, dict[str, torch.Tensor]]
WORLD = 3
GROUPS = {"lr": 1e-3, "betas": (0.8, 0.95), "eps": 1e-6}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    model = make_model("qwen2")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers.0" in name)
    return model


@pytest.fixture(scope="module")
def moments(model: torch.nn.Module) -> Moments:
    torch.manual_seed(0)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert any(p.numel() % WORLD for _, p in trained), "padding has to be cut off"
    return {name: {"exp_avg": torch.randn(p.shape), "exp_avg_sq": torch.rand(p.shape)} for name, p in trained}


def as_trainer(folder: Path, model: torch.nn.Module, moments: Moments) -> None:
    state = {n: {**moments[name], "step": torch.tensor(7.0)} for n, name in enumerate(optimizer_order(model))}
    torch.save({"state": state, "param_groups": [GROUPS]}, folder / "optimizer.pt")


def as_fsdp(folder: Path, model: torch.nn.Module, moments: Moments) -> None:
    state = {f"_fsdp_wrapped_module.{name}": {**m, "step": torch.tensor(7.0)} for name, m in moments.items()}
    torch.save({"state": state, "param_groups": [{**GROUPS, "params": list(state)}]}, folder / "optimizer.bin")


def as_shards(folder: Path, model: torch.nn.Module, moments: Moments) -> None:
    state = {name: {**m, "step": torch.tensor(7.0)} for name, m in moments.items()}
    groups = {name: {"lr": 1e-3} for name in moments}
    save({"optimizer": {"state": state, "param_groups": groups}}, checkpoint_id=folder / "optimizer_0", no_dist=True)


class LossScaler:
    """Stands for a class of DeepSpeed's that its files hold."""

    def __setstate__(self, state: object) -> None:
        raise AssertionError("nothing in a file is run")


def as_zero(stage: int) -> Callable[[Path, torch.nn.Module, Moments], None]:
    def write(folder: Path, model: torch.nn.Module, moments: Moments) -> None:
        target = folder / "global_step7"
        target.mkdir()
        (folder / "latest").write_text("global_step7")
        names = optimizer_order(model)
        groups = [names[:5], names[5:]]
        shapes = [OrderedDict((name, moments[name]["exp_avg"].shape) for name in group) for group in groups]
        for rank in range(WORLD):
            state = {}
            for number, group in enumerate(groups):
                state[number] = {kind: part(stage, rank, [moments[name][kind] for name in group]) for kind in KINDS}
                state[number]["step"] = torch.tensor(7.0)
            own = {"state": state, "param_groups": [GROUPS, GROUPS]}
            key = "optimizer_state_dict" if stage == 3 else "base_optimizer_state"
            saved = {key: own, "zero_stage": scaler(), "partition_count": WORLD, "loss_scaler": scaler()}
            name = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
            torch.save({"optimizer_state_dict": saved, "ds_version": "0.19.8"}, target / name)
        name = "zero_pp_rank_0_mp_rank_00_model_states.pt" if stage == 3 else "mp_rank_00_model_states.pt"
        torch.save({"module": None, "param_shapes": shapes, "loss_scaler": scaler()}, target / name)

    return write


def scaler() -> LossScaler:
    made = LossScaler()
    made.scale = 1.0
    return made


def part(stage: int, rank: int, tensors: list[torch.Tensor]) -> torch.Tensor:
    """What a rank holds of a group: a part of all in a row, or a part of each; padded to equal sizes."""
    if stage == 3:
        each = [torch.nn.functional.pad(t.flatten(), (0, -t.numel() % WORLD)).chunk(WORLD)[rank] for t in tensors]
        return torch.cat(each)
    flat = torch.cat([t.flatten() for t in tensors])
    return torch.nn.functional.pad(flat, (0, -flat.numel() % (2 * WORLD))).chunk(WORLD)[rank].clone()


LAYOUTS = {
    "trainer": as_trainer,
    "fsdp": as_fsdp,
    "fsdp_sharded": as_shards,
    "zero-1": as_zero(1),
    "zero-2": as_zero(2),
    "zero-3": as_zero(3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_moments_are_found_by_name(layout: str, model: torch.nn.Module, moments: Moments, tmp_path: Path):
    LAYOUTS[layout](tmp_path, model, moments)
    assert optimizer_layout(tmp_path) == layout.split("-")[0]
    state: OptimizerState = read_optimizer(tmp_path, model)
    assert state.step == 7
    assert set(state.moments) == set(moments)
    for name, expected in moments.items():
        for kind in KINDS:
            assert torch.equal(state.moments[name][kind], expected[kind]), name
    if layout != "fsdp_sharded":
        assert tuple(state.settings["betas"]) == (0.8, 0.95)
        assert state.settings["eps"] == 1e-6


def test_what_was_read_is_kept_in_one_file_of_tensors(model: torch.nn.Module, moments: Moments, tmp_path: Path):
    as_zero(3)(tmp_path, model, moments)
    (tmp_path / "kept").mkdir()
    keep_moments(tmp_path, model, tmp_path / "kept")
    step, found = load_moments(tmp_path / "kept")
    assert step == 7
    assert all(torch.equal(found[name][kind], moments[name][kind]) for name in moments for kind in KINDS)
    assert optimizer_settings(tmp_path / "kept") == {"betas": [0.8, 0.95], "eps": 1e-6}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_moments_of_another_model_are_refused(layout: str, model: torch.nn.Module, moments: Moments, tmp_path: Path):
    LAYOUTS[layout](tmp_path, model, moments)
    other = make_model("gpt2")
    with pytest.raises(BadInput, match="whose shapes are not those of the"):
        read_optimizer(tmp_path, other)


def test_a_file_that_would_run_something_runs_nothing(model: torch.nn.Module, moments: Moments, tmp_path: Path):
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "run"),)

    as_zero(2)(tmp_path, model, moments)
    (file,) = (tmp_path / "global_step7").glob("mp_rank_*")
    torch.save({"param_shapes": [OrderedDict(x=torch.Size([1]))], "evil": Evil()}, file)
    with pytest.raises(BadInput):
        read_optimizer(tmp_path, model)
    folder = tmp_path / "shards"
    folder.mkdir()
    as_shards(folder, model, moments)
    (folder / "optimizer_0" / ".metadata").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(BadInput):
        read_optimizer(folder, model)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_an_optimizer_is_a_clear_error(model: torch.nn.Module, tmp_path: Path):
    assert optimizer_layout(tmp_path) is None
    with pytest.raises(BadInput, match=r"neither optimizer\.pt nor a folder of shards"):
        read_optimizer(tmp_path, model)
