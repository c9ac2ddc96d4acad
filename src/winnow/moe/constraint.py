"""What keeps a router from throwing away everything, or nothing: a loss of the trash mass r of each token.

`ratio`: -(beta - 1) ln r - alpha ln(1 - r), least at (beta - 1) / (beta - 1 + alpha). `likelihood`: that of a
Beta(alpha, beta) distribution, -(alpha - 1) ln r - (beta - 1) ln(1 - r) + ln B(alpha, beta).
"""

import math

import torch

from winnow.params import ConstraintParams

CLOSEST = 1e-6


def constraint(mass: torch.Tensor, params: ConstraintParams) -> torch.Tensor:
    """The loss of each token [tokens]; the mass is kept away from 0 and 1."""
    r = mass.clamp(CLOSEST, 1 - CLOSEST)
    alpha, beta = params.alpha, params.beta
    if params.kind == "ratio":
        return -(beta - 1) * r.log() - alpha * (1 - r).log()
    constant = math.lgamma(alpha) + math.lgamma(beta) - math.lgamma(alpha + beta)
    return -(alpha - 1) * r.log() - (beta - 1) * (1 - r).log() + constant


def constrained_mass(logits: torch.Tensor, experts: int, top_k: int, params: ConstraintParams) -> torch.Tensor:
    """The trash mass that the constraint looks at [tokens]: all of it, or as the original had it that of the top-k.

    Where no trash row is among the top-k, the latter is 0 and has no gradient.
    """
    odds = torch.softmax(logits, dim=-1, dtype=torch.float)
    if params.mass == "softmax":
        return odds[:, experts:].sum(dim=-1)
    weights, index = odds.topk(top_k, dim=-1)
    return (weights * (index >= experts)).sum(dim=-1)


def least_mass(params: ConstraintParams) -> float:
    """The trash mass at which the constraint is least; at the edges where it has no minimum between them."""
    alpha, beta = params.alpha, params.beta
    if params.kind == "ratio":
        return max(0.0, beta - 1) / (max(0.0, beta - 1) + alpha)
    up, down = max(0.0, alpha - 1), max(0.0, beta - 1)
    return 0.5 if up + down == 0 else up / (up + down)
