"""Scoring a store: bytes per second against the machine's own copying, and the rows per second of a store in bits.

``python benchmarks/scores.py`` makes stores of ``--rows`` random rows, maps them, and scores them for ``--targets``
aggregated columns, by turns with a copy of a gigabyte in memory. The pages are in memory when it is timed: what is
compared is the arithmetic, not the disk. Beside each kind stands the plain way in torch: convert a block, multiply.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numba
import numpy as np
import torch

from winnow.gradients.quantize import FLOATS, decode, encode, row_bytes
from winnow.gradients.store import FeatureStore, Shard, seal_store, write_shard
from winnow.influence.scores import Queries, unit_rows
from winnow.stages import Work, locate

SHARD_ROWS = 4096
PLAIN_ROWS = 256
STORES = [(8192, "float32"), (8192, "float16"), (8192, "bfloat16"), (8192, "int8"), (32768, "2-bit"), (32768, "1-bit")]


def make_store(folder: Path, rows: int, dim: int, kind: str) -> FeatureStore:
    random = np.random.default_rng(0)
    shards: dict[str, list[list[str]]] = {}
    with Work.resume(locate(folder, "store", 1, {"dim": dim, "kind": kind, "rows": rows}, {})) as work:
        part = encode(random.standard_normal((min(rows, SHARD_ROWS), dim), dtype=np.float32), kind)
        for number, start in enumerate(range(0, rows, SHARD_ROWS)):
            name = f"shards/{number:05}.safetensors"
            work.commit(name, lambda path: write_shard(path, part, np.zeros(len(part.norm), np.float32)))
            shards[name] = [[f"{start + place}"] for place in range(len(part.norm))]
        return FeatureStore(work.finish({"tables": seal_store(work, kind, dim, shards, {})}, {}).path)


def fastest(work: Callable[[], object], repeats: int) -> float:
    work()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def score_all(queries: Queries, shards: Sequence[Shard]) -> None:
    for shard in shards:
        queries.cosines(shard)


def plainly(store: FeatureStore, queries: torch.Tensor) -> None:
    for shard in store.shards():
        for start in range(0, len(shard), PLAIN_ROWS):
            codes = np.asarray(shard.codes[start : start + PLAIN_ROWS])
            if store.kind in FLOATS:
                bits = torch.from_numpy(codes.view(np.int16) if store.kind == "bfloat16" else codes)
                block = (bits.view(torch.bfloat16) if store.kind == "bfloat16" else bits).float()
            else:
                block = torch.from_numpy(decode(codes, store.kind, store.dim))
            block @ queries.T


def compare(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    source, target = torch.ones(1 << 28), torch.zeros(1 << 28)
    found = {}
    for dim, kind in STORES:
        store = make_store(folder, options.rows, dim, kind)
        queries = unit_rows(np.random.default_rng(1).standard_normal((options.targets, dim)).astype(np.float32))
        shards = list(store.shards())
        score = partial(score_all, Queries(queries, kind), shards)
        plain_score = partial(plainly, store, torch.from_numpy(queries))
        ours, copies, plain = [], [], []
        for _ in range(options.repeats):
            copies.append(fastest(lambda: target.copy_(source), 2))
            ours.append(fastest(score, 2))
            plain.append(fastest(plain_score, 1))
        rows = sum(map(len, shards))
        size = rows * row_bytes(kind, dim)
        shares = [(size / taken) / ((1 << 30) / copy) for taken, copy in zip(ours, copies, strict=True)]
        found[f"{dim}, {kind}"] = {
            "bytes_a_row": row_bytes(kind, dim),
            "gigabytes_per_second": round(size / min(ours) / 1e9, 1),
            "share_of_copying": {"median": round(float(np.median(shares)), 2), "each": [round(s, 2) for s in shares]},
            "rows_per_second": round(rows / min(ours)),
            "times_the_plain_way": round(min(plain) / min(ours), 1),
        }
    return {"benchmark": "scores", "rows": options.rows, "targets": options.targets, "stores": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1 << 16)
    parser.add_argument("--targets", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    with tempfile.TemporaryDirectory(prefix="winnow-benchmark-") as folder:
        print(json.dumps(compare(options, Path(folder))))


if __name__ == "__main__":
    main()
