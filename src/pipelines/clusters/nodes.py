"""Clusters of loss trajectories, their files, and their pictures."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import plotly.graph_objects as go
from matplotlib.figure import Figure

from winnow.params import ClustersParams, Machine
from winnow.progress import News, publish
from winnow.report.trajectories import draw_bands, draw_composition, draw_lines, trajectory_chart
from winnow.stages import Finished, filled, locate
from winnow.workers.launch import built

REVISION = 1
ROWS = 2000


def find_clusters(losses: Finished, params: ClustersParams, machine: Machine) -> Finished:
    """Cluster the trajectories, overall and within each subset."""
    place = locate(machine.data_root / "03_primary", "clusters", REVISION, params, {"losses": losses.fingerprint})
    task = {
        "params": params.model_dump(mode="json"),
        "losses": str(losses.path / losses.summary["tables"]["losses"]["file"]),
    }
    return built("clusters", task, place, machine.one_process())


def write_cluster_files(train: Finished, clusters: Finished, machine: Machine) -> Finished:
    """Write the train split as `split_data/<subset>/cluster_<number>.jsonl`, by the clusters within each subset."""
    inputs = {"train": train.fingerprint, "clusters": clusters.fingerprint}
    place = locate(machine.data_root / "03_primary", "split_data", REVISION, {}, inputs)
    return filled(place, lambda work: {"files": _write(work.path / "split_data", train, clusters)})


def draw_clusters(losses: Finished, clusters: Finished) -> tuple[Figure, Figure, Figure, go.Figure]:
    """Mean trajectories with bands, single ones, what each cluster is made of; and the first for the browser."""
    table = losses.scan("losses").join(clusters.scan("clusters"), on=["example_id", "subset"]).sort("example_id")
    steps = [str(step) for step in losses.summary["checkpoints"]]
    rows = table.select("subset", "cluster", "subset_cluster", *steps).collect()
    return draw_bands(rows, steps), draw_lines(rows, steps), draw_composition(rows), trajectory_chart(rows, steps)


def _write(folder: Path, train: Finished, clusters: Finished) -> dict[str, int]:
    """Stream the rows to one open file per cluster; returns the rows of each."""
    labels = clusters.scan("clusters").select("example_id", "subset_cluster").collect()
    counts: dict[str, int] = {}
    with ExitStack() as open_files:
        files: dict[str, TextIO] = {}
        batches = train.scan().select("example_id", "subset", "messages").collect_batches(chunk_size=ROWS)
        for batch in batches:
            for row in batch.join(labels, on="example_id", how="inner", maintain_order="left").to_dicts():
                name = f"{row['subset']}/cluster_{row['subset_cluster']}.jsonl"
                if name not in files:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    files[name] = open_files.enter_context((folder / name).open("w", encoding="utf-8"))
                line = {"id": row["example_id"], "messages": row["messages"], "cluster": row["subset_cluster"]}
                files[name].write(json.dumps(line, ensure_ascii=False) + "\n")
                counts[name] = counts.get(name, 0) + 1
            publish(News("clusters", done=sum(counts.values()), total=labels.height, message="split_data"))
    return dict(sorted(counts.items()))
