"""Prompts that a model is asked while it is trained."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from winnow.errors import BadInput, BadSetting
from winnow.params import SamplesParams
from winnow.paths import located
from winnow.records.files import read_records
from winnow.records.raw import Raw, ReadOptions
from winnow.records.shapes import ANSWERS, SHAPES, Message, Unusable, detect_shape


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


def read_prompts(params: SamplesParams, data_root: Path) -> list[Prompt]:
    """All prompts of `finetune.samples`: the single questions, then the files' in the order of their names."""
    found = [Prompt("prompts", [{"role": "user", "content": text}]) for text in params.prompts]
    for pattern in params.files:
        names = glob.glob(str(located(pattern, data_root)), recursive=True)
        files = sorted(path for name in names if (path := Path(name)).is_file())
        if not files:
            raise BadSetting(f"`finetune.samples.files` has {pattern!r}, where no file is. Name others.")
        for file in files:
            if any(prompt.group == file.stem for prompt in found):
                raise BadSetting(
                    f"`finetune.samples` has two groups of prompts called {file.stem!r}, after the names of files (and "
                    "`prompts` for single questions). Rename one."
                )
            found += limited(list(_conversations(file)), params.limit)
    return found


def limited(prompts: Sequence[Prompt], limit: int | None) -> list[Prompt]:
    """At most so many, at random, the same every time."""
    if limit is None or len(prompts) <= limit:
        return list(prompts)
    kept = np.random.default_rng(0).choice(len(prompts), limit, replace=False)
    return [prompts[place] for place in sorted(kept)]


def _conversations(file: Path) -> Iterable[Prompt]:
    for raw in read_records(file, ReadOptions()):
        try:
            yield _prompt(file.stem, raw)
        except Unusable as unusable:
            raise BadInput(f"{file}, record {raw.row}: {unusable}. Prompts are asked as they are; mend it.") from None


def _prompt(group: str, raw: Raw) -> Prompt:
    """Unlike a row that is trained on, a prompt may do without an answer."""
    shape = detect_shape(raw.value)
    if raw.reason is not None or shape is None:
        raise Unusable(raw.reason or "no known record shape")
    messages, _ = SHAPES[shape](raw.value)
    expected = str(messages.pop()["content"]) if messages and messages[-1]["role"] in ANSWERS else None
    if not any(message["role"] == "user" for message in messages):
        raise Unusable("the user says nothing")
    return Prompt(group, messages, expected or None)
