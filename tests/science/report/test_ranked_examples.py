"""Which rows are shown of an arm's ranking."""

import numpy as np
import pandas as pd
import polars as pl

from winnow.report.compared import EXAMPLES
from winnow.report.ranked_examples import EACH_END, LONGEST, ranked_examples, rows_by_subset

ROWS = 100


def train(rows: int = ROWS, content: str = "question") -> pl.LazyFrame:
    messages = [
        [{"role": "user", "content": f"{content} {row}"}, {"role": "assistant", "content": f"answer {row}"}]
        for row in range(rows)
    ]
    names = [f"a:{row}" for row in range(rows)]
    subset = ["math" if row % 2 else "code" for row in range(rows)]
    return pl.LazyFrame({"example_id": names, "subset": subset, "messages": messages})


def weights(rows: int = ROWS, seeds: int = 2) -> pd.DataFrame:
    """Row 0 is the best; later seeds rank the other way round."""
    one = pd.DataFrame({"example_id": [f"a:{row}" for row in range(rows)], "score": -np.arange(rows) / 10.0})
    tables = [one.assign(rank=range(rows) if not seed else range(rows)[::-1], seed=seed) for seed in range(seeds)]
    return pd.concat(tables, ignore_index=True).sample(frac=1, random_state=0)


def mix(*taken: tuple[int, int, int]) -> pd.DataFrame:
    return pd.DataFrame([{"example_id": f"a:{row}", "multiplicity": times, "seed": seed} for row, times, seed in taken])


def test_both_ends_of_the_first_seeds_ranking_with_their_text():
    found = ranked_examples(weights(), mix((0, 2, 0), (1, 1, 0), (99, 5, 1)), train())
    assert list(found.columns) == EXAMPLES
    assert list(found["rank"]) == [*range(1, EACH_END + 1), *range(ROWS - EACH_END + 1, ROWS + 1)]
    assert list(found["end"]) == ["top"] * EACH_END + ["bottom"] * EACH_END
    assert list(found["times"][:3]) == [2, 1, 0]
    assert found["times"].iloc[-1] == 0
    assert found["text"].iloc[0] == "user: question 0\n\nassistant: answer 0"
    assert found["score"].iloc[-1] == -9.9


def test_a_short_ranking_is_shown_once():
    found = ranked_examples(weights(rows=EACH_END + 3), mix((0, 1, 0)), train())
    assert list(found["rank"]) == list(range(1, EACH_END + 4))
    assert list(found["end"]) == ["top"] * EACH_END + ["bottom"] * 3


def test_a_long_question_leaves_room_for_its_answer():
    found = ranked_examples(weights(rows=1), mix((0, 1, 0)), train(1, content="long " * 10_000))
    assert len(found["text"][0]) < LONGEST + 100
    assert found["text"][0].endswith("assistant: answer 0")


def test_rows_by_subset_count_repeats_and_are_means_over_seeds():
    found = rows_by_subset(mix((0, 3, 0), (2, 1, 0), (1, 2, 1)), train())
    assert found == {"selection/rows/code": 2.0, "selection/rows/math": 1.0}
    assert rows_by_subset(mix((0, 1, 0)), train())["selection/rows/math"] == 0.0
