"""Answers of models that differ by their seeds."""

import numpy as np
from scipy import special


def arm(rng: np.random.Generator, logits: np.ndarray, seeds: int, seed_sd: float) -> np.ndarray:
    """Right or wrong [seeds, rows]: each row has a logit of its own, and each seed moves them all."""
    shifted = logits + seed_sd * rng.normal(size=(seeds, 1))
    return (rng.random(shifted.shape) < special.expit(shifted)).astype(float)
