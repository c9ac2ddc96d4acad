"""Generated conversations with planted truth, and a tiny base model that has something to learn from them."""

from winnow.fabricate.corpus import write_corpus
from winnow.fabricate.skills import SUBSETS, Skill, make_skills

__all__ = ["SUBSETS", "Skill", "make_skills", "write_corpus"]
