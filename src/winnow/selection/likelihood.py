"""The strategies `perplexity_low`, `perplexity_mid`, `perplexity_high` and `ifd`: by losses under the base model.

`ifd` is the instruction-following difficulty of Cherry LLM (https://arxiv.org/abs/2308.12032): the loss of an answer
after what was asked, over its loss by itself. Near 1, the question hardly helps to say the answer.
"""

import numpy as np
import pandas as pd
import polars as pl

from winnow.selection.everything import ranked


def rank_by_perplexity(scores: pl.DataFrame, which: str) -> pd.DataFrame:
    """Rank the rows (example_id, loss) from the ``low`` or ``high`` end of perplexity, or from its ``mid`` outwards.

    Rows without a finite loss are not ranked.
    """
    rows = scores.filter(pl.col("loss").is_finite()).sort("loss", "example_id", descending=[which == "high", False])
    if which == "mid":
        apart = np.abs(np.arange(rows.height) - (rows.height - 1) / 2)
        rows = rows[np.argsort(apart, kind="stable")]
    return ranked(rows["example_id"].to_pandas(), score=rows["loss"].cast(pl.Float64).exp().to_pandas())


def rank_by_ifd(scores: pl.DataFrame) -> pd.DataFrame:
    """Rank the rows (example_id, ifd) from 1 downwards, then those above 1, whose question is of no help.

    The published code drops what is above 1; here it comes last, the nearest to 1 first, so that any budget is filled.
    """
    rows = scores.filter(pl.col("ifd").is_finite()).with_columns(
        above=pl.col("ifd") > 1, key=pl.when(pl.col("ifd") > 1).then(pl.col("ifd")).otherwise(-pl.col("ifd"))
    )
    rows = rows.sort("above", "key", "example_id")
    return ranked(rows["example_id"].to_pandas(), score=rows["ifd"].to_pandas())
