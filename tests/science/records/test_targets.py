"""Validation sets from files: any shape of record, and the three layouts that LESS evaluates with."""

import json
from pathlib import Path

import polars as pl
import pytest

from winnow.errors import BadInput, BadSetting
from winnow.params import TargetSet
from winnow.records.targets import limited, read_target, target_files


def read(files: Path, **values: str) -> pl.DataFrame:
    target = TargetSet(files=str(files), **values)
    return read_target("mine", target, target_files("mine", target, Path("nowhere")))


def test_records_have_their_subtask_in_a_field_or_are_one_subtask_a_file(tmp_path: Path):
    lines = [{"question": f"q{n}", "answer": f"a{n}", "category": "ab"[n % 2]} for n in range(4)]
    (tmp_path / "some.jsonl").write_text("\n".join(map(json.dumps, lines)))
    named = read(tmp_path / "*.jsonl", subtask="category")
    assert named["subtask"].to_list() == ["a", "b", "a", "b"]
    assert named["example_id"].to_list() == [f"mine/some.jsonl:{n}" for n in range(4)]
    assert named["messages"][1].to_list() == [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}]
    assert read(tmp_path)["subtask"].unique().to_list() == ["some"]


def test_mmlu_has_57_subjects_of_5(tmp_path: Path):
    for number in range(57):
        rows = [f'"What, {n}?",one,two,three,four,{"ABCD"[n % 4]}' for n in range(5)]
        (tmp_path / f"subject_{number}_dev.csv").write_text("\n".join(rows))
    found = read(tmp_path, layout="mmlu")
    assert found.group_by("subtask").len()["len"].to_list() == [5] * 57
    assert "subject_0" in found["subtask"].to_list()
    user, assistant = found["messages"][1].to_list()
    assert user["content"] == (
        "The following are multiple choice questions (with answers) about subject 0.\n\n"
        "What, 1?\nA. one\nB. two\nC. three\nD. four\nAnswer:"
    )
    assert assistant == {"role": "assistant", "content": " B"}


def test_bbh_has_27_tasks_of_3(tmp_path: Path):
    text = "Do it.\n\nQ: one\nA: Let's think.\nSo 1.\n\nQ: two\n(a)\n(b)\nA: 2.\n\nQ: three\nA: 3."
    (tmp_path / "bbh-three-shot.json").write_text(json.dumps({f"task_{n}": text for n in range(27)}))
    found = read(tmp_path / "bbh-three-shot.json", layout="bbh")
    assert found.group_by("subtask").len()["len"].to_list() == [3] * 27
    user, assistant = found["messages"][1].to_list()
    assert user["content"] == "Do it.\n\nQ: two\n(a)\n(b)\nA:"
    assert assistant["content"] == " 2."


def test_tydiqa_has_9_languages_of_1(tmp_path: Path):
    rows = {f"l{n}": [{"context": "Es regnet.", "question": "Was?", "answers": [{"text": "Regen"}]}] for n in range(9)}
    (tmp_path / "one-shot.json").write_text(json.dumps(rows))
    found = read(tmp_path / "one-shot.json", layout="tydiqa")
    assert sorted(found["subtask"]) == [f"l{n}" for n in range(9)]
    user, assistant = found["messages"][0].to_list()
    assert user["content"].endswith("Passage: Es regnet.\nQuestion: Was?\nAnswer:")
    assert assistant["content"] == " Regen"


def test_a_limit_is_drawn_per_subtask_and_does_not_depend_on_the_order_of_rows():
    rows = pl.DataFrame({"example_id": [f"e{n}" for n in range(20)], "subset": "t", "subtask": ["a"] * 15 + ["b"] * 5})
    found = limited(rows, 4, seed=0)
    assert found.group_by("subtask").len().sort("subtask")["len"].to_list() == [4, 4]
    assert limited(rows.reverse(), 4, seed=0).sort("example_id").equals(found.sort("example_id"))
    assert not limited(rows, 4, seed=1).sort("example_id").equals(found.sort("example_id"))
    assert limited(rows, None, seed=0).equals(rows)


@pytest.mark.parametrize(
    ("name", "content", "layout", "message"),
    [
        ("a.jsonl", '{"question": "q", "answer": ""}', "records", "record 0.*targets are used whole"),
        ("a_dev.csv", "q,one,two,A", "mmlu", "a line has 2 choices"),
        ("a.json", '{"task": "x\\n\\nQ: without"}', "bbh", "a question without an answer"),
        ("a.json", '{"de": [{"question": "q"}]}', "tydiqa", "KeyError: 'context'"),
        ("a.json", "{}", "bbh", "hold no row"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_the_reason(
    name: str, content: str, layout: str, message: str, tmp_path: Path
):
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=message):
        read(tmp_path, layout=layout)


def test_missing_files_fields_and_equal_names_are_clear_errors(tmp_path: Path):
    with pytest.raises(BadSetting, match=r"targets\.sets\.mine\.files.*where no file is"):
        read(tmp_path / "nothing*")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text('{"question": "q", "answer": "a"}')
    with pytest.raises(BadInput, match="same name in different folders"):
        read(tmp_path)
    with pytest.raises(BadInput, match="has no field 'topic'"):
        read(tmp_path / "one", subtask="topic")
