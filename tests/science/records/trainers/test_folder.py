"""An export appears when it is whole, and nothing is deleted that is not an export."""

import os
from pathlib import Path
from typing import Any

import pytest

from support.mixes import POOL, export
from winnow.errors import BadSetting
from winnow.records.trainers import xtuner
from winnow.records.trainers.trainer import Trainer


def test_an_older_export_is_replaced_with_all_its_files(tmp_path: Path):
    export("llamafactory", tmp_path / "out")
    export("openai", tmp_path / "out", {"m/a:0": POOL["m/a:0"]})
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {"manifest.json", "math-2.jsonl", "train.jsonl"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_filled(tmp_path: Path):
    (tmp_path / "deep" / "out").mkdir(parents=True)
    export("openai", tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out" / "manifest.json").exists()


@pytest.mark.parametrize("manifest", [None, "{}", "[1]", '{"files": {}, "made_by": "someone"}', "{broken"])
def test_a_folder_that_is_no_export_is_left_alone(tmp_path: Path, manifest: str | None):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (out / "manifest.json").write_text(manifest)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(BadSetting, match="is not empty and holds no export of ours"):
        export("openai", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_file_added_to_an_export_is_not_deleted(tmp_path: Path):
    export("openai", tmp_path / "out")
    (tmp_path / "out" / "notes.md").write_text("mine")
    with pytest.raises(BadSetting, match=r"holds 'notes\.md', which is no part of the export"):
        export("openai", tmp_path / "out")
    assert (tmp_path / "out" / "notes.md").read_text() == "mine"


def test_edited_settings_are_not_overwritten(tmp_path: Path):
    export("llamafactory", tmp_path / "out")
    settings = tmp_path / "out" / "train_sft.yaml"
    settings.write_text("model_name_or_path: mine\n")
    with pytest.raises(BadSetting, match=r"holds 'train_sft\.yaml', which was edited"):
        export("llamafactory", tmp_path / "out")
    assert settings.read_text() == "model_name_or_path: mine\n"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(BadSetting, match="which is a file"):
        export("openai", tmp_path / "out")


def test_an_export_that_fails_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export("openai", tmp_path / "out")
    before = sorted(os.listdir(tmp_path / "out"))

    def broken(*_: Any) -> dict[str, str]:
        raise OSError("disk full")

    monkeypatch.setitem(export.__globals__["TRAINERS"], "xtuner", Trainer(xtuner.to_xtuner, broken))
    with pytest.raises(OSError, match="disk full"):
        export("xtuner", tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == before
    assert os.listdir(tmp_path) == ["out"]
