"""A project to be looked at: six rows of raw text through the real first stages, and hand-made tables of the later."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from pipelines.ingest.nodes import ingest, record_files
from pipelines.split.nodes import split
from pipelines.tokenize.nodes import tokenize
from support.tiny import untrained_model
from winnow.datasets import FinishedDataset
from winnow.inspection import Results, open_results
from winnow.params import IngestParams, Machine, SplitParams, TokenizeParams
from winnow.stages import Finished, FinishedParts, Work, locate

FILE = "math/a.jsonl"
# Markup, an escape of the terminal, and letters of several bytes.
HOSTILE = "[red]no[/red] \x1b[31m你好 👋 \u202eabc"
# The fifth repeats the second; the last is no conversation.
TALKS: list[Any] = [
    [("user", "1+1?"), ("assistant", "2")],
    [("user", "q"), ("assistant", HOSTILE), ("user", "again"), ("assistant", "é\nf")],
    [("user", "u"), ("assistant", "v")],
    [("user", "w"), ("assistant", "x")],
    [("user", "q"), ("assistant", HOSTILE), ("user", "again"), ("assistant", "é\nf")],
    [("user", "no answer")],
]
IDS = [f"{FILE}:{row}" for row in range(len(TALKS))]
POOL = IDS[:5]
STEPS = ["10", "20"]
LOSSES = {"10": [1.0, 2.0, 3.0, 8.0, 2.0], "20": [0.0, 1.0, 2.0, 4.0, 1.0]}
CLUSTERS = {"cluster": [0, 0, 0, 1, 0], "subset_cluster": [0, 0, 0, 1, 0], "s2l_cluster": [0] * 5}


class LookedAt:
    """A data root whose records lie where the catalog of `conf/base` has them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        machine = Machine(data_root=root, device="cpu", threads=1)
        raw = root / "01_raw" / "mine" / FILE
        raw.parent.mkdir(parents=True)
        records = ({"messages": [{"role": role, "content": text} for role, text in talk]} for talk in TALKS)
        raw.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
        found = record_files(root / "01_raw" / "mine", machine)
        examples, rejects = ingest(found, IngestParams(), machine)
        shares = SplitParams(validation_share=0, held_out_share=0)
        train, validation, held_out, duplicates = split(examples, found, shares, IngestParams(), machine)
        self.base = untrained_model(root)
        self.tokens = tokenize(train, validation, self.base, TokenizeParams(), machine)
        self.datasets: dict[str, FinishedDataset] = {}
        self.save("02_intermediate", examples=examples, rejects=rejects, train=train, validation=validation)
        self.save("02_intermediate", held_out=held_out, duplicates=duplicates, tokens=self.tokens)

    def save(self, layer: str, **handles: Finished | FinishedParts) -> None:
        for name, handle in handles.items():
            path = self.root / layer / f"{name}.json"
            self.datasets[name] = FinishedDataset(filepath=str(path), data_root=str(self.root))
            self.datasets[name].save(handle)

    def make(self, stage: str, tables: dict[str, pl.DataFrame], **given: Any) -> Finished:
        """What a stage leaves behind; ``given`` are its inputs and the rest of its summary."""
        inputs = given.pop("inputs", {})
        with Work.resume(locate(self.root / "made", stage, 1, given, inputs)) as work:
            for name, table in tables.items():
                work.commit(f"{name}.parquet", table.write_parquet)
            listed = {name: {"file": f"{name}.parquet", "fingerprint": name} for name in tables}
            return work.finish({"tables": listed, **given}, {})

    def add_losses(self, **inputs: str) -> None:
        made_of = {"tokens": self.tokens.fingerprint, **inputs}
        table = pl.DataFrame({"example_id": POOL, "subset": "math", **LOSSES})
        losses = self.make("losses", {"losses": table}, checkpoints=[int(step) for step in STEPS], inputs=made_of)
        self.save("03_primary", losses=losses.only("losses"))

    def add_clusters(self) -> None:
        table = pl.DataFrame({"example_id": POOL, "subset": "math", **CLUSTERS})
        self.save("03_primary", clusters=self.make("clusters", {"clusters": table}))

    def add_scores(self) -> None:
        """Two checkpoints, weighed 1 and 2: the sums for math are 3, 3, 9, none and 0."""
        parts = {}
        for step, values in {"10": [1.0, 3.0, 3.0, float("nan"), 0.0], "20": [1.0, 0.0, 3.0, 1.0, 0.0]}.items():
            table = pl.DataFrame({"example_id": POOL, "math/math": values})
            parts[step] = self.make("scores", {"scores": table}, step=step)
        self.save("03_primary", scores=FinishedParts(parts, {"weights": {"10": 1.0, "20": 2.0}}))

    def add_matrix(self) -> None:
        groups = pl.DataFrame({"example_id": POOL, "cluster": ["math/0", "math/0", "math/0", "math/1", "math/0"]})
        cells = pl.DataFrame({"domain": ["math", "math"], "cluster": ["math/0", "math/1"], "rows": [4, 1]})
        cells = cells.with_columns(influence=pl.Series([0.25, -0.5]), error=pl.Series([0.125, None], dtype=pl.Float64))
        self.save("03_primary", influence_matrix=self.make("matrix", {"cells": cells, "groups": groups}))

    def add_mix(self, arm: str, rows: list[tuple[str, int, int]]) -> None:
        file = self.root / "03_primary" / "arms" / arm / "training_mix.parquet"
        file.parent.mkdir(parents=True)
        pd.DataFrame(rows, columns=["example_id", "multiplicity", "seed"]).to_parquet(file)

    def add_everything(self) -> None:
        self.add_losses()
        self.add_clusters()
        self.add_scores()
        self.add_matrix()
        self.add_mix("less", [(IDS[1], 2, 0), (IDS[3], 1, 0), (IDS[2], 1, 1), (IDS[3], 1, 1)])
        self.add_mix("random", [(IDS[0], 1, 0)])

    def results(self) -> Results:
        arms = (self.root / "03_primary" / "arms").glob("*/training_mix.parquet")
        return open_results(self._load, {file.parent.name: pl.scan_parquet(file) for file in arms})

    def _load(self, name: str) -> Finished | FinishedParts:
        absent = FinishedDataset(filepath=str(self.root / "absent.json"), data_root=str(self.root))
        return self.datasets.get(name, absent).load()
