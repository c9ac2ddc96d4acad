"""Fine-tuning: rows that share sequences against padded rows, full and with an adapter.

``python benchmarks/training.py`` trains a small model on a CPU, ``--device cuda`` one in the shape of Qwen2.5-0.5B.
Padded and packed batches take turns, ``--repeats`` times, on the same rows in the same order, through the trainer that
arms are trained with. Each prints one JSON line: tokens per second of both, their ratio, the share of padding, the
largest difference of a loss, peak memory; and on CUDA the share of the device's peak (``--peak-tflops``, bf16: 989 for
H100 and H200) that the model's own products are, six operations per weight and token, four where the base is frozen.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from winnow.params import FinetuneParams, LoraParams, Machine
from winnow.records.tokens import TokenRow
from winnow.training.data import collate
from winnow.training.finetune import train
from winnow.training.model import trainable
from winnow.training.packing import pack
from winnow.training.plan import Plan
from winnow.workers.runtime import forget_peak_memory, peak_memory_gb

SHAPES = {
    "cpu": {"vocab_size": 8000, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}
    | {"num_attention_heads": 4, "num_key_value_heads": 4},
    "cuda": {"vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
    | {"num_attention_heads": 14, "num_key_value_heads": 2},
}


@dataclass(frozen=True)
class Pool:
    """Rows by id, as a table of tokens has them."""

    by_id: dict[str, TokenRow]

    def rows(self, example_ids: Sequence[str]) -> list[TokenRow]:
        """As `TokenTable` gives them."""
        return [self.by_id[name] for name in example_ids]


def make_pool(count: int, vocabulary: int) -> Pool:
    """Lengths as instruction data have them: most are short, some ten times as long; half of the tokens are answer."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(5.0, 0.8, count), 16, 1024).astype(int)
    rows = {}
    for number, length in enumerate(lengths):
        ids = random.integers(1, vocabulary, length).astype(np.int32)
        rows[str(number)] = TokenRow(str(number), ids, np.arange(length) >= length // 2)
    return Pool(rows)


def once(model: Any, pool: Pool, method: str, packing: bool, options: argparse.Namespace) -> dict[str, Any]:
    lora = LoraParams(rank=16, alpha=32)
    params = FinetuneParams(method=method, lora=lora, batch=options.batch, lr=1e-4, packing=packing)
    machine = Machine(data_root=Path(), device=options.device, micro_batch=options.micro_batch)
    order = list(pool.by_id)[: options.steps * options.batch]
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(params, 0, order, Path(folder), "none", 0, machine, options.device)
        forget_peak_memory()
        with trainable(model, params, 0) as ready:
            cost = train(ready, pool, plan, lambda **_: None)  # type: ignore[arg-type]
        losses = pd.read_parquet(Path(folder) / "history.parquet")["loss"].to_numpy()
    return {**cost, "losses": losses, "memory": peak_memory_gb()}


def padding(pool: Pool, layout: Any, options: argparse.Namespace) -> float:
    """The share of a batch's places that hold no token."""
    places = tokens = 0
    order = list(pool.by_id)[: options.steps * options.batch]
    for start in range(0, len(order), options.micro_batch):
        rows = pool.rows(order[start : start + options.micro_batch])
        places += layout(rows, 0)["input_ids"].numel()
        tokens += sum(len(row.input_ids) for row in rows)
    return 1 - tokens / places


def compare(method: str, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    shape = SHAPES[options.device]
    pool = make_pool(options.steps * options.batch, shape["vocab_size"])
    dtype = torch.bfloat16 if options.device == "cuda" and method == "lora" else torch.float32
    config = Qwen2Config(**shape, tie_word_embeddings=True)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).to(options.device)
    model.config.use_cache = False
    weights = sum(parameter.numel() for parameter in model.parameters())
    # The first run pays for kernels and caches.
    once(model, pool, method, False, options)
    both = {"padded": False, "packed": True}
    runs = [
        {name: once(model, pool, method, packing, options) for name, packing in both.items()}
        for _ in range(options.repeats)
    ]
    speed = {name: statistics.median(run[name]["tokens_per_second"] for run in runs) for name in both}
    operations = (6 if method == "full" else 4) * weights
    told = {
        "method": method,
        "weights_m": round(weights / 1e6),
        "tokens_per_second": {name: round(value) for name, value in speed.items()},
        "ratio": [round(run["packed"]["tokens_per_second"] / run["padded"]["tokens_per_second"], 2) for run in runs],
        "padding": {
            "padded": round(padding(pool, collate, options), 3),
            "packed": round(padding(pool, pack, options), 3),
        },
        "largest_difference_of_a_loss": float(np.abs(runs[0]["packed"]["losses"] - runs[0]["padded"]["losses"]).max()),
        "peak_memory_gb": {name: round(runs[-1][name]["memory"], 2) for name in both},
    }
    if options.device == "cuda":
        told["share_of_peak"] = round(operations * speed["packed"] / (options.peak_tflops * 1e12), 3)
        told["device"] = torch.cuda.get_device_name()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=sorted(SHAPES), default="cpu")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, default=989.0)
    options = parser.parse_args()
    for method in ("full", "lora"):
        print(json.dumps(compare(method, options)), flush=True)


if __name__ == "__main__":
    main()
