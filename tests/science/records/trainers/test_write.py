"""What every export has: rows as often as the mix takes them, clusters apart, a manifest, the same bytes each time."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.mixes import POOL, export, lines, wanted
from winnow.errors import NothingToTrainOn
from winnow.params import IngestParams
from winnow.records.ingest import RawFile, read_file
from winnow.records.trainers import TRAINERS, write
from winnow.records.trainers.folder import file_names

PLAIN = ("openai", "sharegpt", "alpaca")
SIMPLE = {name: entry for name, entry in POOL.items() if name.startswith("m/")}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("to", PLAIN)
def test_every_turn_and_every_copy_reads_back(tmp_path: Path, to: str):
    export(to, tmp_path / "out", SIMPLE)
    back = list(read_file(tmp_path / "out", RawFile("train.jsonl"), IngestParams()))
    talks = [(json.loads(row["extra"])["id"], [(m["role"], m["content"]) for m in row["messages"]]) for row in back]
    assert Counter(name for name, _ in talks) == {name: times for name, (_, times, _) in SIMPLE.items() if times}
    assert all(talk == POOL[name][2] for name, talk in talks)


@pytest.mark.parametrize("to", PLAIN)
def test_a_cluster_file_has_each_conversation_once(tmp_path: Path, to: str):
    manifest = export(to, tmp_path / "out")
    for entry in manifest["clusters"]:
        if entry["file"]:
            rows = lines(tmp_path / "out" / entry["file"])
            assert [row["id"] for row in rows] == list(wanted(entry["cluster"]))
            assert {row["cluster"] for row in rows} == {row["channel"] for row in rows} == {entry["cluster"]}


def test_alpaca_keeps_earlier_turns_in_the_history(tmp_path: Path):
    export("alpaca", tmp_path / "out", SIMPLE)
    (row,) = (row for row in lines(tmp_path / "out" / "train.jsonl") if row["id"] == "m/a:1")
    assert (row["system"], row["history"], row["instruction"]) == ("Be brief.", [["a", "b"]], "c\n")


def test_the_manifest_counts_the_rows_before_and_after(tmp_path: Path):
    manifest = export("openai", tmp_path / "out")
    entries = {entry["cluster"]: entry for entry in manifest["clusters"]}
    nothing = {"distinct": 0, "rows": 0}
    assert entries["math/2"] == {
        "cluster": "math/2",
        "pool": 3,
        "file": "math-2-2.jsonl",
        "distinct": 2,
        "rows": 4,
        "weight": 2.0,
        "set_aside": nothing,
    }
    assert entries["never"] == {
        "cluster": "never",
        "pool": 1,
        "file": None,
        "distinct": 0,
        "rows": 0,
        "weight": 0.0,
        "set_aside": nothing,
    }
    assert (manifest["pool"], manifest["distinct"], manifest["rows"]) == (12, 10, 17)
    assert (manifest["arm"], manifest["seed"], manifest["to"]) == ("less", 0, "openai")


@pytest.mark.parametrize("to", sorted(TRAINERS))
def test_the_manifest_has_the_hash_and_the_rows_of_every_file(tmp_path: Path, to: str):
    manifest = export(to, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")) == manifest
    found = contents(tmp_path / "out")
    del found["manifest.json"]
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == {
        name: entry["sha256"] for name, entry in manifest["files"].items()
    }
    rows = {name: data.count(b"\n") for name, data in found.items() if name.endswith(".jsonl")}
    assert rows == {name: entry["rows"] for name, entry in manifest["files"].items() if "rows" in entry}


@pytest.mark.parametrize("to", sorted(TRAINERS))
def test_the_same_mix_gives_the_same_bytes(tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch):
    export(to, tmp_path / "one")
    monkeypatch.setattr(write, "BATCH_ROWS", 2)
    export(to, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not [name for name, data in contents(tmp_path / "one").items() if str(tmp_path).encode() in data]


def test_a_mix_that_a_trainer_cannot_read_at_all_is_refused(tmp_path: Path):
    calls = {"w/a:0": POOL["w/a:0"]}
    with pytest.raises(NothingToTrainOn, match="xtuner can read no conversation of the mix of 'less': XTuner has no"):
        export("xtuner", tmp_path / "out", calls)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("clusters", "names"),
    [
        (["math/2"], ["math-2"]),
        (["math-2", "math/2", "math-2-2"], ["math-2", "math-2-2", "math-2-3"]),
        (["a", "A"], ["A", "a-2"]),
        (["train", "set_aside"], ["set_aside-2", "train-2"]),
        (["../..", "", ","], ["cluster", "cluster-2", "cluster-3"]),
        (["数学/2"], ["数学-2"]),
        (["x" * 300, "x" * 301], ["x" * 80, "x" * 80 + "-2"]),
    ],
)
def test_file_names_are_safe_and_no_two_are_the_same(clusters: list[str], names: list[str]):
    given: dict[str, Any] = file_names(clusters, ("train", "set_aside"))
    assert sorted(given.values()) == sorted(f"{name}.jsonl" for name in names)
    assert len({name.casefold() for name in given.values()}) == len(clusters)
