"""LLaMA-Factory: `dataset_info.json` with `num_samples`, and a YAML file for `llamafactory-cli train`.

References: `data/README.md`, `src/llamafactory/data/{parser,loader,converter,formatter}.py` and
`src/llamafactory/hparams/data_args.py` of https://github.com/hiyouga/LLaMA-Factory.
"""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from winnow.records.raw import to_json
from winnow.records.shapes import ANSWERS, Message, Unusable
from winnow.records.trainers.calls import read_calls
from winnow.records.trainers.trainer import ClusterFile, Trainer

_SHAPE = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "function_tag": "function_call",
        "system_tag": "system",
    },
}
_HEAD = """\
# In this folder: llamafactory-cli train train_sft.yaml
# `template` belongs to the model: change both together.
# Each data set has the rows of its cluster once; `num_samples` in dataset_info.json of them are drawn: all once, and
# the rest at random. `dataset: train` is the mix row by row; with `streaming`, it is the only one that keeps the mix.
"""


def to_llamafactory(messages: Sequence[Message]) -> dict[str, Any]:
    """`messages` of `role` and `content`; calls as `name` and `arguments`."""
    _check_turns(messages)
    return {"messages": [{"role": message["role"], "content": _content(message)} for message in messages]}


def _check_turns(messages: Sequence[Message]) -> None:
    """Questions and answers have to take turns, after at most one system message: others are skipped in training."""
    turns = [message["role"] for message in messages[int(messages[0]["role"] == "system") :]]
    for number, role in enumerate(turns):
        if role == "system":
            raise Unusable("a system message is not the first message")
        if (role in ANSWERS) != bool(number % 2):
            raise Unusable("questions and answers do not take turns")
    if len(turns) % 2:
        raise Unusable("the last message is no answer")


def _content(message: Message) -> str:
    return to_json(read_calls(message["content"])) if message["role"] == "function_call" else message["content"]


def settings(arm: str, files: Sequence[ClusterFile]) -> dict[str, str]:
    """The list of data sets, and the YAML file that trains on all clusters."""
    entries = {file.name: {"file_name": file.file, **_SHAPE, "num_samples": file.rows} for file in files}
    entries["train"] = {"file_name": "train.jsonl", **_SHAPE}
    return {
        # LLaMA-Factory opens it in the encoding of the machine it runs on.
        "dataset_info.json": json.dumps(entries, indent=2) + "\n",
        "train_sft.yaml": _HEAD + yaml.safe_dump(_training(arm, files), sort_keys=False),
    }


def _training(arm: str, files: Sequence[ClusterFile]) -> dict[str, Any]:
    return {
        "model_name_or_path": "Qwen/Qwen3-4B-Instruct-2507",
        "template": "qwen3_nothink",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_target": "all",
        "dataset": ",".join(file.name for file in files),
        "dataset_dir": ".",
        "mix_strategy": "concat",
        "cutoff_len": 2048,
        "output_dir": f"../saves/{arm}",
        "logging_steps": 10,
        "save_steps": 500,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "learning_rate": 0.0001,
        "num_train_epochs": 1.0,
        "lr_scheduler_type": "cosine",
        "bf16": True,
    }


LLAMAFACTORY = Trainer(to_llamafactory, settings)
