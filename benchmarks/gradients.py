"""Gradient features: our way against LESS's, and how faithful each kind of store is to the exact scores.

``python benchmarks/gradients.py speed`` takes the same rows through a batch-1 loop with LESS's projector on a CPU
(Rademacher, made block by block and multiplied with the gradients) and through `Collector`. The loop's projector would
take hours, so it is timed on ``--blocks`` of its blocks of 100 columns and scaled to all of them; that is done for one
row a call and for 16, the number that LESS's scripts hand on at once. The step before it, the gradient alone, is timed
in full for both, by turns.

``python benchmarks/gradients.py fidelity`` compares the scores of ``--rows`` training rows from every kind of store
with the exact ones (no projection), as Spearman's correlation, on three models and for the features adam and sgd. The
models: the demo's (fabricated data, three targets); and, where WINNOW_REAL_DATA names the folder with real data, a
Qwen2 on bytes of GSM8K and BBH and a GPT-2 on bytes of Alpaca and chains of thought, both trained here for a minute.

``python benchmarks/gradients.py double`` collects the features of a pool and of one twice as large in workers, and
compares time and peak memory.

``--device cuda`` runs `speed` on a GPU with a model of Qwen2.5-0.5B's shape, and adds tokens per second and the share
of ``--peak`` TFLOP/s.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import spearmanr
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from winnow.batching import planned_batches
from winnow.gradients.blocks import Block, find_blocks
from winnow.gradients.collector import Collector, ResponseGradients
from winnow.gradients.features import Adam, AdamForm, Feature, Sgd
from winnow.gradients.quantize import FLOATS, decode, encode, row_bytes
from winnow.gradients.sketch import Projection, Sketch, walsh_hadamard
from winnow.influence.direct import DirectScores, mean_unit_gradients
from winnow.influence.scores import unit_rows
from winnow.records.tokens import TokenRow

COLUMNS = 100
BATCH_ROWS, BATCH_TOKENS = 16, 2048
POOL_ROWS = 4000


def lora(model: torch.nn.Module, r: int) -> torch.nn.Module:
    adapted = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=r, lora_alpha=2 * r, target_modules="all-linear")
    )
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return adapted.eval()


def random_moments(model: torch.nn.Module) -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {
        name: {"exp_avg": torch.randn(p.shape) * 1e-4, "exp_avg_sq": torch.rand(p.shape) * 1e-8}
        for name, p in trained.items()
    }


def random_rows(count: int, vocabulary: int, median: float, longest: int) -> list[TokenRow]:
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(median), 0.6, count), 16, longest).astype(int)
    return [
        TokenRow(str(n), random.integers(0, vocabulary, length).astype(np.int32), np.arange(length) >= length // 2)
        for n, length in enumerate(lengths)
    ]


def batches_of_a_pool(rows: Sequence[TokenRow], wanted: int, tokens: int) -> list[list[TokenRow]]:
    """Batches planned over a whole pool, every so many of them: a few rows alone would be padded far more."""
    planned = planned_batches([len(row.input_ids) for row in rows], 64, tokens)
    every = max(1, len(rows) // wanted)
    return [[rows[n] for n in batch] for batch in planned[every // 2 :: every]]


def gradient_loop(model: torch.nn.Module, rows: Sequence[TokenRow], device: str) -> Iterator[torch.Tensor]:
    """LESS's step: one row, forward, backward, the trained parameters' gradients in one vector."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for row in rows:
        ids = torch.from_numpy(row.input_ids.astype(np.int64))[None].to(device)
        labels = torch.where(torch.from_numpy(row.supervised)[None].to(device), ids, -100)
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        yield torch.cat([parameter.grad.flatten() for parameter in trained]).float()
        model.zero_grad()


def adam_vector(gradient: torch.Tensor, m: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (0.9 * m + 0.1 * gradient) / torch.sqrt(0.999 * v + 0.001 * gradient**2 + 1e-8)


def project_blocks(features: torch.Tensor, blocks: int) -> None:
    """Some blocks of the dense projector: each makes its part of the matrix, and multiplies."""
    for block in range(blocks):
        generator = torch.Generator(features.device).manual_seed(block)
        matrix = torch.empty(features.shape[1], COLUMNS, device=features.device).bernoulli_(0.5, generator=generator)
        features @ matrix.mul_(2).sub_(1)


def seconds_of(work: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def speed_model(device: str, vocabulary: int) -> tuple[torch.nn.Module, int]:
    torch.manual_seed(0)
    shape: dict[str, int] = {
        "vocab_size": vocabulary,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 8,
    }
    shape |= {"num_attention_heads": 8, "num_key_value_heads": 8}
    if device != "cpu":
        shape = {"vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
        shape |= {"num_attention_heads": 14, "num_key_value_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=True))
    model = model.to(device, torch.float32 if device == "cpu" else torch.bfloat16)
    return lora(model, 16).to(device), shape["vocab_size"]


def speed(options: argparse.Namespace) -> dict[str, object]:
    device = options.device
    model, vocabulary = speed_model(device, options.vocabulary)
    pool = random_rows(POOL_ROWS, vocabulary, 100 if device == "cpu" else 400, 512 if device == "cpu" else 2048)
    batches = batches_of_a_pool(pool, options.rows, 1024 if device == "cpu" else 32768)
    rows = [row for batch in batches for row in batch]
    np.random.default_rng(0).shuffle(rows)
    lengths = [len(row.input_ids) for row in rows]
    blocks = find_blocks(model)
    moments = random_moments(model)
    feature = Adam(AdamForm(), 10, moments, device)
    m, v = (torch.cat([moments[b.parameter][kind].flatten() for b in blocks]).to(device)
            for kind in ("exp_avg", "exp_avg_sq"))  # fmt: skip
    gradients = ResponseGradients(model, blocks)
    collector = Collector(gradients, feature, [Sketch(options.dim, 0)])
    nothing: Callable[[Block, torch.Tensor], None] = lambda *_: None  # noqa: E731
    collector(batches[-1])
    found: dict[str, list[float]] = {"loop_gradient": [], "our_gradient": [], "ours": []}
    for _ in range(options.repeats):
        found["loop_gradient"].append(
            seconds_of(lambda: list(map(torch.sum, gradient_loop(model, rows, device))), device)
        )
        found["our_gradient"].append(seconds_of(lambda: [gradients(batch, nothing) for batch in batches], device))
        found["ours"].append(seconds_of(lambda: [collector(batch) for batch in batches], device))
    one = next(gradient_loop(model, rows[:1], device))
    adam = seconds_of(lambda: [adam_vector(one, m, v) for _ in range(8)], device) / 8
    all_blocks = -(-options.dim // COLUMNS)
    projector = {}
    for together in (1, 16):
        features = adam_vector(one, m, v).repeat(together, 1)
        taken = seconds_of(lambda features=features: project_blocks(features, options.blocks), device)
        projector[together] = taken / options.blocks * all_blocks / together
    count = len(rows)
    per_row = {name: 1000 * min(taken) / count for name, taken in found.items()}
    loop = {n: per_row["loop_gradient"] + 1000 * (adam + taken) for n, taken in projector.items()}
    steps = [slow / fast for slow, fast in zip(found["loop_gradient"], found["our_gradient"], strict=True)]
    result: dict[str, object] = {
        "benchmark": "gradients",
        "device": device,
        "rows": count,
        "tokens_per_row": round(float(np.mean(lengths)), 1),
        "parameters": sum(block.size for block in blocks),
        "dim": options.dim,
        "vocabulary": vocabulary,
        "milliseconds_per_row": {name: round(value, 2) for name, value in per_row.items()},
        "projector_milliseconds_per_row": {
            f"{n} rows a call, {options.blocks} of {all_blocks} blocks timed": round(1000 * taken)
            for n, taken in projector.items()
        },
        "gradient_step_times_faster": {
            "median": round(float(np.median(steps)), 2),
            "each": [round(ratio, 2) for ratio in steps],
        },
        "end_to_end_times_faster": {f"{n} rows a call": round(taken / per_row["ours"]) for n, taken in loop.items()},
    }
    if device != "cpu":
        body = sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name and "embed" not in name)
        per_second = sum(lengths) / min(found["ours"])
        flops = 4 * body * per_second + 6 * model.get_input_embeddings().weight.numel() * per_second / 2
        result |= {"tokens_per_second": round(per_second), "share_of_peak": round(flops / options.peak / 1e12, 3)}
    return result


STORES = [
    ("8192, float16 (LESS's size)", 8192, "float16", True),
    ("8192, 1 bit, rotated", 8192, "1-bit", True),
    ("32768, 1 bit, not rotated", 32768, "1-bit", False),
    ("32768, 1 bit, rotated", 32768, "1-bit", True),
    ("32768, 2 bits, rotated", 32768, "2-bit", True),
    ("65536, 1 bit, rotated", 65536, "1-bit", True),
    ("65536, 2 bits, rotated", 65536, "2-bit", True),
    ("32768, 4 bits, rotated", 32768, "4-bit", True),
]


def byte_row(name: str, prompt: str, answer: str, longest: int) -> TokenRow:
    data = np.frombuffer((prompt + "\n" + answer + "\0").encode()[:longest], np.uint8).astype(np.int32)
    return TokenRow(name, data, np.arange(len(data)) > len(prompt.encode()))


def pairs_of(folder: Path, kind: str) -> list[tuple[str, str]]:
    if kind == "gsm8k":
        records = map(json.loads, (folder / "gsm8k" / "train.jsonl").read_text().splitlines())
        return [(record["question"], record["answer"]) for record in records]
    if kind == "bbh":
        files = sorted((folder / "bbh").glob("*.json"))
        return [(r["input"], r["target"]) for file in files for r in json.loads(file.read_text())["examples"]]
    if kind == "alpaca":
        records = json.loads((folder / "alpaca" / "alpaca_en_demo.json").read_text())
        return [(record["instruction"] + record.get("input", ""), record["output"]) for record in records]
    lines = [
        line.split("\t") for file in sorted((folder / "cot").glob("*.tsv")) for line in file.read_text().splitlines()
    ]
    return [(parts[0], parts[-1]) for parts in lines if len(parts) >= 2]


def real_rows(
    folder: Path, kinds: tuple[str, str], count: int
) -> tuple[list[TokenRow], list[TokenRow], dict[str, str]]:
    """Rows to score, and 16 validation rows a target; prompts whose answers begin within reach."""
    random = np.random.default_rng(0)
    train, validation, labels = [], [], {}
    for kind in kinds:
        pairs = [pair for pair in pairs_of(folder, kind) if len(pair[0].encode()) < 200]
        chosen = random.permutation(len(pairs))[: count // 2 + 16]
        rows = [byte_row(f"{kind}-{n}", *pairs[n], 256) for n in chosen]
        train += rows[16:]
        validation += rows[:16]
        labels |= {row.example_id: kind for row in rows[:16]}
    return train, validation, labels


def batches_of(rows: Sequence[TokenRow]) -> list[list[TokenRow]]:
    planned = planned_batches([len(row.input_ids) for row in rows], BATCH_ROWS, BATCH_TOKENS)
    return [[rows[n] for n in batch] for batch in planned]


def train_briefly(model: torch.nn.Module, rows: Sequence[TokenRow], steps: int, lr: float) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0)
    random = np.random.default_rng(0)
    for _ in range(steps):
        batch = [rows[n] for n in random.integers(0, len(rows), 8)]
        longest = max(len(row.input_ids) for row in batch)
        ids, labels = torch.zeros(8, longest, dtype=torch.long), torch.full((8, longest), -100)
        for n, row in enumerate(batch):
            tokens = torch.from_numpy(row.input_ids.astype(np.int64))
            ids[n, : len(tokens)] = tokens
            labels[n, : len(tokens)] = torch.where(torch.from_numpy(row.supervised), tokens, -100)
        logits = model(input_ids=ids).logits
        cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:]).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def warmed_up(base: torch.nn.Module, rows: Sequence[TokenRow], full: int, steps: int) -> tuple[Any, Adam]:
    train_briefly(base, rows, full, 2e-3)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"))
    optimizer = train_briefly(model, rows[: len(rows) // 4], steps, 1e-3)
    moments = {name: optimizer.state[p] for name, p in model.named_parameters() if p.requires_grad}
    return model, Adam(AdamForm(), steps, moments)


def demo_study(root: Path, count: int) -> tuple[Any, Adam, list[TokenRow], list[TokenRow], dict[str, str]]:
    """The demo's base model and data, as `kedro run` makes them; what is there is used."""
    from pipelines.fabricate.nodes import fabricate_base_model, fabricate_corpus
    from pipelines.ingest.nodes import find_fabricated_examples, ingest
    from pipelines.split.nodes import split
    from pipelines.tokenize.nodes import tokenize
    from pipelines.warmup.nodes import warm_up
    from winnow.checkpoints import checkpoint_folder
    from winnow.params import FabricateParams, IngestParams, Machine, SplitParams, TokenizeParams, WarmupParams
    from winnow.records.tokens import TokenTable
    from winnow.training.checkpoints import load_checkpoint, load_moments
    from winnow.training.model import load_model

    machine = Machine(data_root=root)
    corpus, _ = fabricate_corpus(FabricateParams(), machine)
    base = fabricate_base_model(FabricateParams(), machine)
    raw = find_fabricated_examples(corpus, machine)
    examples, _ = ingest(raw, IngestParams(), machine)
    shares = SplitParams(held_out_from="*/verified-*", validation_share=0.2, held_out_share=0.8)
    train, validation, _, _ = split(examples, raw, shares, IngestParams(), machine)
    tokens = tokenize(train, validation, base, TokenizeParams(), machine)
    params = WarmupParams(share=0.05, epochs=4, lr=0.001, schedule="linear", warmup_share=0.03, checkpoints=4)
    warmup = warm_up("less", tokens, base, params, machine)
    folder = checkpoint_folder(warmup, warmup.summary["steps"][1])
    model = load_checkpoint(load_model(base, "fp32", "cpu"), folder)
    table, checked = TokenTable.open(tokens.path, "train"), TokenTable.open(tokens.path, "validation")
    chosen = np.random.default_rng(0).permutation(len(table))[:count]
    rows = table.rows([table.ids[n] for n in chosen])
    labels = {name: name.split("/")[0] for name in checked.ids}
    return model, Adam(AdamForm(), *load_moments(folder)), rows, checked.rows(checked.ids), labels


def studies(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    yield "demo", demo_study(options.data_root, options.rows)
    folder = os.environ.get("WINNOW_REAL_DATA")
    if not folder:
        print(json.dumps({"skipped": "models on real data", "why": "WINNOW_REAL_DATA is not set"}))
        return
    torch.manual_seed(0)
    qwen = Qwen2Config(vocab_size=256, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
                       num_attention_heads=8, num_key_value_heads=4)  # fmt: skip
    gpt = GPT2Config(vocab_size=256, n_embd=192, n_layer=6, n_head=6, n_positions=256)
    for name, base, kinds in (
        ("Qwen2 on GSM8K and BBH", Qwen2ForCausalLM(qwen), ("gsm8k", "bbh")),
        ("GPT-2 on Alpaca and CoT", GPT2LMHeadModel(gpt), ("alpaca", "cot")),
    ):
        rows, validation, labels = real_rows(Path(folder), kinds, options.rows)
        model, adam = warmed_up(base, rows, options.steps, 60)
        yield name, (model, adam, rows, validation, labels)


def scores_of(stored: np.ndarray, kind: str, queries: np.ndarray) -> np.ndarray:
    kept = encode(stored, kind)
    codes = kept.codes if kind in FLOATS else kept.codes.numpy()
    return decode(codes, kind, stored.shape[1]) @ queries.T * (kept.scale / kept.norm)[:, None]


def projected(model: Any, blocks: Sequence[Block], feature: Feature, rows: Sequence[TokenRow]) -> dict[int, np.ndarray]:
    dims = sorted({dim for _, dim, _, _ in STORES})
    projections: list[Projection] = [Sketch(dim, 0) for dim in dims]
    collect = Collector(ResponseGradients(model, blocks), feature, projections)
    found = [collect(batch).features for batch in batches_of(rows)]
    return {dim: np.concatenate([part[n] for part in found]) for n, dim in enumerate(dims)}


def unrotated(features: np.ndarray) -> np.ndarray:
    """The transform is its own inverse; the signs before it change no comparison of signs with signs."""
    sketch = Sketch(features.shape[1], 0)
    return (walsh_hadamard(torch.from_numpy(features)) * sketch._signs).numpy()


def fidelity_of(name: str, study: Any) -> Iterator[dict[str, object]]:
    model, adam, rows, validation, labels = study
    blocks = find_blocks(model)
    names, means, _ = mean_unit_gradients(ResponseGradients(model, blocks), batches_of(validation), labels)
    order = [row.example_id for batch in batches_of(validation) for row in batch]
    queries = {}
    for dim, features in projected(model, blocks, Sgd(), validation).items():
        unit = unit_rows(features)
        groups = np.array([labels[example] for example in order])
        queries[dim] = np.stack([unit[groups == target].mean(axis=0) for target in names])
    features: Mapping[str, Feature] = {"adam": adam, "sgd": Sgd()}
    for kind, feature in features.items():
        direct = DirectScores(ResponseGradients(model, blocks), feature, means)
        exact = np.concatenate([direct(batch) for batch in batches_of(rows)])
        stored = projected(model, blocks, feature, rows)
        table = {}
        for label, dim, store, rotated in STORES:
            turn = (lambda x: x) if rotated else unrotated
            found = scores_of(turn(stored[dim]), store, turn(queries[dim]))
            values = [spearmanr(found[:, n], exact[:, n]).statistic for n in range(len(names))]
            table[label] = {"bytes": row_bytes(store, dim), "spearman": [round(float(value), 4) for value in values]}
        yield {
            "benchmark": "fidelity",
            "model": name,
            "feature": kind,
            "parameters": sum(block.size for block in blocks),
            "rows": len(rows),
            "targets": names,
            "stores": table,
        }


def double(options: argparse.Namespace) -> dict[str, object]:
    from pipelines.fabricate.nodes import fabricate_corpus
    from pipelines.gradients.nodes import collect_train
    from pipelines.ingest.nodes import find_fabricated_examples, ingest
    from pipelines.split.nodes import split
    from pipelines.tokenize.nodes import tokenize
    from pipelines.warmup.nodes import warm_up
    from winnow.fabricate.base_model import make_model
    from winnow.fabricate.tokenizer import make_tokenizer
    from winnow.params import (
        FabricatedModel,
        FabricateParams,
        GradientsParams,
        IngestParams,
        Machine,
        SplitParams,
        TokenizeParams,
        WarmupParams,
    )
    from winnow.stages import Work, locate

    found = {}
    with tempfile.TemporaryDirectory(prefix="winnow-benchmark-") as folder:
        machine = Machine(data_root=Path(folder))
        with Work.resume(locate(machine.data_root / "06_models", "base", 1, {}, {})) as work:
            tokenizer = make_tokenizer()
            make_model(FabricatedModel(), tokenizer).save_pretrained(work.path)
            tokenizer.save_pretrained(work.path)
            base = work.finish({"pretrained": None, "revision": None, "trust_remote_code": False}, {})
        warmup = None
        for rows in (options.pool, 2 * options.pool):
            corpus, _ = fabricate_corpus(FabricateParams(rows=rows), machine)
            raw = find_fabricated_examples(corpus, machine)
            examples, _ = ingest(raw, IngestParams(), machine)
            train, validation, _, _ = split(examples, raw, SplitParams(write_tree=False), IngestParams(), machine)
            tokens = tokenize(train, validation, base, TokenizeParams(), machine)
            warmup = warmup or warm_up("less", tokens, base, WarmupParams(steps=4, checkpoints=1), machine)
            part = next(iter(collect_train(warmup, tokens, base, GradientsParams(), machine).parts.values()))
            found[part.summary["computed_rows"]] = part.cost
    small, large = found.values()
    return {
        "benchmark": "double",
        "rows": list(found),
        "seconds": [round(cost["seconds"], 1) for cost in found.values()],
        "peak_memory_gb": [round(cost["peak_memory_gb"], 2) for cost in found.values()],
        "rows_ratio": round(list(found)[1] / next(iter(found)), 2),
        "time_ratio": round(large["seconds"] / small["seconds"], 2),
        "memory_ratio": round(large["peak_memory_gb"] / small["peak_memory_gb"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "fidelity", "double"])
    parser.add_argument("--rows", type=int, default=None, help="default: 96 for speed, 500 for fidelity")
    parser.add_argument("--dim", type=int, default=8192)
    parser.add_argument("--vocabulary", type=int, default=151_936, help="default: that of Qwen2.5")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of the byte-level models' training")
    parser.add_argument("--pool", type=int, default=1100, help="rows per subset")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--peak", type=float, default=790.0, help="the GPU's dense TFLOP/s")
    parser.add_argument("--data-root", type=Path, default=Path(__file__).resolve().parents[1] / "data")
    options = parser.parse_args()
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    options.rows = options.rows or (96 if options.what == "speed" else 500)
    if options.what == "fidelity":
        for name, study in studies(options):
            for line in fidelity_of(name, study):
                print(json.dumps(line), flush=True)
    else:
        print(json.dumps(speed(options) if options.what == "speed" else double(options)))


if __name__ == "__main__":
    main()
