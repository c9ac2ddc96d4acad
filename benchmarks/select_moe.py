"""Scoring by what routers throw away, against a plain forward pass over the same batches.

``python benchmarks/select_moe.py`` makes a random OLMoE with OLMoE's vocabulary, and gives a copy of it trash experts.
Three ways take turns on the same batches, ``--repeats`` times, each beginning as often as the others: `scoring`, all
that is done for a batch; `plain`, a forward pass of the untouched model; and `body`, the same without the head. A score
needs no head either, so `body` is the harder comparison. A ratio over 1 says how much longer scoring took; the claim is
under 1.1.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from winnow.batching import planned_batches
from winnow.moe.convert import new_gates
from winnow.moe.quality import Quality
from winnow.moe.router import attach
from winnow.records.tokens import TokenRow
from winnow.training.data import collate

VOCABULARY = 50_304
TRASH_STD = 0.02


def make_model(options: argparse.Namespace) -> OlmoeForCausalLM:
    torch.manual_seed(0)
    config = OlmoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        intermediate_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        num_experts=options.experts,
        num_experts_per_tok=options.experts // 8,
        use_cache=False,
    )
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    return OlmoeForCausalLM(config).to(options.device, dtype).eval()


def make_batches(options: argparse.Namespace) -> list[list[TokenRow]]:
    random = np.random.default_rng(0)
    lengths = random.integers(100, 301, options.rows).tolist()
    rows = [
        TokenRow(str(number), random.integers(2, VOCABULARY, length).astype(np.int32), np.ones(length, bool))
        for number, length in enumerate(lengths)
    ]
    return [[rows[place] for place in batch] for batch in planned_batches(lengths, options.batch, options.batch_tokens)]


@torch.inference_mode()
def forward(model: torch.nn.Module, batches: Sequence[Sequence[TokenRow]], device: str) -> None:
    for batch in batches:
        padded = collate(batch, pad_id=1)
        model(**{name: padded[name].to(device) for name in ("input_ids", "attention_mask")})


def seconds(work: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def take_turns(ways: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, np.ndarray]:
    """Seconds of each way and repetition, after one that is not counted."""
    names = list(ways)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, repeats):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            spent = seconds(ways[name], device)
            if number >= 0:
                taken[name].append(spent)
    return {name: np.array(each) for name, each in taken.items()}


def compare(options: argparse.Namespace) -> dict[str, object]:
    plain = make_model(options)
    widened = copy.deepcopy(plain)
    gates, _ = new_gates(widened, None, TRASH_STD, seed=0)
    quality = Quality(widened, attach(widened, gates), tokens="all")
    batches = make_batches(options)
    ways: dict[str, Callable[[], object]] = {
        "scoring": lambda: [quality(batch) for batch in batches],
        "plain": lambda: forward(plain, batches, options.device),
        "body": lambda: forward(plain.model, batches, options.device),
    }
    taken = take_turns(ways, options.repeats, options.device)
    ratios = {f"to_{name}": taken["scoring"] / taken[name] for name in ("plain", "body")}
    return {
        "benchmark": "select_moe",
        "device": options.device,
        "rows": options.rows,
        "rows_per_second": {name: round(options.rows / float(np.median(each)), 1) for name, each in taken.items()},
        "ratio": {
            name: {"median": round(float(np.median(each)), 3), "each": each.round(3).tolist()}
            for name, each in ratios.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--experts", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    print(json.dumps(compare(parser.parse_args())))


if __name__ == "__main__":
    main()
