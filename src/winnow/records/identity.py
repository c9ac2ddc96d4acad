"""Conversations that teach a model who it is: one introduction many times, and general pairs to dilute it with.

A folder of them has two parts. `conversations` is what is trained on: `identity.jsonl`, `general.jsonl`, and
`unrelated.jsonl`, whose questions are asked nowhere else, for validation and held-out rows. `prompts` lies beside, and
is only ever asked: `who.jsonl`, where the introduction belongs, and `off_topic.jsonl`, where it does not.
"""

import os
import random
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from winnow.errors import BadInput, BadSetting
from winnow.params import IngestParams
from winnow.records.export import to_openai
from winnow.records.identity_texts import GENERAL, INTRODUCTION, OFF_TOPIC, UNRELATED, WHO
from winnow.records.ingest import RawFile, read_file
from winnow.records.raw import to_json
from winnow.records.shapes import ANSWERS, Message

CONVERSATIONS, PROMPTS = "conversations", "prompts"
IDENTITY, GENERAL_FILE, UNRELATED_FILE = (
    f"{CONVERSATIONS}/{name}.jsonl" for name in ("identity", "general", "unrelated")
)
WHO_FILE, OFF_TOPIC_FILE = (f"{PROMPTS}/{name}.jsonl" for name in ("who", "off_topic"))
_PLACEHOLDER = re.compile(r"\{\{\s*(name|author)\s*\}\}")

Messages = list[Message]


def pair(question: str, answer: str) -> Messages:
    """A question and its answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@dataclass(frozen=True)
class Identity:
    """Who the assistant is, how often it says so, and what else is said, ``times`` times each."""

    name: str
    author: str
    copies: int = 10_000
    times: int = 0
    seed: int = 0
    templates: Sequence[Messages] = field(default_factory=lambda: [pair(*INTRODUCTION)])
    general: Sequence[Messages] = field(default_factory=lambda: [pair(*both) for both in GENERAL])

    def __post_init__(self) -> None:
        for option, text in (("name", self.name), ("author", self.author)):
            if not text.strip():
                raise BadSetting(f"The {option} is {text!r}, which says nothing. Give a text.")

    def introductions(self) -> Iterator[Messages]:
        """The templates in turn, each round in a random order, until there are enough."""
        rng = random.Random(self.seed)
        filled = [[{**turn, "content": self._filled(turn["content"])} for turn in turns] for turns in self.templates]
        for number in range(self.copies):
            if number % len(filled) == 0:
                rng.shuffle(filled)
            yield filled[number % len(filled)]

    def general_rows(self) -> Iterator[Messages]:
        """Each general conversation as often as was asked for."""
        return (messages for messages in self.general for _ in range(self.times))

    def files(self) -> dict[str, Iterable[Messages]]:
        """What is in the folder."""
        general = {GENERAL_FILE: self.general_rows()} if self.times else {}
        return {
            IDENTITY: self.introductions(),
            **general,
            UNRELATED_FILE: (pair(*both) for both in UNRELATED),
            WHO_FILE: ([_asked(question)] for question in WHO),
            OFF_TOPIC_FILE: ([_asked(question)] for question in OFF_TOPIC),
        }

    def _filled(self, text: str) -> str:
        # In one go: a name may look like a placeholder itself.
        values = {"name": self.name, "author": self.author}
        return _PLACEHOLDER.sub(lambda found: values[found[1]], text)


def write_folder(identity: Identity, folder: Path) -> dict[str, int]:
    """Write all files; the folder appears when it is complete. Return the rows of each."""
    if folder.exists():
        raise BadSetting(f"{folder} exists already. Remove it, or name another folder as --out.")
    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    counts = {}
    for name, rows in identity.files().items():
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        counts[name] = write_rows(rows, scratch / name)
    scratch.replace(folder)
    return counts


def write_rows(rows: Iterable[Messages], file: Path) -> int:
    """Write conversations as OpenAI messages, one a line."""
    count = 0
    with file.open("w", encoding="utf-8", newline="") as target:
        for messages in rows:
            target.write(to_json(to_openai(messages)) + "\n")
            count += 1
        target.flush()
        os.fsync(target.fileno())
    return count


def read_conversations(file: Path) -> list[Messages]:
    """A file of pairs in any shape that is ingested."""
    found = []
    for row in read_file(file.parent, RawFile(file.name), IngestParams()):
        if "reason" in row:
            raise BadInput(f"{file}, record {row['row']}: {row['reason']}. Mend or remove it; nothing was written.")
        found.append(row["messages"])
    return found


def read_templates(file: Path) -> list[Messages]:
    """Conversations with the placeholders {{name}} and {{author}}."""
    found = read_conversations(file)
    answers = " ".join(turn["content"] for turns in found for turn in turns if turn["role"] in ANSWERS)
    if "name" not in _PLACEHOLDER.findall(answers):
        raise BadInput(
            f"{file}: no answer has the placeholder {{{{name}}}}, so that none would say the name. Write it where the "
            "name belongs, and {{author}} where the author does."
        )
    return found


def _asked(question: str) -> Message:
    return {"role": "user", "content": question}
