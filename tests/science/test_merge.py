"""A merged model is base and adapter in one: the same logits, the same ids, whole or not there."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from support.adapters import write_adapter
from support.tiny import untrained_model
from winnow.errors import BadInput, BadSetting, MissingResource
from winnow.params import ModelParams
from winnow.pretrained import record_pretrained
from winnow.records.chat_template import NAMED
from winnow.records.tokenizer import load_tokenizer
from winnow.stages import Finished
from winnow.training import merge as merging
from winnow.training import merged_folder
from winnow.training.merge import PROBE, merge_adapter
from winnow.training.merged_folder import check_target
from winnow.training.model import load_model, read_model

TULU = NAMED["tulu"].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return untrained_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(base, tmp_path_factory.mktemp("adapter"))


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokenizer(PROBE, return_tensors="pt")).logits


@pytest.mark.parametrize("targets", [None, ["lm_head", "q_proj"], ["embed_tokens", "q_proj"]])
def test_the_merged_model_says_what_base_and_adapter_say(base: Finished, tmp_path: Path, targets: list[str] | None):
    adapter = write_adapter(base, tmp_path / "adapter", targets)
    assert merge_adapter(base, adapter, tmp_path / "out", TULU, None) == "float32"
    tokenizer = load_tokenizer(base)
    expected = logits(PeftModel.from_pretrained(load_model(base, "fp32", "cpu"), str(adapter)).eval(), tokenizer)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert not torch.allclose(logits(load_model(base, "fp32", "cpu"), tokenizer), expected, atol=1e-2)
    torch.testing.assert_close(logits(merged, tokenizer), expected, atol=1e-5, rtol=0)


def test_the_folder_serves_as_a_base_model_again(base: Finished, adapter: Path, tmp_path: Path):
    merge_adapter(base, adapter, tmp_path / "out", TULU, "bf16")
    again = record_pretrained(ModelParams(base=str(tmp_path / "out")), tmp_path / "06_models")
    assert load_tokenizer(again)(PROBE)["input_ids"] == load_tokenizer(base)(PROBE)["input_ids"]
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == TULU
    model = read_model(again, "auto")
    assert model.dtype == torch.bfloat16
    assert model.config.use_cache
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
    } <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]


def test_large_models_are_written_in_shards(
    base: Finished, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(merging, "SHARD", "40KB")
    merge_adapter(base, adapter, tmp_path / "out", None, None)
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict(),
        merging.merged_model(read_model(base, "auto"), adapter).state_dict(),
    )


def test_published_settings_that_transformers_refuses_to_write_are_no_obstacle(
    base: Finished, adapter: Path, tmp_path: Path
):
    copy = tmp_path / "base"
    shutil.copytree(base.path, copy)
    (copy / "generation_config.json").write_text('{"do_sample": false, "temperature": 0.6, "top_p": 0.9}')
    outside = Finished("pretrained", "", copy, summary={"pretrained": str(copy)})
    merge_adapter(outside, adapter, tmp_path / "out", None, None)
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["temperature"] == 0.6


def change(adapter: Path, folder: Path, **tensors: torch.Tensor | None) -> Path:
    shutil.copytree(adapter, folder)
    held = load_file(folder / "adapter_model.safetensors")
    first = min(held)
    held[first] = held[first].clone()
    if "value" in tensors:
        held[first][0, 0] = tensors["value"]
    if "shape" in tensors:
        held[first] = held[first][:, :3].contiguous()
    if "less" in tensors:
        del held[first]
    save_file(held, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"value": torch.tensor(float("nan"))}, "is not finite"),
        ({"value": torch.tensor(float("inf"))}, "is not finite"),
        ({"shape": None}, "does not fit this base model: size mismatch"),
        ({"less": None}, "1 weights are in one alone"),
    ],
)
def test_an_adapter_that_is_broken_or_another_models_is_refused(
    base: Finished, adapter: Path, tmp_path: Path, how: dict[str, Any], said: str
):
    with pytest.raises(BadInput, match=said):
        merge_adapter(base, change(adapter, tmp_path / "adapter", **how), tmp_path / "out", None, None)
    assert not (tmp_path / "out").exists()


def test_layers_that_the_base_does_not_have_are_named(base: Finished, adapter: Path, tmp_path: Path):
    shutil.copytree(adapter, tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "target_modules": ["c_attn"]}))
    with pytest.raises(BadInput, match=r"does not fit this base model: .*c_attn.*--base"):
        merge_adapter(base, tmp_path / "adapter", tmp_path / "out", None, None)


def test_a_pickled_adapter_is_not_read(base: Finished, adapter: Path, tmp_path: Path):
    shutil.copytree(adapter, tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(BadInput, match="pickled ones are not loaded"):
        merge_adapter(base, tmp_path / "adapter", tmp_path / "out", None, None)


def test_weights_that_overflow_the_dtype_are_refused(base: Finished, adapter: Path, tmp_path: Path):
    large = change(adapter, tmp_path / "adapter", value=torch.tensor(1e6))
    with pytest.raises(BadInput, match=r"cannot be merged .* Try --dtype fp32"):
        merge_adapter(base, large, tmp_path / "out", None, "fp16")
    assert not (tmp_path / "out").exists()


def test_a_base_that_is_not_there_says_how_to_get_it(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    nowhere = Finished("pretrained", "", tmp_path, summary={"pretrained": "someone/nothing", "revision": "v1"})
    with pytest.raises(MissingResource, match=r"`kedro fetch RECIPE` or `hf download someone/nothing --revision v1`"):
        merge_adapter(nowhere, adapter, tmp_path / "out", None, None)
    with pytest.raises(MissingResource, match=r"`select_moe\.base` names.* `hf download someone/nothing"):
        load_model(nowhere, "fp32", "cpu")


def test_a_quantised_base_is_refused(base: Finished, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = read_model(base, "auto")
    model.config.quantization_config = {"quant_method": "gptq"}
    monkeypatch.setattr(merging, "read_model", lambda *_: model)
    with pytest.raises(BadSetting, match="quantised itself"):
        merge_adapter(base, adapter, tmp_path / "out", None, None)


def merge_and_die(base: Finished, adapter: Path, out: Path, at: str) -> None:
    name, _, number = at.partition(" ")
    calls = iter(range(1, int(number or 1)))
    kept = getattr(merged_folder.os, name, None)

    def die(*arguments: Any) -> None:
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        assert kept is not None
        kept(*arguments)

    setattr(merging if name == "appear" else merged_folder.os, name, die)
    merge_adapter(base, adapter, out, None, None)


def die_in_a_process(base: Finished, adapter: Path, out: Path, at: str) -> None:
    child = multiprocessing.get_context("fork").Process(target=merge_and_die, args=(base, adapter, out, at))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("at", ["appear", "fsync", "replace"])
def test_a_kill_leaves_no_half_folder_and_the_next_merge_is_whole(
    base: Finished, adapter: Path, tmp_path: Path, at: str
):
    merge_adapter(base, adapter, tmp_path / "out", None, None)
    whole = contents(tmp_path / "out")
    for name in ("out", "new"):
        die_in_a_process(base, adapter, tmp_path / name, at)
    assert not (tmp_path / "new").exists()
    assert contents(tmp_path / "out") == whole
    merge_adapter(base, adapter, tmp_path / "new", None, None)
    assert contents(tmp_path / "new") == whole
    assert {path.name for path in tmp_path.iterdir()} - {".out.partial"} == {"out", "new"}


def test_a_kill_between_the_two_renames_loses_no_folder(base: Finished, adapter: Path, tmp_path: Path):
    out = tmp_path / "out"
    merge_adapter(base, adapter, out, None, None)
    whole = contents(out)
    die_in_a_process(base, adapter, out, "replace 2")
    assert not out.exists()
    with pytest.raises(BadSetting, match="exists already"):
        check_target(out, (adapter, base.path), force=False)
    assert contents(out) == whole
    die_in_a_process(base, adapter, out, "replace 2")
    merge_adapter(base, adapter, out, None, None)
    assert contents(out) == whole
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_only_a_model_is_replaced(base: Finished, adapter: Path, tmp_path: Path):
    project, model = tmp_path / "project", tmp_path / "model"
    (project / "data").mkdir(parents=True)
    (project / "config.json").touch()
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).touch()
    check_target(model, (adapter, base.path), force=True)
    (tmp_path / "file").touch()
    for folder in (project, tmp_path / "file", tmp_path):
        with pytest.raises(BadSetting, match="is left as it is"):
            check_target(folder, (), force=True)
    (model / "record.json").touch()
    for folder in (model, model / "checkpoint-4"):
        with pytest.raises(BadSetting, match="result of a stage"):
            check_target(folder, (), force=True)


@pytest.mark.parametrize("force", [True, False])
def test_what_is_merged_is_never_in_the_way(base: Finished, adapter: Path, tmp_path: Path, force: bool):
    for source in (base.path, adapter):
        for folder in (source, source.parent, source / "merged"):
            with pytest.raises(BadSetting, match="is merged: name a folder apart from it"):
                check_target(folder, (adapter, base.path), force)
    check_target(tmp_path / "new", (adapter, base.path), force)
