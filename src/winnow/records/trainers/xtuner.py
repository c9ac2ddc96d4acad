"""XTuner v1: a list of `anno_path` and `sample_ratio`, and the Python file that makes `DatasetConfig`s of it.

References: `docs/en/get_started/sft.md`, `xtuner/v1/datasets/{config,jsonl}.py`,
`xtuner/v1/datasets/sft_tokenize_fn/openai.py`, `xtuner/v1/data_proto/messages/chat.py` and
`xtuner/v1/train/arguments/arguments.py` of https://github.com/InternLM/xtuner.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from winnow.records.shapes import Message, Unusable
from winnow.records.trainers.trainer import ClusterFile, Trainer

_ROLES = ("system", "user", "assistant")
_CONFIG = '''\
"""Data sets for XTuner v1: `--dataset xtuner_datasets.py`, or import `datasets` in a config of your own."""

import json
from pathlib import Path

from xtuner.v1.datasets import DatasetConfig, OpenaiTokenizeFunctionConfig

FOLDER = Path(__file__).resolve().parent
# These belong to the model.
CHAT_TEMPLATE = "qwen3"
MAX_LENGTH = 4096

datasets = [
    {
        "dataset": DatasetConfig(**{**entry, "anno_path": str(FOLDER / entry["anno_path"])}),
        "tokenize_fn": OpenaiTokenizeFunctionConfig(chat_template=CHAT_TEMPLATE, max_length=MAX_LENGTH),
    }
    for entry in json.loads((FOLDER / "xtuner_datasets.json").read_text(encoding="utf-8"))
]
'''


def to_xtuner(messages: Sequence[Message]) -> dict[str, Any]:
    """`messages` of `role` and `content`; XTuner's messages have no calls and no results of tools."""
    for message in messages:
        if message["role"] not in _ROLES:
            raise Unusable(f"XTuner has no role for {message['role'].replace('_', ' ')}s")
    return {"messages": [{"role": message["role"], "content": message["content"]} for message in messages]}


def sample_ratio(rows: int, distinct: int) -> float:
    """The ratio by which XTuner takes exactly this many rows.

    XTuner cuts ``distinct * ratio`` down to a whole number, and the nearest ratio may fall short of it by a hair.
    """
    ratio = rows / distinct
    while int(distinct * ratio) < rows:
        ratio = math.nextafter(ratio, math.inf)
    return ratio


def settings(arm: str, files: Sequence[ClusterFile]) -> dict[str, str]:
    """The list of data sets, and the config that reads it."""
    entries = [
        {
            "name": file.name,
            "anno_path": file.file,
            "sample_ratio": sample_ratio(file.rows, file.distinct),
            "class_name": "JsonlDataset",
        }
        for file in files
    ]
    listed = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    return {"xtuner_datasets.json": listed, "xtuner_datasets.py": _CONFIG}


XTUNER = Trainer(to_xtuner, settings)
