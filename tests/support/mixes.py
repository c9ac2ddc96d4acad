"""A small pool of conversations, and an arm's mix of it, for tests of exports."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from winnow.records.trainers import TRAINERS, Mix, export_mix, read_mix

Talk = list[tuple[str, str]]
WEATHER = '{"name": "weather", "arguments": {"city": "Łódź"}}'
OPENAI_CALLS = json.dumps(
    [
        {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "2", "type": "function", "function": {"name": "now", "arguments": {}}},
    ]
)
# Each conversation with its cluster and how often the mix takes it.
POOL: dict[str, tuple[str, int, Talk]] = {
    "m/a:0": ("math/2", 3, [("user", "1+1?"), ("assistant", "2")]),
    "m/a:1": (
        "math/2",
        1,
        [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c\n"), ("assistant", "你好 👋")],
    ),
    "m/a:2": ("math/2", 0, [("user", "left out"), ("assistant", "x")]),
    "m/a:3": ("math-2", 2, [("user", "q"), ("assistant", "r")]),
    "t/a:0": ("Train", 1, [("user", "named like the whole"), ("assistant", "s")]),
    "w/a:0": ("tools", 2, [("user", "w?"), ("function_call", WEATHER), ("tool", "sun"), ("assistant", "Sunny.")]),
    "w/a:1": ("tools", 1, [("user", "+"), ("function_call", OPENAI_CALLS), ("tool", "1"), ("assistant", "1")]),
    "w/a:2": ("tools", 1, [("user", "u"), ("user", "v"), ("assistant", "two questions")]),
    "w/a:3": ("tools", 4, [("user", "u"), ("assistant", "v"), ("user", "no answer")]),
    "w/a:4": ("tools", 1, [("user", "u"), ("system", "late"), ("user", "x"), ("assistant", "v")]),
    "w/a:5": ("tools", 1, [("user", "u"), ("function_call", "weather()"), ("tool", "sun"), ("assistant", "v")]),
    "z/a:0": ("never", 0, [("user", "of a cluster without a row in the mix"), ("assistant", "v")]),
}


def pool_of(talks: dict[str, tuple[str, int, Talk]] = POOL) -> pl.LazyFrame:
    rows = [
        {
            "example_id": name,
            "subset": name[0],
            "messages": [{"role": role, "content": content} for role, content in talk],
        }
        for name, (_, _, talk) in talks.items()
    ]
    return pl.DataFrame(rows).lazy()


def mix_of(talks: dict[str, tuple[str, int, Talk]] = POOL, arm: str = "less") -> Mix:
    groups = pl.DataFrame({"example_id": list(talks), "cluster": [cluster for cluster, _, _ in talks.values()]})
    taken = [(name, times, 0) for name, (_, times, _) in talks.items() if times]
    mix = pd.DataFrame(taken, columns=["example_id", "multiplicity", "seed"])
    return read_mix(arm, mix, None, pool_of(talks), groups)


def export(to: str, out: Path, talks: dict[str, tuple[str, int, Talk]] = POOL) -> dict[str, Any]:
    return export_mix(mix_of(talks), pool_of(talks), to, TRAINERS[to], out)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def wanted(cluster: str | None = None, without: tuple[str, ...] = ()) -> dict[str, int]:
    """How often the mix has each conversation, of one cluster or of all, but for those that a trainer cannot read."""
    return {
        name: times
        for name, (its, times, _) in POOL.items()
        if times and cluster in (None, its) and name not in without
    }
