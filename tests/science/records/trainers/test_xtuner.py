"""The export as XTuner reads it: its rules for configs, ratios and messages, put down here a second time."""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from support.mixes import POOL, export, lines, wanted
from winnow.records.trainers.xtuner import sample_ratio

UNREADABLE = ("w/a:0", "w/a:1", "w/a:5")


class DatasetConfig(BaseModel):
    """The fields that XTuner knows; it forbids all others."""

    model_config = ConfigDict(extra="forbid")
    anno_path: str | Path
    name: str = "default"
    class_name: Literal["JsonlDataset", "VLMJsonlDataset"] = "JsonlDataset"
    sample_ratio: float = 1.0
    cache_dir: str | Path | None = None
    cache_tag: str | None = None
    enable_sequential_sampler: bool = False
    media_root: str | None = ""


class OpenaiTokenizeFunctionConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    chat_template: str
    max_length: int | None = None
    hash: str | None = None


class ChatMsg(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["assistant", "user", "system", "developer", "pretrain"]
    content: str
    loss: bool | None = None
    thinking: str | None = None


def sampled(rows: list[Any], ratio: float) -> list[Any]:
    """The whole list for each whole part of the ratio, and of the rest what a cut to a whole number leaves."""
    target = int(len(rows) * ratio)
    repeated = rows * int(ratio)
    return repeated + rows[: target - len(repeated)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "xtuner"
    export("xtuner", out)
    return out


@pytest.fixture
def datasets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The variable `datasets` of the config, run as XTuner runs it."""
    for name in ("xtuner", "xtuner.v1", "xtuner.v1.datasets"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    known = sys.modules["xtuner.v1.datasets"]
    known.DatasetConfig, known.OpenaiTokenizeFunctionConfig = DatasetConfig, OpenaiTokenizeFunctionConfig
    file = folder / "xtuner_datasets.py"
    spec = importlib.util.spec_from_file_location(str(file), file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec.loader.exec_module(module)
    return module.datasets


def test_every_cluster_is_sampled_as_often_as_the_mix_has_it(datasets: list[dict[str, Any]]):
    counts: Counter[str] = Counter()
    for combined in datasets:
        assert set(combined) == {"dataset", "tokenize_fn"}
        rows = sampled(lines(Path(combined["dataset"].anno_path)), combined["dataset"].sample_ratio)
        (cluster,) = {row["cluster"] for row in rows}
        counts[cluster] += len(rows)
        assert {row["id"] for row in rows} == set(wanted(cluster, UNREADABLE))
    assert counts == {"math/2": 4, "math-2": 2, "Train": 1, "tools": 6}


def test_every_message_is_one_that_xtuner_knows(folder: Path):
    rows = lines(folder / "train.jsonl")
    for row in rows:
        assert "tools" not in row
        assert "dialogs" not in row
        read = [ChatMsg(**message) for message in row["messages"]]
        assert [(message.role, message.content) for message in read] == POOL[row["id"]][2]
    assert Counter(row["id"] for row in rows) == wanted(without=UNREADABLE)


def test_calls_have_no_role_there_and_are_kept_aside(folder: Path):
    assert {row["id"]: row["reason"] for row in lines(folder / "set_aside.jsonl")} == dict.fromkeys(
        UNREADABLE, "XTuner has no role for function calls"
    )


def test_the_list_and_the_manifest_agree(folder: Path):
    listed = json.loads((folder / "xtuner_datasets.json").read_text(encoding="utf-8"))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    weights = {entry["file"]: entry["weight"] for entry in manifest["clusters"] if entry["file"]}
    assert {entry["anno_path"]: entry["sample_ratio"] for entry in listed} == pytest.approx(weights)


@given(st.integers(1, 10**7), st.integers(0, 10**8))
def test_a_ratio_gives_exactly_the_rows_that_are_wanted(distinct: int, more: int):
    """The nearest float to 58 / 49, say, gives 57 of them."""
    rows = distinct + more
    ratio = sample_ratio(rows, distinct)
    assert int(distinct * ratio) == rows
    assert int(ratio) == rows // distinct
