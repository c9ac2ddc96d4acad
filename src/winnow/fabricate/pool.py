"""The rows of one subset: verified ones that are all clean, and a pool in which half of the answers are wrong."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from winnow.errors import BadSetting
from winnow.fabricate.skills import Problem, Skill, invent_names
from winnow.params import FabricateParams

Kind = Literal["clean", "wrong", "exact_duplicate", "near_duplicate", "off_topic", "long", "unusable"]
Message = dict[str, str | None]

# Of the pool, besides the wrong answers: few, so that the wrong answers stay the question.
SHARES: dict[Kind, float] = {
    "exact_duplicate": 0.02,
    "near_duplicate": 0.02,
    "off_topic": 0.02,
    "long": 0.01,
    "unusable": 0.01,
}
FILLER = "Take your time, for nothing here depends on the weather. "
CHATTER = (
    ("Tell me a joke about {0}.", "No, thank you."),
    ("Do you like {0}?", "I have never tried it."),
    ("Who is {0}?", "Nobody I have met."),
    ("Sing of {0} for me.", "La la la."),
)


@dataclass(frozen=True)
class Row:
    """One conversation and the truth about it; ``copy_of`` is the number of the row it repeats."""

    messages: tuple[Message, ...]
    kind: Kind
    copy_of: int | None = None


def verified_rows(skill: Skill, params: FabricateParams, rng: random.Random) -> tuple[list[Row], set[Problem]]:
    """Clean rows with distinct prompts, and the problems that the pool must not ask."""
    _require_room(skill.problems * len(skill.verified_wordings), params.verified_rows, "verified_rows")
    questions = _questions(skill, skill.verified_wordings, set(), rng)
    rows, problems = [], set()
    for _ in range(params.verified_rows):
        problem, prompt = next(questions)
        rows.append(Row(_conversation(prompt, skill.right(problem)), "clean"))
        problems.add(problem)
    return rows, problems if skill.split_by_problem else set()


def pool_rows(skill: Skill, params: FabricateParams, taken: set[Problem], rng: random.Random) -> list[Row]:
    """Rows of every kind in random order, and after them the copies of some."""
    _require_room((skill.problems - len(taken)) * len(skill.wordings), params.rows, "rows")
    count = {kind: round(share * params.rows) for kind, share in SHARES.items()}
    count["wrong"] = round(params.wrong_share * params.rows)
    count["clean"] = params.rows - sum(count.values())
    if count["clean"] < 0:
        raise BadSetting(
            f"fabricate.wrong_share is {params.wrong_share}: with the other planted rows that is more than the pool. "
            f"Set it to {1 - sum(SHARES.values()):.2f} or less."
        )
    questions = _questions(skill, skill.wordings, taken, rng)
    rows = [_asked(skill, next(questions), kind, rng) for kind in _ASKED for _ in range(count[kind])]
    rows += _off_topic(count["off_topic"], rng)
    rng.shuffle(rows)
    originals = [number for number, row in enumerate(rows) if row.kind in ("clean", "wrong")]
    for kind in _COPIED:
        copied = rng.sample(originals, min(count[kind], len(originals)))
        rows += [_copy(rows[number], kind, number) for number in copied]
    return rows


_ASKED: tuple[Kind, ...] = ("clean", "wrong", "long", "unusable")
_COPIED: tuple[Kind, ...] = ("exact_duplicate", "near_duplicate")


def _questions(
    skill: Skill, wordings: tuple[str, ...], taken: set[Problem], rng: random.Random
) -> Iterator[tuple[Problem, str]]:
    """Problems and how they are asked, never twice in the same words."""
    seen = set()
    while True:
        problem = skill.draw(rng)
        prompt = rng.choice(wordings).format(*problem)
        if problem not in taken and prompt not in seen:
            seen.add(prompt)
            yield problem, prompt


def _asked(skill: Skill, question: tuple[Problem, str], kind: Kind, rng: random.Random) -> Row:
    problem, prompt = question
    if kind == "long":
        prompt = FILLER + prompt
    answer = skill.wrong(problem, rng) if kind == "wrong" else skill.right(problem)
    messages = _conversation(prompt, answer)
    return Row(_broken(messages, rng) if kind == "unusable" else messages, kind)


def _broken(messages: tuple[Message, ...], rng: random.Random) -> tuple[Message, ...]:
    """Without an answer, in one of the ways that real data has."""
    question, answer = messages
    nothing: list[tuple[Message, ...]] = [
        (),
        (question,),
        (question, {**answer, "content": None}),
        (question, {**answer, "content": ""}),
    ]
    return rng.choice(nothing)


def _off_topic(count: int, rng: random.Random) -> list[Row]:
    rows = []
    for name in invent_names(count, rng):
        prompt, answer = rng.choice(CHATTER)
        rows.append(Row(_conversation(prompt.format(name), answer), "off_topic"))
    return rows


def _copy(original: Row, kind: Kind, number: int) -> Row:
    """The row again; a near copy lacks the question's last character, a full stop or a question mark."""
    question, answer = original.messages
    if kind == "near_duplicate":
        question = {**question, "content": str(question["content"])[:-1]}
    return Row((question, answer), kind, number)


def _conversation(prompt: str, answer: str) -> tuple[Message, ...]:
    return {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}


def _require_room(prompts: int, rows: int, name: str) -> None:
    if rows > prompts:
        raise BadSetting(
            f"fabricate.{name} is {rows}, but a subset has only {prompts} different prompts. "
            f"Set fabricate.{name} to {prompts} or less, or raise fabricate.facts."
        )
