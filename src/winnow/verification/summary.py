"""One row for each arm, with what every check found; and the same for the tracker."""

import math

import pandas as pd

CONTROL = "random"


def verification_table(
    overlap: pd.DataFrame, near_duplicates: pd.DataFrame, contamination: pd.DataFrame, planted: pd.DataFrame | None
) -> pd.DataFrame:
    """The main figure of each check, by arm; without planted truth its columns are not there."""
    arms = near_duplicates[["arm"]]
    if planted is not None:
        columns = ["arm", "seeds", "rows", "precision", "precision_ci", "pool_precision"]
        copies = (planted["exact_copies"] + planted["near_copies"]) / planted["rows"]
        arms = arms.merge(planted[columns].assign(copies=copies), on="arm")
    table = arms.merge(near_duplicates, on="arm")
    held_out = contamination[(contamination["of"] == "arm") & (contamination["against"] == "held_out")]
    table = table.merge(held_out[["name", "any_share"]].set_axis(["arm", "contaminated"], axis=1), on="arm")
    pairs = overlap.loc[overlap["arm"] == CONTROL, ["other", "jaccard", "by_chance"]]
    return table.merge(pairs.set_axis(["arm", "overlap_with_random", "by_chance"], axis=1), on="arm", how="left")


def verification_metrics(verification: pd.DataFrame, planted: pd.DataFrame | None) -> dict[str, float]:
    """`verify/<what>/<arm>`, and `verify/auc/<arm>/<kind>`; what is not known is left out."""
    names = ("precision", "near_duplicates", "contaminated", "overlap_with_random")
    found = {
        f"verify/{name}/{row['arm']}": float(row[name])
        for row in verification.to_dict(orient="records")
        for name in names
        if name in row
    }
    for row in [] if planted is None else planted.to_dict(orient="records"):
        columns = [name for name in map(str, row) if name.startswith("auc/")]
        found |= {f"verify/auc/{row['arm']}/{name.removeprefix('auc/')}": float(row[name]) for name in columns}
    return {name: value for name, value in found.items() if math.isfinite(value)}
