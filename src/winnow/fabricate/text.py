"""The plain text that the base model learns from: statements and transcripts, without the chat template's marks."""

import random

import numpy as np
import torch

from winnow.fabricate.skills import Skill, make_skills
from winnow.fabricate.tokenizer import byte_id
from winnow.params import FabricateParams

TRANSCRIPTS = 0.5


class PlainText:
    """Endless lines in packed rows; batch n depends on the seed and on n alone, so training resumes anywhere."""

    def __init__(self, params: FabricateParams) -> None:
        self.seed = params.seed
        self.model = params.model
        self.skills = list(make_skills(params.facts, params.seed).values())

    def batch(self, number: int) -> torch.Tensor:
        """Token ids [batch, length + 1]."""
        rng = random.Random(f"text-{self.seed}-{number}")
        shape = (self.model.batch, self.model.length + 1)
        wanted = shape[0] * shape[1]
        lines: list[str] = []
        length = 0
        while length < wanted:
            lines.append(self._line(rng))
            length += len(lines[-1])
        codes = np.frombuffer("".join(lines)[:wanted].encode("ascii"), dtype=np.uint8)
        return torch.from_numpy(codes.astype(np.int64) + byte_id(0)).view(shape)

    def _line(self, rng: random.Random) -> str:
        skill: Skill = rng.choice(self.skills)
        problem = skill.draw(rng)
        wrong = rng.random() < self.model.wrong_share
        answer = skill.wrong(problem, rng) if wrong else skill.right(problem)
        if rng.random() < TRANSCRIPTS:
            return f"user\n{rng.choice(skill.wordings).format(*problem)}\nassistant\n{answer}\n"
        return rng.choice(skill.statements).format(*problem, answer=answer) + "\n"
