"""The export as LLaMA-Factory reads it: its rules for data sets, samples and turns, put down here a second time."""

import json
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from datasets import Dataset
from transformers import TrainingArguments

from support.mixes import POOL, export, lines, wanted

UNREADABLE = ("w/a:2", "w/a:3", "w/a:4", "w/a:5")
# The names of its own argument classes that the file uses; what is left has to be an argument of transformers.
MODEL_ARGUMENTS = {"model_name_or_path"}
DATA_ARGUMENTS = {"template", "dataset", "dataset_dir", "cutoff_len", "mix_strategy"}
FINETUNING_ARGUMENTS = {"stage", "finetuning_type", "lora_target"}


def registered(folder: Path, names: str) -> list[dict[str, Any]]:
    """The entries of these data sets. An entry that has `columns` or `tags` sets those it leaves out to nothing."""
    listed = json.loads((folder / "dataset_info.json").read_text(encoding="ascii"))
    entries = []
    for name in (part.strip() for part in names.split(",")):
        entry = listed[name]
        assert entry["formatting"] == "sharegpt"
        assert not entry.get("ranking", False)
        assert (folder / entry["file_name"]).suffix == ".jsonl"
        entries.append({"name": name, **entry})
    return entries


def drawn(entry: dict[str, Any], folder: Path, seed: int = 0) -> list[dict[str, Any]]:
    """`num_samples` rows: all of them in some order, cut to the number, or filled up with repeated draws."""
    rows, number = lines(folder / entry["file_name"]), entry.get("num_samples")
    if number is None:
        return rows
    random = np.random.default_rng(seed)
    chosen = list(random.permutation(len(rows))[:number])
    chosen += list(random.choice(len(rows), number - len(chosen)))
    return [rows[index] for index in chosen]


def converted(row: dict[str, Any], entry: dict[str, Any]) -> tuple[str, list[dict[str, str]]] | None:
    """System prompt and turns; nothing for a row that it skips."""
    tags, turns = entry["tags"], row[entry["columns"]["messages"]]
    system = ""
    if turns and turns[0][tags["role_tag"]] == tags["system_tag"]:
        system, turns = turns[0][tags["content_tag"]], turns[1:]
    sides = ({tags["user_tag"], tags["observation_tag"]}, {tags["assistant_tag"], tags["function_tag"]})
    if len(turns) % 2 or any(turn[tags["role_tag"]] not in sides[place % 2] for place, turn in enumerate(turns)):
        return None
    for turn in turns:
        if turn[tags["role_tag"]] == tags["function_tag"]:
            calls = json.loads(turn[tags["content_tag"]])
            for call in calls if isinstance(calls, list) else [calls]:
                assert isinstance(call["name"], str)
                json.dumps(call["arguments"])
    return system, [{"role": turn[tags["role_tag"]], "content": turn[tags["content_tag"]]} for turn in turns]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "llamafactory"
    export("llamafactory", out)
    return out


@pytest.fixture(scope="module")
def training(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "train_sft.yaml").read_text(encoding="utf-8"))


def test_the_yaml_names_only_arguments_that_exist(training: dict[str, Any]):
    own = MODEL_ARGUMENTS | DATA_ARGUMENTS | FINETUNING_ARGUMENTS
    assert set(training) - own <= {field.name for field in fields(TrainingArguments)}
    assert training["mix_strategy"] in ("concat", "interleave_under", "interleave_over")
    assert training["stage"] == "sft"
    assert isinstance(training["learning_rate"], float)


def test_every_cluster_is_drawn_as_often_as_the_mix_has_it(folder: Path, training: dict[str, Any]):
    counts = {}
    for entry in registered(folder, training["dataset"]):
        rows = drawn(entry, folder)
        (cluster,) = {row["cluster"] for row in rows}
        counts[cluster] = len(rows)
        assert {row["id"] for row in rows} == set(wanted(cluster, UNREADABLE)), "each conversation at least once"
    assert counts == {"math/2": 4, "math-2": 2, "Train": 1, "tools": 3}


def test_no_row_is_skipped_and_every_turn_is_read(folder: Path, training: dict[str, Any]):
    for entry in registered(folder, training["dataset"]):
        for row in lines(folder / entry["file_name"]):
            system, turns = converted(row, entry) or pytest.fail(f"{row['id']} would be skipped")
            talk = POOL[row["id"]][2]
            assert system == (talk[0][1] if talk[0][0] == "system" else "")
            said = [content for role, content in talk if role not in ("system", "function_call")]
            assert [turn["content"] for turn in turns if turn["role"] != "function_call"] == said


def test_calls_become_names_and_arguments(folder: Path, training: dict[str, Any]):
    (entry,) = (entry for entry in registered(folder, training["dataset"]) if entry["name"] == "tools")
    calls = {row["id"]: json.loads(converted(row, entry)[1][1]["content"]) for row in lines(folder / "tools.jsonl")}
    assert calls == {
        "w/a:0": [{"name": "weather", "arguments": {"city": "Łódź"}}],
        "w/a:1": [{"name": "add", "arguments": {"a": 1}}, {"name": "now", "arguments": {}}],
    }


def test_the_library_it_reads_with_finds_the_same_columns_in_every_file(folder: Path, tmp_path: Path):
    for entry in registered(folder, "math-2,math-2-2,tools,Train-2,train"):
        rows = Dataset.from_json(str(folder / entry["file_name"]), cache_dir=str(tmp_path))
        assert list(rows) == lines(folder / entry["file_name"])


def test_the_entry_train_is_the_mix_row_by_row(folder: Path):
    (entry,) = registered(folder, "train")
    assert Counter(row["id"] for row in drawn(entry, folder)) == wanted(without=UNREADABLE)


def test_what_would_be_skipped_is_kept_aside_with_its_reason(folder: Path):
    entry = registered(folder, "train")[0]
    aside = {row["id"]: row for row in lines(folder / "set_aside.jsonl")}
    assert set(aside) == set(UNREADABLE)
    assert [name for name in UNREADABLE if name != "w/a:5" and converted(aside[name], entry) is not None] == []
    assert aside["w/a:3"]["multiplicity"] == 4
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["set_aside"] == {
        "a function call is not JSON": {"distinct": 1, "rows": 1},
        "a system message is not the first message": {"distinct": 1, "rows": 1},
        "questions and answers do not take turns": {"distinct": 1, "rows": 1},
        "the last message is no answer": {"distinct": 1, "rows": 4},
    }
    assert manifest["rows"] + 7 == sum(wanted().values())
