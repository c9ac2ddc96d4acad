"""An arm's seeds trained one after the other, with all cores each, and side by side, with a share of them each.

kedro run --pipelines random
python benchmarks/side_by_side.py [--data data] [--seeds 4] [--at-once 2] [--repeats 3]

Takes the base model, the tokens and the mix of `random` that lie in the data folder; start-up of workers is counted.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import pandas as pd

from pipelines.finetune.nodes import as_counts, train_mixes
from winnow.params import FinetuneParams, Machine
from winnow.stages import Finished


def finished(data: Path, dataset: str) -> Finished:
    return Finished.open(data / json.loads((data / dataset).read_text())["path"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    data = options.data.resolve()
    tokens, base = finished(data, "02_intermediate/tokens.json"), finished(data, "06_models/base_model.json")
    mix = pd.read_parquet(data / "03_primary/arms/random/training_mix.parquet")
    counts = as_counts(mix[mix.seed == 0])
    names = [str(seed) for seed in range(options.seeds)]
    params = FinetuneParams(steps=50, batch=32, lr=0.001, packing=True)
    ratios = []
    for repeat in range(options.repeats):
        seconds = {}
        for at_once in (1, options.at_once):
            with tempfile.TemporaryDirectory() as root:
                machine = Machine(data_root=Path(root), side_by_side=at_once)
                start = time.monotonic()
                train_mixes(dict.fromkeys(names, counts), {n: int(n) for n in names}, tokens, base, params, machine)
                seconds[at_once] = time.monotonic() - start
        ratios.append(seconds[1] / seconds[options.at_once])
        told = ", ".join(f"{at_once} at once {value:.1f} s" for at_once, value in seconds.items())
        print(f"repeat {repeat}: {told}; ratio {ratios[-1]:.2f}", flush=True)
    print(f"{options.seeds} seeds, {options.at_once} at once: median ratio {sorted(ratios)[len(ratios) // 2]:.2f}")


if __name__ == "__main__":
    main()
