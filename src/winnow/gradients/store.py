"""Features on disk: shards of rows in safetensors, memory-mapped, and a manifest that says how to read them.

manifest.json        what the numbers are, made with what, and each shard's rows and checksum
rows.parquet         example_id, shard, row, norm, loss; equal examples share a row
rejected.parquet     example_id, reason: rows whose features are not finite numbers
shards/00000.safetensors   codes [rows, width], norm [rows], scale [rows]
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file

from winnow.errors import BadInput, StaleOutput
from winnow.gradients.quantize import BITS, FLOATS, Encoded, decode, row_bytes
from winnow.stages import Work, file_checksum, fingerprint, table_fingerprint

MANIFEST = "manifest.json"
ROWS = "rows.parquet"
REJECTED = "rejected.parquet"
# Features are comparable only if these agree.
SAME = ("projection", "model", "tokenizer", "template", "factors", "damping")
_NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U8": np.uint8, "I8": np.int8}
ROWS_SCHEMA = {
    "example_id": pl.String,
    "shard": pl.Int32,
    "row": pl.Int32,
    "norm": pl.Float32,
    "loss": pl.Float32,
}
REJECTED_SCHEMA = {"example_id": pl.String, "reason": pl.String}


@dataclass(frozen=True)
class Shard:
    """Mapped rows: ``codes`` [n, width], bfloat16 as its 16 bits; ``norm``, ``scale`` and ``loss`` [n]."""

    codes: np.ndarray
    norm: np.ndarray
    scale: np.ndarray
    loss: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)


class FeatureStore:
    """A finished store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StaleOutput(f"{folder} holds no {MANIFEST}: it is no store of features.") from None
        self.kind = str(self.manifest["kind"])
        self.dim = int(self.manifest["dim"])
        self.files = [folder / entry["file"] for entry in self.manifest["shards"]]

    def rows(self) -> pl.DataFrame:
        """example_id, shard, row, norm, loss, sorted by id."""
        return pl.read_parquet(self.folder / ROWS)

    def rejected(self) -> pl.DataFrame:
        """example_id and reason of those without features."""
        return pl.read_parquet(self.folder / REJECTED)

    def shards(self) -> Iterator[Shard]:
        """Each shard in order; its pages are read when they are used."""
        for file in self.files:
            yield map_shard(file)

    def features(self, example_ids: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
        """Ids and float32 features [n, dim] of some examples, or of all in the order of their ids."""
        table = self.rows()
        if example_ids is not None:
            wanted = pl.DataFrame({"example_id": list(example_ids)})
            table = wanted.join(table, on="example_id", how="left", maintain_order="left")
            if missing := table.filter(pl.col("shard").is_null())["example_id"].to_list():
                raise BadInput(f"{self.folder} has no features of {missing[0]!r}, and {len(missing) - 1} others.")
        found = np.empty((table.height, self.dim), np.float32)
        for number, shard in enumerate(self.shards()):
            here = np.flatnonzero(table["shard"].to_numpy() == number)
            rows = table["row"].to_numpy()[here]
            found[here] = self.decoded(shard, rows)
        return table["example_id"].to_list(), found

    def decoded(self, shard: Shard, rows: np.ndarray, unit: bool = False) -> np.ndarray:
        """Float32 features [n, dim] of some rows of a shard; as units they are divided by the norms they had."""
        levels: np.ndarray = _levels(shard, self, rows)
        scale, norm = shard.scale[rows], shard.norm[rows]
        if unit:
            scale = np.divide(scale, norm, out=np.zeros_like(scale), where=norm != 0)
        return levels * scale[:, None]

    def verify(self) -> None:
        """Compare every shard with its checksum."""
        for entry in self.manifest["shards"]:
            if file_checksum(self.folder / entry["file"]) != entry["sha256"]:
                raise StaleOutput(
                    f"{self.folder / entry['file']} was changed after it was written. Delete {self.folder} and run the "
                    "pipeline again."
                )


def require_comparable(one: FeatureStore, other: FeatureStore) -> None:
    """Refuse to mix features of another projection, model, tokenizer or template."""
    for name in SAME:
        ours, theirs = one.manifest["made_with"].get(name), other.manifest["made_with"].get(name)
        if ours != theirs:
            raise BadInput(
                f"The features in {one.folder} and {other.folder} are not comparable: their {name} differs ({ours} and "
                f"{theirs}). Collect both with the same `gradients` and `warmup` parameters."
            )


def require_data(store: FeatureStore, data: str) -> None:
    """Refuse a store of other rows than those of the table that ``data`` is the fingerprint of."""
    found = store.manifest["made_with"].get("data")
    if found != data:
        raise BadInput(
            f"The features in {store.folder} are of other data (tokens {found}) than asked for ({data}). Run the stage "
            "`gradients` for this data."
        )


def write_shard(path: Path, rows: Encoded, losses: np.ndarray) -> None:
    """One shard's file."""
    numbers = {"norm": rows.norm, "scale": rows.scale, "loss": losses.astype(np.float32)}
    tensors = {name: torch.from_numpy(values) for name, values in numbers.items()}
    save_file({"codes": rows.codes.contiguous(), **tensors}, path)


def map_shard(path: Path) -> Shard:
    """Map a shard's tensors into memory."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))

    def tensor(name: str) -> np.ndarray:
        entry = header[name]
        start = 8 + length + entry["data_offsets"][0]
        shape = tuple(entry["shape"])
        return np.memmap(path, _NUMPY[entry["dtype"]], "r", start, shape) if 0 not in shape else np.empty(shape)

    return Shard(tensor("codes"), tensor("norm"), tensor("scale"), tensor("loss"))


def seal_store(
    work: Work,
    kind: str,
    dim: int,
    shards: Mapping[str, Sequence[Sequence[str]]],
    made_with: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the tables and the manifest of committed ``shards``, whose rows stand for one or more ids each.

    Returns the summary's tables. A row that is not finite has no features, and stands in the table of rejects.
    """
    rows, rejected, entries = [], [], []
    for number, (name, ids) in enumerate(shards.items()):
        shard = map_shard(work.path / name)
        entries.append({"file": name, "rows": len(shard), "sha256": file_checksum(work.path / name)})
        for place, (norm, loss) in enumerate(zip(shard.norm.tolist(), shard.loss.tolist(), strict=True)):
            good = math.isfinite(norm)
            rows += [(example, number, place, norm, loss) for example in ids[place] if good]
            rejected += [(example, f"its gradient is not finite (loss {loss:g})") for example in ids[place] if not good]
    table = pl.DataFrame(rows, schema=ROWS_SCHEMA, orient="row").sort("example_id")
    lost = pl.DataFrame(rejected, schema=REJECTED_SCHEMA, orient="row").sort("example_id")
    work.commit(ROWS, table.write_parquet)
    work.commit(REJECTED, lost.write_parquet)
    manifest = {
        "format": 1,
        "kind": kind,
        "dim": dim,
        "row_bytes": row_bytes(kind, dim),
        "reading": _reading(kind),
        "made_with": dict(made_with),
        "shards": entries,
    }
    work.commit(MANIFEST, _json_writer(manifest))
    return {
        "rows": {"file": ROWS, "rows": table.height, "fingerprint": fingerprint("features", 1, manifest, {})},
        "rejected": {"file": REJECTED, "rows": lost.height, "fingerprint": table_fingerprint(lost.iter_rows())},
    }


def _reading(kind: str) -> str:
    if kind in FLOATS:
        return "feature = scale * codes"
    if BITS[kind] == 8:
        return "feature = scale * (2 * codes + 1)"
    return (
        f"feature = scale * (2 * c - {(1 << BITS[kind]) - 1}), where c are the {BITS[kind]}-bit numbers packed in "
        "codes, the first in the lowest bits"
    )


def _json_writer(content: Mapping[str, Any]) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _levels(shard: Shard, store: FeatureStore, rows: np.ndarray) -> np.ndarray:
    codes: Any = np.asarray(shard.codes[rows])
    if store.kind == "bfloat16":
        codes = torch.from_numpy(codes.view(np.int16)).view(torch.bfloat16)
    return decode(codes, store.kind, store.dim)
