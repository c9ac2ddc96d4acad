"""Writing a mix: `train.jsonl`, a file for each cluster, the trainer's settings, and a manifest of all of it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

import winnow
from winnow.errors import NothingToTrainOn
from winnow.records.raw import to_json
from winnow.records.shapes import Unusable
from winnow.records.trainers.folder import MADE_BY, MANIFEST, file_names, replaced
from winnow.records.trainers.mix import Mix
from winnow.records.trainers.trainer import ClusterFile, Shape, Trainer
from winnow.stages import file_checksum

BATCH_ROWS = 2000
TRAIN = "train.jsonl"
SET_ASIDE = "set_aside.jsonl"


@dataclass
class _Count:
    """Conversations, and how often they are in the mix."""

    distinct: int = 0
    rows: int = 0

    def add(self, multiplicity: int) -> None:
        self.distinct += 1
        self.rows += multiplicity


@dataclass
class _Counts:
    written: defaultdict[str, _Count] = field(default_factory=lambda: defaultdict(_Count))
    set_aside: defaultdict[str, _Count] = field(default_factory=lambda: defaultdict(_Count))
    reasons: defaultdict[str, _Count] = field(default_factory=lambda: defaultdict(_Count))
    lines: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))


def export_mix(mix: Mix, train: pl.LazyFrame, to: str, trainer: Trainer, out: Path) -> dict[str, Any]:
    """Write the mix into the folder ``out`` for ``trainer``, streamed; return the manifest.

    Conversations that the trainer would skip or refuse stand in `set_aside.jsonl`, with the reason, and are counted.
    """
    names = file_names(mix.rows["cluster"].unique(), (Path(TRAIN).stem, Path(SET_ASIDE).stem))
    with replaced(out) as folder:
        counts = _write_rows(mix, train, trainer.shape, names, folder)
        if not counts.written:
            reasons = "; ".join(sorted(counts.reasons)) or "the mix is empty"
            raise NothingToTrainOn(
                f"{to} can read no conversation of the mix of {mix.arm!r}: {reasons}. Export to another format."
            )
        files = [
            ClusterFile(cluster, names[cluster], count.distinct, count.rows)
            for cluster, count in sorted(counts.written.items())
        ]
        for name, text in trainer.settings(mix.arm, files).items():
            _write(folder / name, text)
        manifest = _manifest(mix, to, files, counts, folder)
        _write(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return manifest


def _write_rows(mix: Mix, train: pl.LazyFrame, shape: Shape, names: Mapping[str, str], folder: Path) -> _Counts:
    counts = _Counts()
    for batch in train.select("example_id", "messages").collect_batches(chunk_size=BATCH_ROWS):
        lines: defaultdict[str, list[str]] = defaultdict(list)
        chosen = batch.join(mix.rows, on="example_id", maintain_order="left")
        columns = chosen.select("example_id", "messages", "multiplicity", "cluster")
        for name, messages, multiplicity, cluster in columns.iter_rows():
            tags = {"id": name, "cluster": cluster, "channel": cluster}
            try:
                line = to_json({**shape(messages), **tags})
            except Unusable as reason:
                kept = {"reason": str(reason), "multiplicity": multiplicity, "messages": messages, **tags}
                lines[SET_ASIDE].append(to_json(kept))
                counts.set_aside[cluster].add(multiplicity)
                counts.reasons[str(reason)].add(multiplicity)
                continue
            lines[names[cluster]].append(line)
            # Copies stand side by side: trainers shuffle.
            lines[TRAIN] += [line] * multiplicity
            counts.written[cluster].add(multiplicity)
        for file, added in lines.items():
            _append(folder / file, added)
            counts.lines[file] += len(added)
    return counts


def _append(path: Path, lines: Iterable[str]) -> None:
    """Opened anew for each batch: there may be more clusters than a process may have files open."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
    if path.suffix == ".sh":
        path.chmod(path.stat().st_mode | 0o111)


def _manifest(mix: Mix, to: str, files: Sequence[ClusterFile], counts: _Counts, folder: Path) -> dict[str, Any]:
    by_cluster = {file.cluster: file for file in files}
    return {
        "made_by": MADE_BY,
        "version": winnow.__version__,
        "arm": mix.arm,
        "seed": mix.seed,
        "to": to,
        "pool": sum(mix.pool.values()),
        "distinct": sum(file.distinct for file in files),
        "rows": sum(file.rows for file in files),
        "set_aside": {reason: vars(count) for reason, count in sorted(counts.reasons.items())},
        "clusters": [
            {"cluster": cluster, "pool": rows, **_of_cluster(by_cluster.get(cluster), counts.set_aside.get(cluster))}
            for cluster, rows in mix.pool.items()
        ],
        "files": {path.name: _entry(path, counts.lines) for path in sorted(folder.iterdir())},
    }


def _of_cluster(file: ClusterFile | None, set_aside: _Count | None) -> dict[str, Any]:
    aside = {"set_aside": vars(set_aside or _Count())}
    if file is None:
        return {"file": None, "distinct": 0, "rows": 0, "weight": 0.0, **aside}
    weight = file.rows / file.distinct
    return {"file": file.file, "distinct": file.distinct, "rows": file.rows, "weight": weight, **aside}


def _entry(path: Path, lines: Mapping[str, int]) -> dict[str, Any]:
    rows = {"rows": lines[path.name]} if path.name in lines else {}
    return {**rows, "sha256": file_checksum(path)}
