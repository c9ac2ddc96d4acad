"""Selections held to what was planted: are clean rows ranked first, how many are chosen, which copies are kept?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from winnow.report.separation import CLEAN, FEWEST, mean_area
from winnow.verification.placed import Placed
from winnow.verification.seeds import over_seeds

COPIES = {"exact": "exact_duplicate", "near": "near_duplicate"}


def planted_table(arms: Mapping[str, Placed], truth: pl.DataFrame) -> pd.DataFrame:
    """A row for each arm; ``truth`` has kind and copy_of of each row of the pool, in the order of example_id.

    The area under the ROC curve is of the ranking itself, rows after the budget included: ``auc/<kind>`` is the chance
    that a clean row is ranked before one of that kind, with its 95 % interval ``auc_low/``, ``auc_high/``.
    """
    kinds = truth["kind"].to_numpy()
    copied = _copied(truth)
    return pd.DataFrame([{"arm": name, **_of_arm(placed, kinds, copied)} for name, placed in arms.items()])


def _of_arm(placed: Placed, kinds: np.ndarray, copied: np.ndarray) -> dict[str, Any]:
    rows = placed.times.sum(axis=1)
    precision = over_seeds((placed.times * (kinds == CLEAN)).sum(axis=1) / rows)
    found: dict[str, Any] = {"seeds": len(rows), "rows": float(rows.mean())}
    found |= {"precision": precision.mean, "precision_ci": precision.half_width}
    found |= {"pool_precision": float((kinds == CLEAN).mean())}
    for name, kind in COPIES.items():
        found |= {f"{name}_{what}": value for what, value in _kept(placed, kinds == kind, copied).items()}
    for kind in sorted(set(kinds) - {CLEAN}):
        found |= _area(placed, kinds, kind)
    return found


def _kept(placed: Placed, is_copy: np.ndarray, copied: np.ndarray) -> dict[str, float]:
    """Chosen copies, which share that is of all, and those whose original is chosen too; means over seeds."""
    places = np.flatnonzero(is_copy)
    taken = placed.chosen[:, places]
    # The original of a copy may be a row that no tokenizer can use.
    original = copied[places]
    both = taken & placed.chosen[:, original] & (original >= 0)
    copies = float(taken.sum(axis=1).mean())
    share = copies / len(places) if len(places) else float("nan")
    return {"copies": copies, "kept": share, "pairs": float(both.sum(axis=1).mean())}


def _copied(truth: pl.DataFrame) -> np.ndarray:
    """The place of the row that each row repeats; -1 where there is none."""
    return np.asarray(pd.Index(truth["example_id"].to_list()).get_indexer(truth["copy_of"].to_list()))


def _area(placed: Placed, kinds: np.ndarray, kind: str) -> dict[str, float]:
    clean, planted = np.flatnonzero(kinds == CLEAN), np.flatnonzero(kinds == kind)
    if min(len(clean), len(planted)) < FEWEST:
        return {}
    found = mean_area([(-ranks[clean], -ranks[planted]) for ranks in placed.ranks])
    return {f"auc/{kind}": found.value, f"auc_low/{kind}": found.low, f"auc_high/{kind}": found.high}
