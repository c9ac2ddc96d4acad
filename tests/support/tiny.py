"""A project in miniature: fabricated rows, an untrained model of two layers, and the nodes that work on them."""

import hashlib
import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from pipelines.fabricate.nodes import fabricate_corpus
from pipelines.ingest.nodes import find_fabricated_examples, ingest
from pipelines.mixture.nodes import mix_at_budget, weigh_random
from pipelines.split.nodes import split
from pipelines.tokenize.nodes import tokenize
from winnow.fabricate.base_model import make_model
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.params import (
    ArmParams,
    BudgetParams,
    FabricatedModel,
    FabricateParams,
    IngestParams,
    Machine,
    SelectionParams,
    SplitParams,
    TokenizeParams,
)
from winnow.progress import News
from winnow.stages import Finished, Work, locate


@dataclass
class Tiny:
    """The shared stages of a miniature study; results go to a data root of one's own."""

    root: Path
    raw: Finished
    base: Finished
    train: Finished
    validation: Finished
    held_out: Finished
    tokens: Finished

    def machine(self, root: Path, **values: object) -> Machine:
        return Machine.model_validate({"data_root": root, "device": "cpu", "threads": 1, **values})

    def mix(self, seeds: int, rows: int = 24) -> pd.DataFrame:
        weights = weigh_random(self.tokens, ArmParams(seeds=seeds))
        return mix_at_budget(weights, self.tokens, BudgetParams(rows=rows), SelectionParams())


def make_tiny(root: Path) -> Tiny:
    machine = Machine(data_root=root, device="cpu", threads=1)
    corpus, _ = fabricate_corpus(FabricateParams(rows=60, verified_rows=40, facts=20), machine)
    raw = find_fabricated_examples(corpus, machine)
    examples, _ = ingest(raw, IngestParams(), machine)
    shares = SplitParams(held_out_from="*/verified-*", validation_share=0.2, held_out_share=0.8)
    train, validation, held_out, _ = split(examples, raw, shares, IngestParams(), machine)
    base = untrained_model(root)
    tokens = tokenize(train, validation, base, TokenizeParams(), machine)
    return Tiny(root, raw, base, train, validation, held_out, tokens)


def untrained_model(root: Path) -> Finished:
    place = locate(root / "06_models", "base", 1, {"untrained": True}, {})
    with Work.resume(place) as work:
        torch.manual_seed(0)
        tokenizer = make_tokenizer()
        make_model(FabricatedModel(hidden=32, layers=2, heads=2), tokenizer).save_pretrained(work.path)
        tokenizer.save_pretrained(work.path)
        return work.finish({"pretrained": None, "revision": None, "trust_remote_code": False}, {})


def checksums(folder: Path) -> dict[str, str]:
    """Of every file but the cost, which is different each time."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "cost.json"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def when(condition: Callable[[News], bool], action: Callable[[], None]) -> Callable[[News], None]:
    """A listener that acts once, at the first news that fits."""
    done = False

    def listener(news: News) -> None:
        nonlocal done
        if not done and condition(news):
            done = True
            action()

    return listener


def kill_workers(signal_number: int) -> Callable[[], None]:
    """An action that sends a signal to the workers started from now on."""
    known = set(multiprocessing.active_children())

    def kill() -> None:
        for child in set(multiprocessing.active_children()) - known:
            os.kill(child.pid, signal_number)

    return kill


def kill_launched(signal_number: int) -> Callable[[], None]:
    """An action that sends a signal to what was launched for several processes: the launcher and its workers."""

    def kill() -> None:
        launchers = [process for process in children_of(os.getpid()) if b"accelerate" in command_of(process)]
        for process in [*launchers, *(child for launcher in launchers for child in children_of(launcher))]:
            with suppress(ProcessLookupError):
                os.kill(process, signal_number)

    return kill


def children_of(parent: int) -> list[int]:
    return [int(name) for file in Path(f"/proc/{parent}/task").glob("*/children") for name in file.read_text().split()]


def command_of(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()
