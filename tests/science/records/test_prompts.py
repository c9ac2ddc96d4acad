"""Prompts of files: with an expected answer or without, in any shape; what asks nothing is refused."""

import json
from pathlib import Path

import pytest

from winnow.errors import BadInput, BadSetting
from winnow.params import SamplesParams
from winnow.records.prompts import Prompt, read_prompts

ASKED = {"role": "user", "content": "Who are you?"}


def write(file: Path, *records: object) -> SamplesParams:
    file.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return SamplesParams(files=[str(file)])


def test_an_answer_is_expected_where_there_is_one(tmp_path: Path):
    answered = {"messages": [ASKED, {"role": "assistant", "content": "I am W."}]}
    pair = {"question": "2+2?", "answer": "4"}
    found = read_prompts(write(tmp_path / "who.jsonl", {"messages": [ASKED]}, answered, pair), tmp_path)
    assert found == [
        Prompt("who", [ASKED], None),
        Prompt("who", [ASKED], "I am W."),
        Prompt("who", [{"role": "user", "content": "2+2?"}], "4"),
    ]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"messages": []}, "the user says nothing"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "the user says nothing"),
        ({"text": "Hi"}, "no known record shape"),
        ([], "no known record shape"),
    ],
)
def test_what_asks_nothing_is_refused_with_its_place(tmp_path: Path, record: object, why: str):
    params = write(tmp_path / "bad.jsonl", {"messages": [ASKED]}, record)
    with pytest.raises(BadInput, match=rf"bad\.jsonl, record 1: {why}\. .*mend it"):
        read_prompts(params, tmp_path)


def test_two_files_of_one_name_would_be_one_group(tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "who.jsonl", {"messages": [ASKED]})
    with pytest.raises(BadSetting, match="two groups of prompts called 'who'"):
        read_prompts(SamplesParams(files=[str(tmp_path / "*" / "who.jsonl")]), tmp_path)
