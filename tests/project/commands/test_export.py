"""`kedro export pool` and `kedro merge-files`, as people use them who only want the conversion."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.study import Study
from winnow.commands.export import merge_files

CHAT = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好 👋"}]


def test_the_pool_is_converted_from_the_raw_files_without_a_tracked_run(tmp_path: Path):
    raw = tmp_path / "mine" / "greetings"
    raw.mkdir(parents=True)
    lines = [json.dumps({"messages": CHAT}, ensure_ascii=False), "{broken"]
    (raw / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    study, out = Study(tmp_path), tmp_path / "out"

    printed = study.kedro(
        "export", "pool", "--to", "sharegpt", "--out", str(out), "--params", f"ingest.folder={raw.parent}"
    )
    text = (out / "greetings.jsonl").read_text(encoding="utf-8")
    assert "你好 👋" in text
    assert [turn["from"] for turn in json.loads(text)["conversations"]] == ["human", "gpt"]
    assert "1 rows" in printed
    assert "1 records were set aside" in printed
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("name", ["all.jsonl", "all.json"])
def test_files_are_merged_in_the_order_of_their_names(tmp_path: Path, name: str):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "b.json").write_text('[{"n": 1}, {"n": 2}]')
    (tmp_path / "in" / "deep" / "c.jsonl").write_text('{"n": 3, "text": "é"}\n')
    out = tmp_path / name
    result = CliRunner().invoke(merge_files, [str(tmp_path / "in"), str(out)])
    assert result.exit_code == 0, result.output
    assert "3 records of 2 files" in result.output
    text = out.read_text(encoding="utf-8")
    merged = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    assert [record["n"] for record in merged] == [1, 2, 3]
    assert "é" in text


@pytest.mark.parametrize("out", ["all.txt", "all.jsonl"])
def test_what_cannot_be_merged_is_one_message(tmp_path: Path, out: str):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"n": 1}\n{broken\n')
    result = CliRunner().invoke(merge_files, [str(tmp_path / "in"), str(tmp_path / out)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert not (tmp_path / out).exists()
