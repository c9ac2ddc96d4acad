"""From raw files to tokens: nothing is lost, memory does not grow with the file, a kill costs one file."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.ingest.nodes import find_raw_examples, ingest
from pipelines.split.nodes import split
from pipelines.tokenize.nodes import tokenize
from support.tiny import checksums, untrained_model
from winnow.errors import NothingToTrainOn
from winnow.evaluation.questions import ask
from winnow.params import IngestParams, Machine, SplitParams, TokenizeParams
from winnow.progress import listening
from winnow.records.chat_template import NAMED
from winnow.records.columnar_files import open_parquet
from winnow.records.ingest import example_id, write_file
from winnow.records.tokenizer import load_tokenizer
from winnow.records.tokens import TokenTable
from winnow.records.tree import write_repeated
from winnow.stages import Finished


def pair(number: int, **more: Any) -> dict[str, Any]:
    return {"question": f"What is {number}?", "answer": f"It is {number} 你好 👋.", **more}


def write_raw(folder: Path) -> None:
    (folder / "math" / "deep").mkdir(parents=True)
    lines = [json.dumps(pair(n, level=n % 3), ensure_ascii=False) for n in range(100)]
    lines[17] = "{broken"
    (folder / "math" / "a.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "math" / "deep" / "b.json").write_text(json.dumps([pair(n) for n in range(100, 140)]))
    pl.DataFrame([pair(n, id=n) for n in range(200, 240)]).write_parquet(folder / "code.parquet")
    (folder / "c.csv").write_text("question,answer\n" + "".join(f"q{n},a{n}\n" for n in range(20)))


def run(root: Path, folder: Path) -> tuple[Finished, ...]:
    machine = Machine(data_root=root)
    params = IngestParams(folder=folder)
    raw = find_raw_examples(params, machine)
    examples, rejects = ingest(raw, params, machine)
    return (raw, examples, rejects, *split(examples, raw, SplitParams(), params, machine))


def test_rows_are_repeated_in_files_of_their_own_format(folder: Path, tmp_path: Path):
    wanted = [("math/a.jsonl", 3, 2), ("math/a.jsonl", 5, 0), ("math/a.jsonl", 20, 1), ("math/deep/b.json", 0, 3)]
    wanted += [("code.parquet", 7, 1), ("code.parquet", 2, 3), ("c.csv", 1, 2)]
    rows = pl.DataFrame(wanted, schema=["file", "row", "times"], orient="row")
    write_repeated(folder, rows, IngestParams(), tmp_path / "out")
    lines = (tmp_path / "out" / "math" / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["question"] for line in lines] == ["What is 3?", "What is 3?", "What is 20?"]
    assert json.loads((tmp_path / "out" / "math" / "deep" / "b.json").read_text()) == [pair(100)] * 3
    assert pl.read_parquet(tmp_path / "out" / "code.parquet")["id"].to_list() == [202, 202, 202, 207]
    assert (tmp_path / "out" / "c.csv").read_text().split() == ["question,answer", "q1,a1", "q1,a1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_raw(tmp_path / "raw")
    return tmp_path / "raw"


def test_every_record_is_an_example_or_a_reject_and_every_example_is_on_a_side(folder: Path, tmp_path: Path):
    _, examples, rejects, train, validation, held_out, duplicates = run(tmp_path / "data", folder)
    counts = {part.table: part.scan().collect().height for part in (examples, rejects, train, validation, held_out)}
    set_aside = duplicates.scan().collect().filter(pl.col("side") == "set_aside").height
    assert counts["examples"] + counts["rejects"] == 200
    assert rejects.scan().collect().select("file", "row").rows() == [("math/a.jsonl", 17)]
    assert counts["train"] + counts["validation"] + counts["held_out"] + set_aside == counts["examples"]


def test_the_tree_mirrors_the_raw_files_and_keeps_every_field(folder: Path, tmp_path: Path):
    *_, train, validation, held_out, _ = run(tmp_path / "data", folder)
    tree = train.path / "tree"
    names = {path.relative_to(tree / "train").as_posix() for path in (tree / "train").rglob("*") if path.is_file()}
    assert names == {"math/a.jsonl", "math/deep/b.json", "code.parquet", "c.csv"}
    assert {path.name for path in (tree / "evaluation").iterdir()} == {"math.jsonl", "default.jsonl"}
    assert pq.read_schema(tree / "train" / "code.parquet") == pq.read_schema(folder / "code.parquet")
    assert (tree / "train" / "c.csv").read_text().startswith("question,answer")
    ids = set(train.scan().collect()["example_id"])
    kept = [json.loads(line) for line in (tree / "train" / "math" / "a.jsonl").read_text().splitlines()]
    raw = (folder / "math" / "a.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [json.loads(line) for n, line in enumerate(raw) if example_id("math/a.jsonl", n) in ids]
    assert kept == expected
    merged = (tree / "evaluation" / "math.jsonl").read_text(encoding="utf-8")
    assert "你好 👋" in merged
    assert len(merged.splitlines()) == held_out.scan().filter(pl.col("subset") == "math").collect().height
    assert validation.scan().collect().height == sum(
        len((tree / "validation" / f"{subset}.jsonl").read_text().splitlines()) for subset in ("math", "default")
    )


def test_files_that_moved_or_were_touched_change_nothing_and_content_does(folder: Path, tmp_path: Path):
    first = run(tmp_path / "data", folder)
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    os.utime(elsewhere / "c.csv")
    moved = run(tmp_path / "data", elsewhere)
    assert [part.fingerprint for part in moved] == [part.fingerprint for part in first]
    with (elsewhere / "c.csv").open("a") as file:
        file.write("one,more\n")
    assert run(tmp_path / "data", elsewhere)[1].fingerprint != first[1].fingerprint


def killed_ingest(root: Path, folder: Path, after: int) -> None:
    import pipelines.ingest.nodes as nodes

    written = 0

    def write_then_die(*arguments: Any) -> None:
        nonlocal written
        written += 1
        if written > after:
            os.kill(os.getpid(), signal.SIGKILL)
        write_file(*arguments)

    nodes.write_file = write_then_die
    run(root, folder)


@pytest.mark.parametrize("after", [0, 2])
def test_killed_ingest_goes_on_with_the_next_file_to_the_same_bytes(folder: Path, tmp_path: Path, after: int):
    undisturbed = run(tmp_path / "a", folder)
    child = multiprocessing.get_context("fork").Process(target=killed_ingest, args=(tmp_path / "b", folder, after))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    partial = next((tmp_path / "b").glob("02_intermediate/ingest/*.partial"))
    assert len(list(partial.glob("examples/*.parquet"))) == after
    resumed = run(tmp_path / "b", folder)
    for mine, theirs in zip(resumed[1:], undisturbed[1:], strict=True):
        assert checksums(mine.path) == checksums(theirs.path)


def test_tokens_are_read_by_id_and_unusable_rows_are_set_aside(folder: Path, tmp_path: Path):
    root = tmp_path / "data"
    *_, train, validation, _, _ = run(root, folder)
    base, machine = untrained_model(root), Machine(data_root=root)
    tokens = tokenize(train, validation, base, TokenizeParams(max_length=64), machine)
    lengths = tokens.scan("lengths").collect()
    unusable = tokens.scan("unusable").collect()
    rows = train.scan().collect().height + validation.scan().collect().height
    assert lengths.height + unusable.height == rows
    table = TokenTable.open(tokens.path, "train")
    wanted = [table.ids[5], table.ids[0], table.ids[5]]
    assert [row.example_id for row in table.rows(wanted)] == wanted
    by_id = {name: (n, s) for name, n, s in lengths.select("example_id", "n_tokens", "n_supervised").iter_rows()}
    for row in table.rows(table.ids):
        assert by_id[row.example_id] == (len(row.input_ids), row.supervised.sum())


def test_a_length_that_leaves_nothing_to_learn_is_an_error_with_a_remedy(folder: Path, tmp_path: Path):
    root = tmp_path / "data"
    *_, train, validation, _, _ = run(root, folder)
    with pytest.raises(NothingToTrainOn, match=r"raise `tokenize\.max_length`"):
        tokenize(train, validation, untrained_model(root), TokenizeParams(max_length=8), Machine(data_root=root))


def test_a_model_without_a_chat_template_gets_the_default_and_is_told_so(folder: Path, tmp_path: Path):
    root = tmp_path / "data"
    *_, train, validation, _, _ = run(root, folder)
    base, machine = untrained_model(root), Machine(data_root=root)
    (base.path / "chat_template.jinja").unlink()
    heard: list[str] = []
    with listening(lambda news: heard.append(news.message)):
        tokens = tokenize(train, validation, base, TokenizeParams(), machine)
    assert tokens.summary["template"] == "tulu (the tokenizer has none)"
    assert any("chat template tulu (the tokenizer has none)" in message for message in heard)
    assert (tokens.path / "chat_template.jinja").read_text() == NAMED["tulu"].read_text()
    asked = tokenize(train, validation, base, TokenizeParams(template="tulu"), machine)
    assert asked.summary["template"] == "tulu"
    assert asked.path != tokens.path
    assert asked.scan("lengths").collect().equals(tokens.scan("lengths").collect())
    assert asked.scan("unusable").collect().is_empty()
    questions, unusable = ask(validation.scan(), load_tokenizer(base), None, 2048, None)
    table = TokenTable.open(tokens.path, "validation")
    assert unusable == 0
    for question in questions:
        (row,) = table.rows([question.example_id])
        assert row.input_ids.tolist() == [*question.context, *question.answer]


def test_a_streamed_parquet_file_stays_on_disk(tmp_path: Path):
    noise = [os.urandom(500).hex() for _ in range(40_000)]
    pl.DataFrame({"text": noise}).write_parquet(tmp_path / "a.parquet", row_group_size=1000)
    before = pa.total_allocated_bytes()
    with open_parquet(tmp_path / "a.parquet") as file:
        held = [pa.total_allocated_bytes() - before for _ in file.iter_batches(batch_size=500)]
    assert len(held) == 80
    assert max(held) < 10 << 20, "40 MB of text were read"


def test_memory_does_not_grow_with_the_file(tmp_path: Path):
    def peak(megabytes: int) -> float:
        script = Path(__file__).parents[3] / "benchmarks" / "ingest.py"
        done = subprocess.run(
            [sys.executable, str(script), "--megabytes", str(megabytes), "--folder", str(tmp_path / str(megabytes))],
            capture_output=True,
            text=True,
            check=True,
        )
        return float(json.loads(done.stdout)["peak_memory_mb"])

    small, large = peak(10), peak(90)
    assert large - small < 120, f"80 MB more of input took {large - small:.0f} MB more of memory"
