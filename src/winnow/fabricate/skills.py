"""Three skills whose right answers can be computed: sorting digits, reversing words, and a table of invented facts.

The base model reads statements, the pool asks in one set of wordings, verified rows in another. Sorting and reversal
are split by problem; a held-out fact is known to the pool, but asked in other words.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import perm

DIGITS = "123456789"
LETTERS = "abcdefgh"
WORD_LENGTH = 4
SUBSETS = ("math", "code", "science")

Problem = tuple[str, ...]


@dataclass(frozen=True)
class Skill:
    """Problems of one kind: how to draw one, answer it, answer it wrong, state it and ask it."""

    problems: int
    draw: Callable[[random.Random], Problem]
    right: Callable[[Problem], str]
    wrong: Callable[[Problem, random.Random], str]
    statements: tuple[str, ...]
    wordings: tuple[str, ...]
    verified_wordings: tuple[str, ...]
    split_by_problem: bool


def make_skills(facts: int, seed: int) -> dict[str, Skill]:
    """The skills of one fabricated world, by the subset that practises them."""
    return {"math": _sorting(), "code": _reversal(), "science": _facts(facts, random.Random(f"facts-{seed}"))}


def _sorting() -> Skill:
    def right(problem: Problem) -> str:
        return "".join(sorted(problem[0]))

    wordings = ("Sort {0}.", "Order the digits of {0}.", "Put {0} in order.", "Arrange {0} from low to high.")
    return Skill(
        problems=perm(len(DIGITS), WORD_LENGTH),
        draw=lambda rng: ("".join(rng.sample(DIGITS, WORD_LENGTH)),),
        right=right,
        wrong=lambda problem, rng: _swap(right(problem), rng),
        statements=("{0} sorted is {answer}", "The digits of {0} are {answer}"),
        wordings=wordings,
        verified_wordings=wordings,
        split_by_problem=True,
    )


def _reversal() -> Skill:
    def right(problem: Problem) -> str:
        return problem[0][::-1]

    wordings = ("Reverse {0}.", "Spell {0} backwards.", "Turn {0} around.", "Write {0} from the end.")
    return Skill(
        problems=perm(len(LETTERS), WORD_LENGTH),
        draw=lambda rng: ("".join(rng.sample(LETTERS, WORD_LENGTH)),),
        right=right,
        wrong=lambda problem, rng: _swap(right(problem), rng),
        statements=("{0} reversed is {answer}", "{0} backwards reads {answer}"),
        wordings=wordings,
        verified_wordings=wordings,
        split_by_problem=True,
    )


def _facts(count: int, rng: random.Random) -> Skill:
    """Places that exist nowhere, each with a crop that exists nowhere."""
    names = invent_names(2 * count, rng)
    table = {place.capitalize(): crop for place, crop in zip(names[:count], names[count:], strict=True)}
    places, crops = list(table), list(table.values())

    def wrong(problem: Problem, rng: random.Random) -> str:
        return rng.choice([crop for crop in crops if crop != table[problem[0]]])

    return Skill(
        problems=count,
        draw=lambda rng: (rng.choice(places),),
        right=lambda problem: table[problem[0]],
        wrong=wrong,
        statements=("{0} grows {answer}", "The crop of {0} is {answer}", "In {0} they plant {answer}"),
        wordings=(
            "What does {0} grow?",
            "Name the crop of {0}.",
            "{0} grows what?",
            "Which crop has {0}?",
            "Crop of {0}?",
            "What is grown in {0}?",
            "Tell me the crop of {0}.",
            "In {0} they grow what?",
            "{0}: its crop?",
            "Say what {0} grows.",
            "The fields of {0} hold?",
            "Which plant feeds {0}?",
            "What do they grow in {0}?",
            "What is {0}'s crop?",
            "Which crop does {0} have?",
            "What is the crop of {0}?",
            "{0}'s crop is what?",
            "What grows in {0}?",
            "Name {0}'s crop.",
            "Say what grows in {0}.",
            "Tell me what {0} grows.",
            "What crop is in {0}?",
            "In {0}, which crop?",
            "What plant does {0} grow?",
        ),
        verified_wordings=(
            "What crop does {0} grow?",
            "Name what {0} grows.",
            "Which crop is grown in {0}?",
            "Say the crop of {0}.",
        ),
        split_by_problem=False,
    )


def invent_names(count: int, rng: random.Random) -> list[str]:
    """Distinct words of two syllables that mean nothing."""
    names: dict[str, None] = {}
    while len(names) < count:
        syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2)]
        names["".join(syllables)] = None
    return list(names)


def _swap(answer: str, rng: random.Random) -> str:
    """Two characters changed places; all of them differ, so this is never the right answer."""
    characters = list(answer)
    first, second = rng.sample(range(len(characters)), 2)
    characters[first], characters[second] = characters[second], characters[first]
    return "".join(characters)
