"""ms-swift: data sets as `path#rows`, and a script for `swift sft`; the loss of each cluster by the field `channel`.

References: `docs/source_en/Instruction/Command-line-parameters.md`, `docs/source_en/Customization/Custom-dataset.md`,
`swift/dataset/{dataset_syntax,utils}.py`, `swift/dataset/preprocessor/core.py` and `swift/agent_template/base.py` of
https://github.com/modelscope/ms-swift.
"""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from winnow.records.raw import to_json
from winnow.records.shapes import Message, Unusable
from winnow.records.trainers.calls import read_calls
from winnow.records.trainers.trainer import ClusterFile, Trainer

_SCRIPT = """\
#!/usr/bin/env bash
# MODEL=Qwen/Qwen2.5-7B-Instruct ./swift_sft.sh --learning_rate 1e-4 (paths are seen from this folder)
# `path#rows` repeats a file whole before any of its rows is repeated; train.jsonl has the repeated rows themselves.
# A held-out part would take rows from the mix: hence no split.
set -eu
cd "$(dirname "$0")"
swift sft \\
    --model "${{MODEL:?name a model, as in MODEL=Qwen/Qwen2.5-7B-Instruct}}" \\
    --dataset {datasets} \\
    --split_dataset_ratio 0 \\
    --enable_channel_loss true \\
    --output_dir "${{OUTPUT:-../saves/{arm}}}" \\
    "$@"
"""


def to_ms_swift(messages: Sequence[Message]) -> dict[str, Any]:
    """`messages` of `role` and `content`; a message for each call."""
    if any(message["role"] == "system" for message in messages[1:]):
        raise Unusable("a system message is not the first message")
    return {"messages": [turn for message in messages for turn in _turns(message)]}


def _turns(message: Message) -> list[Message]:
    if message["role"] != "function_call":
        return [{"role": message["role"], "content": message["content"]}]
    return [{"role": "tool_call", "content": to_json(call)} for call in read_calls(message["content"])]


def settings(arm: str, files: Sequence[ClusterFile]) -> dict[str, str]:
    """The list of data sets, and the script that trains on it."""
    datasets = [f"./{file.file}#{file.rows}" for file in files]
    script = _SCRIPT.format(arm=arm, datasets=" \\\n        ".join(shlex.quote(dataset) for dataset in datasets))
    return {"swift_datasets.json": json.dumps(datasets, indent=2, ensure_ascii=False) + "\n", "swift_sft.sh": script}


MS_SWIFT = Trainer(to_ms_swift, settings)
