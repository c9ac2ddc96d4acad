"""Sealed results: a finished directory, or several that belong together (one per seed)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from winnow.errors import StaleOutput
from winnow.stages.fingerprint import fingerprint

RECORD = "record.json"
COST = "cost.json"


@dataclass(frozen=True)
class Finished:
    """A finished directory and the record that describes it.

    ``summary`` is part of the result and reproducible; ``cost`` (seconds, memory) differs from run to run.
    ``table`` narrows the handle to one of the tables listed in ``summary["tables"]``.
    """

    stage: str
    fingerprint: str
    path: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    table: str | None = None

    @classmethod
    def open(cls, path: Path) -> "Finished":
        """Read the record of a finished directory."""
        try:
            record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StaleOutput(
                f"No finished result in {path}: it was moved or deleted. Run the pipeline again to rebuild it."
            ) from None
        cost_file = path / COST
        cost = json.loads(cost_file.read_text(encoding="utf-8")) if cost_file.exists() else {}
        return cls(path=path, cost=cost, **record)

    def only(self, table: str) -> "Finished":
        """The same directory seen as one of its tables, with that table's own content fingerprint."""
        return replace(self, table=table, fingerprint=self.summary["tables"][table]["fingerprint"])

    def scan(self, table: str | None = None) -> pl.LazyFrame:
        """A lazy, streamed view of a table; nothing is read yet."""
        name = table or self.table or next(iter(self.summary["tables"]))
        return pl.scan_parquet(self.path / self.summary["tables"][name]["file"])

    def record(self, data_root: Path) -> dict[str, Any]:
        """What Kedro stores and Kedro-Viz previews; paths are relative, so a project can move."""
        return {
            "stage": self.stage,
            "fingerprint": self.fingerprint,
            "path": _relative(self.path, data_root),
            "table": self.table,
            "parameters": self.parameters,
            "inputs": self.inputs,
            "summary": self.summary,
            "cost": self.cost,
        }


@dataclass(frozen=True)
class FinishedParts:
    """Finished directories that belong together, one per seed or checkpoint."""

    parts: dict[str, Finished]
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of the parts' fingerprints."""
        return fingerprint("parts", 1, {}, {name: part.fingerprint for name, part in self.parts.items()})

    def record(self, data_root: Path) -> dict[str, Any]:
        """What Kedro stores and Kedro-Viz previews."""
        parts = {name: part.record(data_root) for name, part in self.parts.items()}
        return {"fingerprint": self.fingerprint, "summary": self.summary, "parts": parts}


def load_record(record: Mapping[str, Any], data_root: Path) -> Finished | FinishedParts:
    """Turn a stored record back into a handle; a deleted directory is a clear error."""
    if "parts" in record:
        parts = {name: _load_one(part, data_root) for name, part in record["parts"].items()}
        return FinishedParts(parts, dict(record["summary"]))
    return _load_one(record, data_root)


def _load_one(record: Mapping[str, Any], data_root: Path) -> Finished:
    finished = Finished.open(data_root / record["path"])
    return finished.only(record["table"]) if record["table"] else finished


def _relative(path: Path, root: Path) -> str:
    return path.resolve().relative_to(root.resolve()).as_posix()
