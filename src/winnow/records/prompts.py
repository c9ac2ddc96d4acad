"""Prompts that a model is asked while it is trained."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from winnow.errors import BadInput, BadSetting
from winnow.params import IngestParams, SamplesParams
from winnow.records.chat_template import chat_template
from winnow.records.ingest import RawFile, read_file
from winnow.records.shapes import ANSWERS, Message


@dataclass(frozen=True)
class Prompt:
    """The turns before an answer, and the answer that is expected, where there is one."""

    group: str
    messages: Sequence[Message]
    expected: str | None = None

    @property
    def question(self) -> str:
        """The last turn."""
        return str(self.messages[-1]["content"])

    def tokens(self, tokenizer: Any, template: str | None) -> list[int]:
        """Its rendering, up to where the answer begins."""
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        text = chat_template(template, tokenizer)
        return list(tokenizer.apply_chat_template(list(self.messages), chat_template=text, **options)["input_ids"])


def read_prompts(params: SamplesParams) -> list[Prompt]:
    """All prompts of `finetune.samples`: the single questions, then the files' in the order of their names."""
    found = [Prompt("prompts", [{"role": "user", "content": text}]) for text in params.prompts]
    for pattern in params.files:
        files = sorted(path for name in glob.glob(pattern, recursive=True) if (path := Path(name)).is_file())
        if not files:
            raise BadSetting(f"`finetune.samples.files` has {pattern!r}, where no file is. Name others.")
        for file in files:
            found += limited(list(_conversations(file)), params.limit)
    return found


def limited(prompts: Sequence[Prompt], limit: int | None) -> list[Prompt]:
    """At most so many, at random, the same every time."""
    if limit is None or len(prompts) <= limit:
        return list(prompts)
    kept = np.random.default_rng(0).choice(len(prompts), limit, replace=False)
    return [prompts[place] for place in sorted(kept)]


def _conversations(file: Path) -> Iterable[Prompt]:
    for row in read_file(file.parent, RawFile(file.name), IngestParams()):
        if "reason" in row:
            raise BadInput(f"{file}, record {row['row']}: {row['reason']}. Prompts are asked as they are; mend it.")
        messages = row["messages"]
        if messages[-1]["role"] in ANSWERS:
            yield Prompt(file.stem, messages[:-1], str(messages[-1]["content"]))
        else:
            yield Prompt(file.stem, messages)
