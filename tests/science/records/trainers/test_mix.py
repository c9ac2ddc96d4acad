"""Which rows a mix has, and of which cluster each is."""

import pandas as pd
import polars as pl
import pytest

from support.mixes import pool_of
from winnow.errors import BadSetting, StaleOutput
from winnow.records.trainers import read_mix
from winnow.records.trainers.mix import UNGROUPED

MIX = pd.DataFrame(
    {"example_id": ["m/a:0", "w/a:0", "w/a:0"], "multiplicity": [2, 1, 3], "seed": [4, 4, 7]},
)


@pytest.mark.parametrize(("seed", "expected"), [(None, {"m/a:0": 2, "w/a:0": 1}), (7, {"w/a:0": 3})])
def test_the_first_seed_is_taken_unless_another_is_named(seed: int | None, expected: dict[str, int]):
    mix = read_mix("less", MIX, seed, pool_of(), None)
    assert dict(mix.rows.select("example_id", "multiplicity").iter_rows()) == expected
    assert mix.seed == (seed or 4)


def test_a_seed_that_the_mix_does_not_have_is_refused():
    with pytest.raises(BadSetting, match=r"--seed is 5, but the mix of 'less' has the seeds 4, 7\."):
        read_mix("less", MIX, 5, pool_of(), None)


def test_without_groups_the_subsets_are_the_clusters():
    mix = read_mix("less", MIX, None, pool_of(), None)
    assert list(mix.rows["cluster"]) == ["m", "w"]
    assert mix.pool == {"m": 4, "t": 1, "w": 6, "z": 1}


def test_rows_that_the_groups_leave_out_are_a_cluster_of_their_own():
    groups = pl.DataFrame({"example_id": ["m/a:0", "gone"], "cluster": ["sums", "sums"]})
    mix = read_mix("less", MIX, None, pool_of(), groups)
    assert list(mix.rows["cluster"]) == ["sums", UNGROUPED]
    assert mix.pool == {"sums": 1, UNGROUPED: 11}


def test_a_mix_of_other_data_is_refused():
    mix = pd.DataFrame({"example_id": ["m/a:0", "old:1"], "multiplicity": [1, 1], "seed": [0, 0]})
    with pytest.raises(StaleOutput, match=r"1 rows that the data no longer have, the first is 'old:1'.*--pipeline s2l"):
        read_mix("s2l", mix, None, pool_of(), None)
