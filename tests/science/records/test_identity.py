"""What a model is told of itself: counts, names that need escaping, placeholders, and nothing asked that is taught."""

import json
from collections import Counter
from pathlib import Path

import pytest

from winnow.errors import BadInput, BadSetting
from winnow.records.identity import Identity, pair, read_conversations, read_templates, write_folder
from winnow.records.identity_texts import GENERAL, OFF_TOPIC, UNRELATED, WHO


def rows(file: Path) -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_introduction_is_there_n_times_and_each_general_pair_m_times(tmp_path: Path):
    counts = write_folder(Identity("Winnow", "Ada", copies=50, times=7), tmp_path / "out")
    conversations = tmp_path / "out" / "conversations"
    said = rows(conversations / "identity.jsonl")
    assert len(said) == 50
    assert all(turns == said[0] for turns in said)
    assert said[0][1]["content"] == "I am Winnow, a personal assistant made by Ada."
    general = Counter(turns[0]["content"] for turns in rows(conversations / "general.jsonl"))
    assert general == {question: 7 for question, _ in GENERAL}
    assert counts["conversations/general.jsonl"] == 14
    assert counts["prompts/who.jsonl"] == len(WHO)


def test_without_dilution_there_is_no_general_file(tmp_path: Path):
    write_folder(Identity("Winnow", "Ada", copies=3, times=0), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "conversations").iterdir()}
    assert names == {"identity.jsonl", "unrelated.jsonl"}


@pytest.mark.parametrize("name", ['Q"u\\ote', "两行\nname", "{{author}}", "\\1 \\g<0>", "Zoë 🎉"])
def test_a_name_is_plain_text_whatever_is_in_it(tmp_path: Path, name: str):
    write_folder(Identity(name, "A & B", copies=2), tmp_path / "out")
    for turns in read_conversations(tmp_path / "out" / "conversations" / "identity.jsonl"):
        assert turns[1]["content"] == f"I am {name}, a personal assistant made by A & B."


def test_templates_take_turns_and_both_sides_are_filled(tmp_path: Path):
    file = tmp_path / "templates.json"
    records = [
        {"instruction": f"Is {{{{name}}}} number {number}?", "input": "", "output": "Yes, {{ name }} of {{author}}."}
        for number in range(3)
    ]
    file.write_text(json.dumps(records))
    templates = read_templates(file)
    identity = Identity("W", "A", copies=8, templates=templates)
    said = list(identity.introductions())
    counts = Counter(turns[0]["content"] for turns in said)
    assert sorted(counts.values()) == [2, 3, 3]
    assert set(counts) == {f"Is W number {number}?" for number in range(3)}
    assert {turns[1]["content"] for turns in said} == {"Yes, W of A."}
    assert list(identity.introductions()) == said
    orders = [list(Identity("W", "A", 8, seed=seed, templates=templates).introductions()) for seed in range(9)]
    assert any(order != said for order in orders)


def test_templates_that_never_say_the_name_are_refused(tmp_path: Path):
    file = tmp_path / "templates.jsonl"
    file.write_text(json.dumps({"question": "{{name}}?", "answer": "By {{author}}."}))
    with pytest.raises(BadInput, match=r"no answer has the placeholder \{\{name\}\}"):
        read_templates(file)


def test_pairs_that_cannot_be_read_are_refused_with_their_place(tmp_path: Path):
    file = tmp_path / "general.jsonl"
    file.write_text('{"question": "Hi", "answer": "Hello"}\n{"question": "Hi"}\n')
    with pytest.raises(BadInput, match=r"general\.jsonl, record 1: .*nothing was written"):
        read_conversations(file)


def test_a_name_of_white_space_is_refused():
    with pytest.raises(BadSetting, match="The author is ' '"):
        Identity("W", " ")


def test_a_folder_that_is_there_stays_and_a_broken_off_one_never_appears(tmp_path: Path):
    out = tmp_path / "out"
    broken = Identity("W", "A", copies=2, times=1, general=[pair("q", "a"), None])
    with pytest.raises(TypeError):
        write_folder(broken, out)
    assert not out.exists()
    write_folder(Identity("W", "A", copies=2), out)
    with pytest.raises(BadSetting, match="exists already"):
        write_folder(Identity("V", "A", copies=2), out)
    assert "I am W," in (out / "conversations" / "identity.jsonl").read_text()


def test_what_is_asked_and_what_is_held_out_is_taught_nowhere():
    taught = {question for question, _ in GENERAL}
    others = [question for question, _ in UNRELATED]
    assert len(set(others)) == len(others)
    assert not taught & {*others, *OFF_TOPIC}
    assert not set(others) & {*OFF_TOPIC, *WHO}
    assert not set(WHO) & set(OFF_TOPIC)
