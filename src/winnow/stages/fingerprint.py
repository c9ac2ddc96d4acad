"""Hashes that say whether two results would be the same."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

LENGTH = 16


def canonical(value: Any) -> Any:
    """Plain JSON values with one spelling each: models become dicts, paths POSIX text, tuples lists."""
    if isinstance(value, BaseModel):
        return canonical(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    return value


def fingerprint(stage: str, revision: int, parameters: Any, inputs: Mapping[str, str]) -> str:
    """Hash of a stage's parameters, its inputs' fingerprints and the revision of its code."""
    parts = {"stage": stage, "revision": revision, "parameters": canonical(parameters), "inputs": canonical(inputs)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:LENGTH]


def table_fingerprint(rows: Iterable[tuple[object, ...]]) -> str:
    """Content hash of a table's consumed columns, row by row in the order given."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()[:LENGTH]


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
