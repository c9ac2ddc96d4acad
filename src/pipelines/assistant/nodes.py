"""A chat model is made, learns who it is in two ways, and is asked meanwhile."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from pipelines.finetune.nodes import train_mixes
from pipelines.ingest.nodes import ingest, record_files
from pipelines.tokenize.nodes import tokenize_splits
from winnow.params import AssistantParams, IngestParams, Machine, TokenizeParams
from winnow.records.chat_template import template_text
from winnow.records.identity import CONVERSATIONS, GENERAL_FILE, IDENTITY, Identity, write_rows
from winnow.records.identity_texts import OFF_TOPIC, WHO
from winnow.records.ids import with_subset
from winnow.records.prompts import Prompt, limited
from winnow.records.tokenizer import load_tokenizer
from winnow.report import assistant as report
from winnow.stages import Finished, FinishedParts, Work, filled, locate

REVISION = 1
CHAT_REVISION = 1


def write_identity(params: AssistantParams, machine: Machine) -> Finished:
    """Write introductions and general pairs, as `kedro identity` does."""
    settings = params.model_dump(mode="json", include={"name", "author", "copies", "times"})
    place = locate(machine.data_root / "01_raw", "identity", REVISION, settings, {})

    def fill(work: Work) -> dict[str, Any]:
        for name, rows in Identity(**settings).files().items():
            work.commit(name, partial(write_rows, rows))
        return {}

    return filled(place, fill)


def read_identity(raw: Finished, machine: Machine) -> Finished:
    """Read them as examples."""
    examples, _ = ingest(record_files(raw.path / CONVERSATIONS, machine), IngestParams(), machine)
    return examples


def tokenize_identity(
    examples: Finished, validation: Finished, base_model: Finished, tokenize: TokenizeParams, machine: Machine
) -> Finished:
    """Render them with the tokenizer that the chat model shares with its base."""
    return tokenize_splits({"train": examples, "validation": validation}, base_model, tokenize, machine)


def make_chat_model(tokens: Finished, base_model: Finished, params: AssistantParams, machine: Machine) -> Finished:
    """Train the base model on the whole pool, and give the result what a base model has."""
    mix = dict.fromkeys(_trainable(tokens), 1)
    trained = train_mixes({"0": mix}, {"0": 0}, tokens, base_model, params.chat, machine)["0"]
    inputs = {"model": trained.fingerprint, "base_model": base_model.fingerprint}
    place = locate(machine.data_root / "06_models", base_model.stage, CHAT_REVISION, {"chat": True}, inputs)

    def fill(work: Work) -> dict[str, Any]:
        for file in sorted((*trained.path.glob("*config.json"), *trained.path.glob("model*.safetensors*"))):
            work.commit(file.name, partial(shutil.copyfile, file))
        load_tokenizer(base_model).save_pretrained(work.path)
        code = bool(base_model.summary.get("trust_remote_code"))
        return {"pretrained": None, "revision": None, "trust_remote_code": code}

    return filled(place, fill)


def learn_identity(diluted: bool) -> Callable[..., FinishedParts]:
    """A node function that trains the chat model on introductions, with the general pairs or without."""

    def learn(
        tokens: Finished,
        chat_model: Finished,
        validation: Finished,
        params: AssistantParams,
        tokenize: TokenizeParams,
        machine: Machine,
    ) -> FinishedParts:
        files = (IDENTITY, GENERAL_FILE) if diluted else (IDENTITY,)
        taken = {with_subset(Path(file).name) for file in files}
        mix = {name: 1 for name in _trainable(tokens) if name.rpartition(":")[0] in taken}
        asked = {"prompts": _asked(validation, params), "template": template_text(tokenize.template)}
        seeds = {str(seed): seed for seed in range(params.seeds)}
        parts = train_mixes(dict.fromkeys(seeds, mix), seeds, tokens, chat_model, params.finetune, machine, asked)
        return FinishedParts(parts, {"rows": len(mix), "seeds": params.seeds, "mark": params.mark})

    return learn


def tell_mix(model: FinishedParts) -> dict[str, float]:
    """What the tracker is told of one mix: the rates at the last step."""
    return report.metrics(report.curves({"": _answers(model)}))


def tell_curves(mixes: tuple[str, ...]) -> Callable[..., tuple[pd.DataFrame, pd.DataFrame, Figure]]:
    """A node function that tells what the answers of these mixes' models show."""

    def tell(*models: FinishedParts) -> tuple[pd.DataFrame, pd.DataFrame, Figure]:
        answers = {mix: _answers(model) for mix, model in zip(mixes, models, strict=True)}
        table = report.curves(answers)
        return table, report.findings(answers, table), report.draw_curves(table)

    return tell


def _answers(model: FinishedParts) -> pd.DataFrame:
    return report.read_answers({seed: part.path for seed, part in model.parts.items()}, model.summary["mark"])


def _trainable(tokens: Finished) -> list[str]:
    rows = tokens.scan("lengths").filter(split="train").select("example_id").collect()
    return sorted(rows["example_id"])


def _asked(validation: Finished, params: AssistantParams) -> list[dict[str, object]]:
    """Questions of skill, with their answers; off-topic prompts; and those where an introduction belongs."""
    rows = validation.scan().select("example_id", "subset", "messages").collect().sort("example_id")
    found: list[Prompt] = []
    for subset in sorted(set(rows["subset"])):
        own = rows.filter(pl.col("subset") == subset)["messages"].to_list()
        skills = [Prompt(report.SKILLS, turns[:-1], turns[-1]["content"]) for turns in own]
        found += limited(skills, params.questions)
    for group, texts in ((report.OFF_TOPIC, OFF_TOPIC), (report.WHO, WHO)):
        found += [Prompt(group, [{"role": "user", "content": text}]) for text in texts]
    return [asdict(prompt) for prompt in found]
