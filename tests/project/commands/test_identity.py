"""`kedro identity` as it is typed; what it writes is looked at in tests/science/records/test_identity.py."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from winnow.commands.identity import identity

REQUIRED = ["--name", "Winnow", "--author", "Ada"]


def test_it_tells_what_it_wrote_and_the_same_command_writes_the_same(tmp_path: Path):
    contents = []
    for name in ("one", "two"):
        out = tmp_path / name
        done = CliRunner().invoke(identity, [*REQUIRED, "--copies", "30", "--times", "4", "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert f"{out / 'conversations' / 'identity.jsonl'}  30 rows" in done.output
        assert f"{out / 'conversations' / 'general.jsonl'}  8 rows" in done.output
        contents.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*.jsonl")})
    assert contents[0] == contents[1]


def test_ones_own_pairs_come_in_any_shape(tmp_path: Path):
    file = tmp_path / "general.json"
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    file.write_text(json.dumps([{"conversations": turns}]))
    out = tmp_path / "out"
    command = [*REQUIRED, "--copies", "2", "--general", str(file), "--times", "3", "--out", str(out)]
    assert CliRunner().invoke(identity, command).exit_code == 0
    (row,) = set((out / "conversations" / "general.jsonl").read_text().splitlines())
    assert [turn["content"] for turn in json.loads(row)["messages"]] == ["Hi", "Hello"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--general", "nowhere.json"], "--general is 'nowhere.json', and there is no such file"),
        (["--name", ""], "The name is '', which says nothing"),
        (["--out", "."], "exists already"),
    ],
)
def test_a_mistake_is_one_message(tmp_path: Path, more: list[str], says: str):
    done = CliRunner().invoke(identity, [*REQUIRED, "--copies", "2", "--out", str(tmp_path / "out"), *more])
    assert done.exit_code == 1
    assert says in done.output
    assert not (tmp_path / "out").exists()
