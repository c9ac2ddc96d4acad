"""`selected_data.jsonl`: the best rows, best first, with their messages as they are."""

import json
from pathlib import Path

import polars as pl

from winnow.moe.files import write_selected
from winnow.selection import rank_by_quality

IDS = [f"math/a.jsonl:{number}" for number in range(3000)]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": f"Größe\n{text} “"}]


def written(folder: Path, count: int) -> list[dict[str, object]]:
    """The ranking is by a number that runs against the order of the rows."""
    table = pl.DataFrame({"example_id": IDS, "messages": [said(name) for name in IDS]})
    table.write_parquet(folder / "train.parquet")
    quality = pl.DataFrame({"example_id": IDS, "quality": [number / len(IDS) for number in range(len(IDS))]})
    shuffled = rank_by_quality(quality).sample(frac=1, random_state=0)
    write_selected(folder / "selected_data.jsonl", shuffled, pl.scan_parquet(folder / "train.parquet"), count)
    return [json.loads(line) for line in (folder / "selected_data.jsonl").read_text("utf-8").splitlines()]


def test_the_best_rows_come_first_with_their_messages_and_scores(tmp_path: Path):
    rows = written(tmp_path, 2)
    assert rows == [
        {"id": IDS[-1], "messages": said(IDS[-1]), "score": 2999 / 3000},
        {"id": IDS[-2], "messages": said(IDS[-2]), "score": 2998 / 3000},
    ]


def test_a_count_beyond_the_ranking_writes_all_of_it(tmp_path: Path):
    assert [row["id"] for row in written(tmp_path, 5000)] == IDS[::-1]


def test_none_is_an_empty_file(tmp_path: Path):
    assert written(tmp_path, 0) == []
