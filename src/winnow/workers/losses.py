"""Worker: one table of every example's losses, with a column per checkpoint."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch

from winnow.records.tokens import TokenTable
from winnow.stages import Work, table_fingerprint
from winnow.trajectories import unique_rows
from winnow.workers.runtime import Worker, run
from winnow.workers.trajectories import LOSSES


def work(worker: Worker) -> dict[str, Any]:
    """Join the checkpoints' tables; list equal examples; on request, write the files of older scripts."""
    task = worker.job.task
    target = Work(worker.job.places["losses"])
    files = {step: Path(folder) / LOSSES for step, folder in task["parts"].items()}
    lengths = pl.scan_parquet(Path(task["tokens"]) / "lengths.parquet").filter(pl.col("split") == "train")
    table = lengths.select("example_id", "subset", "n_supervised").collect().sort("example_id")
    for step, file in files.items():
        losses = pl.read_parquet(file)
        assert losses["example_id"].equals(table["example_id"]), f"checkpoint {step} has other examples"
        table = table.with_columns(losses["loss"].alias(step))
        if task["write_losses_pt"]:
            found = torch.from_numpy(losses["loss"].to_numpy())
            target.commit(f"checkpoint-{step}/losses.pt", partial(torch.save, found))
    target.commit(LOSSES, table.write_parquet)
    groups = unique_rows(TokenTable.open(Path(task["tokens"]), "train"))
    equal = json.dumps({first: copies for first, *copies in groups if copies}, indent=1, ensure_ascii=False)
    target.commit("duplicated_config.json", partial(Path.write_text, data=equal, encoding="utf-8"))
    entry = {"file": LOSSES, "rows": table.height, "fingerprint": table_fingerprint(table.iter_rows())}
    duplicates = sum(len(group) > 1 for group in groups)
    summary = {"tables": {"losses": entry}, "checkpoints": [int(step) for step in files], "duplicates": duplicates}
    costs = [json.loads((file.parent / "cost.json").read_text()) for file in files.values()]
    spent = {"seconds": sum(cost["seconds"] for cost in costs)}
    target.finish(summary, {**spent, "peak_memory_gb": max(cost["peak_memory_gb"] for cost in costs)})
    return {}


if __name__ == "__main__":
    run(work)
