"""A result under construction: shards committed one by one, sealed by one rename.

A kill at any moment leaves a `.partial` directory whose committed shards are whole; the next run goes on from there.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from winnow.stages.fingerprint import file_checksum, table_fingerprint
from winnow.stages.finished import COST, RECORD, Finished
from winnow.stages.place import Place
from winnow.stages.planning import require_build

LEDGER = ".committed"
SCRATCH = ".writing"
# Shards of which the result is made, and which it does not need: they go when it is sealed.
PARTS = ".parts"


class Work:
    """The `.partial` directory of one place. Open it with `Work.resume`; several processes may share it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.path = place.partial

    @classmethod
    @contextmanager
    def resume(cls, place: Place) -> Iterator["Work"]:
        """Hold the place's lock, drop half-written files, and keep what earlier attempts committed."""
        place.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = place.folder.with_name(f".{place.folder.name}.lock")
        with lock.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            work = cls(place)
            if (work.path / RECORD).exists():
                work._seal()
            if not place.finished():
                (work.path / LEDGER).mkdir(parents=True, exist_ok=True)
                shutil.rmtree(work.path / SCRATCH, ignore_errors=True)
            yield work

    def is_committed(self, name: str) -> bool:
        """Whether a shard is there, whole, and unchanged since it was written."""
        entry = self.path / LEDGER / f"{name.replace('/', '__')}.json"
        shard = self.path / name
        if not entry.exists() or not shard.exists():
            return False
        return bool(json.loads(entry.read_text())["sha256"] == file_checksum(shard))

    def commit(self, name: str, write: Callable[[Path], object]) -> None:
        """Let ``write`` fill a scratch file, then move it into place and list it with its checksum."""
        scratch = self.path / SCRATCH / name
        scratch.parent.mkdir(parents=True, exist_ok=True)
        write(scratch)
        _sync(scratch)
        checksum = file_checksum(scratch)
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(scratch, target)
        entry = self.path / LEDGER / f"{name.replace('/', '__')}.json"
        scratch_entry = self.path / SCRATCH / entry.name
        scratch_entry.write_text(json.dumps({"name": name, "sha256": checksum}))
        _sync(scratch_entry)
        os.replace(scratch_entry, entry)

    def commit_tables(self, tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
        """Commit ``<name>.parquet`` for each table, and return what a summary says of them."""
        entries = {}
        for name, table in tables.items():
            file = f"{name}.parquet"
            self.commit(file, table.write_parquet)
            entries[name] = {"file": file, "rows": table.height, "fingerprint": table_fingerprint(table.iter_rows())}
        return entries

    def finish(self, summary: Mapping[str, Any], cost: Mapping[str, float]) -> Finished:
        """Write record and checksums, then give the directory its final name."""
        record = {
            "stage": self.place.stage,
            "fingerprint": self.place.fingerprint,
            "parameters": self.place.parameters,
            "inputs": self.place.inputs,
            "summary": dict(summary),
        }
        _write(self.path / COST, dict(cost))
        _write(self.path / RECORD, record)
        self._seal()
        return Finished.open(self.place.folder)

    def _seal(self) -> None:
        """Drop what only an unfinished result needs: the ledger too, which must not go before the record is there."""
        for name in (SCRATCH, LEDGER, PARTS):
            shutil.rmtree(self.path / name, ignore_errors=True)
        os.replace(self.path, self.place.folder)


def filled(place: Place, fill: Callable[[Work], Mapping[str, Any]]) -> Finished:
    """The result of a place, which ``fill`` writes where it is not finished; it answers with the summary."""
    if (finished := place.finished()) is not None:
        return finished
    require_build([place])
    start = time.monotonic()
    with Work.resume(place) as work:
        # Another run may have finished it while this one waited for the lock.
        if (finished := place.finished()) is not None:
            return finished
        return work.finish(fill(work), {"seconds": time.monotonic() - start})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """All or nothing: a record that exists is complete, which is how `resume` knows a sealed directory."""
    scratch = path.with_name(f"{path.name}.writing")
    scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    _sync(scratch)
    os.replace(scratch, path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
