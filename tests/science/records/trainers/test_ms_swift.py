"""The export as ms-swift reads it: its rules for data sets and messages, put down here a second time."""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.mixes import POOL, export, lines, wanted

UNREADABLE = ("w/a:4", "w/a:5")
ROLES = {"system", "user", "assistant", "tool_call", "tool_response", "tool"}


def parsed(dataset: str, folder: Path) -> tuple[Path, int | None]:
    """Path and number of rows: what exists is a path as a whole, else a number follows the last `#`."""
    if (folder / dataset).exists():
        return folder / dataset, None
    path, sign, number = dataset.rpartition("#")
    assert sign
    assert (folder / path).is_file(), "what is no file is looked for on a hub"
    return folder / path, int(number)


def sampled(rows: list[dict[str, Any]], number: int | None) -> list[dict[str, Any]]:
    """All rows as often as they fit the number, then the first of them in random order (here: in order)."""
    if number is None:
        return rows
    whole, rest = divmod(number, len(rows))
    return rows * whole + rows[:rest]


def check_message(message: dict[str, str]) -> None:
    assert message["role"] in ROLES
    assert message["content"] is not None
    if message["role"] == "tool_call":
        call = json.loads(message["content"])
        assert isinstance(call["name"], str)
        assert call["arguments"] is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "it's swift"
    export("ms-swift", out)
    return out


@pytest.fixture(scope="module")
def arguments(folder: Path) -> dict[str, list[str]]:
    """What the script hands to `swift`, by option."""
    stub = folder.parent / "swift"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder.parent}:{os.environ['PATH']}", "MODEL": "some/model"}
    command = [str(folder / "swift_sft.sh"), "--max_length", "512"]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    command_name, *words = printed.splitlines()
    assert command_name == "sft"
    options: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            options[word.removeprefix("--")] = values = []
        else:
            values.append(word)
    return options


def test_the_script_passes_the_datasets_and_what_is_added(folder: Path, arguments: dict[str, list[str]]):
    assert arguments == {
        "dataset": json.loads((folder / "swift_datasets.json").read_text(encoding="utf-8")),
        "model": ["some/model"],
        "split_dataset_ratio": ["0"],
        "enable_channel_loss": ["true"],
        "output_dir": ["../saves/less"],
        "max_length": ["512"],
    }


def test_the_script_asks_for_a_model(folder: Path):
    environment = {name: value for name, value in os.environ.items() if name != "MODEL"}
    done = subprocess.run([str(folder / "swift_sft.sh")], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "name a model" in done.stderr


def test_every_cluster_is_taken_as_often_as_the_mix_has_it(folder: Path, arguments: dict[str, list[str]]):
    counts: Counter[str] = Counter()
    for dataset in arguments["dataset"]:
        path, number = parsed(dataset, folder)
        rows = sampled(lines(path), number)
        (channel,) = {row["channel"] for row in rows}
        counts[channel] += len(rows)
        assert {row["id"] for row in rows} == set(wanted(channel, UNREADABLE))
    assert counts == {"math/2": 4, "math-2": 2, "Train": 1, "tools": 8}


def test_every_conversation_is_read_in_one_piece(folder: Path):
    for row in lines(folder / "train.jsonl"):
        for message in row["messages"]:
            check_message(message)
        talk = POOL[row["id"]][2]
        said = [(role, content) for role, content in talk if role != "function_call"]
        read = [(message["role"], message["content"]) for message in row["messages"] if message["role"] != "tool_call"]
        assert read == said
        assert "system" not in [message["role"] for message in row["messages"][1:]]
    assert Counter(row["id"] for row in lines(folder / "train.jsonl")) == wanted(without=UNREADABLE)


def test_calls_side_by_side_are_a_message_each(folder: Path):
    (row,) = (row for row in lines(folder / "tools.jsonl") if row["id"] == "w/a:1")
    assert [message["role"] for message in row["messages"]] == ["user", "tool_call", "tool_call", "tool", "assistant"]


def test_what_it_cannot_read_is_kept_aside(folder: Path):
    assert {row["id"] for row in lines(folder / "set_aside.jsonl")} == set(UNREADABLE)
