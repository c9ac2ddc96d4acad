"""Loss trajectories: our pass against the naive one, and k-means by faiss against scikit-learn.

``python benchmarks/trajectories.py`` prints two JSON lines. One compares, at a vocabulary of 32,000, rows in the order
of the data set, padded batches, all logits, and a model loaded anew for each checkpoint, with what the worker does
(sorted by length, a token budget, logits where a label is, weights swapped in place). The two take turns,
``--repeats`` times, on the same rows. The other clusters ``--points`` trajectories of 15 checkpoints, all rows used.

``python benchmarks/trajectories.py --cluster-worker`` lets the worker of the stage `clusters` do all it does (three
subsets, stability, silhouettes, the suggestion for k) on as many points, and prints its time and peak memory.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from winnow.batching import planned_batches
from winnow.clustering import k_means
from winnow.params import ClustersParams, Machine
from winnow.records.tokens import TokenRow
from winnow.stages import Finished, Work, locate
from winnow.training.checkpoints import load_checkpoint
from winnow.trajectories import ResponseLoss
from winnow.workers.launch import launch

VOCABULARY = 32_000
NAIVE_BATCH = 8
BATCH_TOKENS = 4096


def make_rows(count: int) -> list[TokenRow]:
    """Lengths as instruction data have them: most are short, some ten times as long; half of the tokens are answer."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(4.6, 0.8, count), 16, 768).astype(int)
    rows = []
    for number, length in enumerate(lengths):
        supervised = np.arange(length) >= length // 2
        rows.append(TokenRow(str(number), random.integers(0, VOCABULARY, length).astype(np.int32), supervised))
    return rows


def make_checkpoints(folder: Path, count: int) -> list[Path]:
    """Models of 25 M parameters, most of them in the vocabulary, as small models have it."""
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        tie_word_embeddings=True,
    )
    paths = []
    for number in range(count):
        torch.manual_seed(number)
        paths.append(folder / f"checkpoint-{number}")
        Qwen2ForCausalLM(config).save_pretrained(paths[-1])
    return paths


def load(path: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


@torch.inference_mode()
def naive(rows: Sequence[TokenRow], checkpoints: Sequence[Path]) -> np.ndarray:
    losses = []
    for path in checkpoints:
        model = load(path)
        found: list[float] = []
        for start in range(0, len(rows), NAIVE_BATCH):
            batch = rows[start : start + NAIVE_BATCH]
            longest = max(len(row.input_ids) for row in batch)
            ids = torch.zeros((len(batch), longest), dtype=torch.long)
            labels = torch.full((len(batch), longest), -100)
            mask = torch.zeros((len(batch), longest), dtype=torch.long)
            for number, row in enumerate(batch):
                tokens = torch.from_numpy(row.input_ids.astype(np.int64))
                ids[number, : len(tokens)] = tokens
                mask[number, : len(tokens)] = 1
                labels[number, : len(tokens)] = torch.where(torch.from_numpy(row.supervised), tokens, -100)
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
            by_token = cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
            found += (by_token.sum(dim=1) / (labels[:, 1:] >= 0).sum(dim=1)).tolist()
        losses.append(found)
    return np.array(losses)


def ours(rows: Sequence[TokenRow], checkpoints: Sequence[Path]) -> np.ndarray:
    batches = planned_batches([len(row.input_ids) for row in rows], 256, BATCH_TOKENS)
    model = load(checkpoints[0])
    losses = np.zeros((len(checkpoints), len(rows)))
    for number, path in enumerate(checkpoints):
        loss_of = ResponseLoss(load_checkpoint(model, path))
        for batch in batches:
            losses[number, batch] = loss_of([rows[place] for place in batch])
    return losses


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def compare_passes(rows_count: int, checkpoints: int, repeats: int) -> dict[str, object]:
    rows = make_rows(rows_count)
    with tempfile.TemporaryDirectory(prefix="winnow-benchmark-") as folder:
        paths = make_checkpoints(Path(folder), checkpoints)
        seconds: dict[str, list[float]] = {"naive": [], "ours": []}
        found = {}
        for _ in range(repeats):
            for name, way in (("naive", naive), ("ours", ours)):
                taken, found[name] = timed(lambda way=way: way(rows, paths))
                seconds[name].append(taken)
    ratios = [slow / fast for slow, fast in zip(seconds["naive"], seconds["ours"], strict=True)]
    return {
        "benchmark": "trajectories",
        "rows": rows_count,
        "checkpoints": checkpoints,
        "vocabulary": VOCABULARY,
        "rows_per_second": {name: round(rows_count * checkpoints / min(taken), 1) for name, taken in seconds.items()},
        "times_faster": {"median": round(float(np.median(ratios)), 2), "each": [round(ratio, 2) for ratio in ratios]},
        "largest_difference": float(np.abs(found["naive"] - found["ours"]).max()),
    }


def compare_k_means(points_count: int, k: int) -> dict[str, object]:
    random = np.random.default_rng(0)
    speed = random.uniform(0.1, 1, (points_count, 1)).astype(np.float32)
    points = 3 * np.exp(-speed * np.arange(15, dtype=np.float32)) + random.normal(0, 0.1, (points_count, 15))
    points = points.astype(np.float32)
    ours_seconds, _ = timed(lambda: k_means(points, k, 20, seed=0).labels)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    inertia = k_means(points, k, 20, seed=0).inertia

    from sklearn.cluster import KMeans

    theirs = KMeans(k, n_init=1, max_iter=20, tol=0, random_state=0)
    their_seconds, _ = timed(lambda: theirs.fit(points).labels_)
    return {
        "benchmark": "k_means",
        "points": points_count,
        "checkpoints": 15,
        "k": k,
        "seconds": {"faiss, all rows": round(ours_seconds, 1), "scikit-learn": round(their_seconds, 1)},
        "times_faster": round(their_seconds / ours_seconds, 2),
        "inertia_ratio": round(inertia / float(theirs.inertia_), 4),
        "peak_memory_mb": round(peak),
    }


def run_cluster_worker(points_count: int, folder: Path) -> dict[str, object]:
    random = np.random.default_rng(0)
    table = {"example_id": [f"math/train-{n % 99:05}.parquet:{n}" for n in range(points_count)]}
    frame = pl.DataFrame(table).with_columns(subset=pl.Series(random.choice(["math", "code", "science"], points_count)))
    steps = {str(step): random.exponential(1, points_count).astype(np.float32) for step in range(100, 1600, 100)}
    losses = {name: pl.Series(values) for name, values in steps.items()}
    frame.with_columns(**losses).write_parquet(folder / "losses.parquet")
    task = {"params": ClustersParams().model_dump(mode="json"), "losses": str(folder / "losses.parquet")}
    place = locate(folder, "clusters", 1, {}, {})
    with Work.resume(place):
        launch("clusters", task, {"clusters": place}, Machine(data_root=folder))
    return {"benchmark": "cluster_worker", "points": points_count, **Finished.open(place.folder).cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--checkpoints", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--cluster-worker", action="store_true")
    options = parser.parse_args()
    if options.cluster_worker:
        with tempfile.TemporaryDirectory(prefix="winnow-benchmark-") as folder:
            print(json.dumps(run_cluster_worker(options.points, Path(folder))))
        return
    print(json.dumps(compare_k_means(options.points, options.k)), flush=True)
    print(json.dumps(compare_passes(options.rows, options.checkpoints, options.repeats)))


if __name__ == "__main__":
    main()
