"""Planned batches hold every row once, within their limits."""

from hypothesis import given
from hypothesis import strategies as st

from winnow.batching import planned_batches


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 8), st.integers(1, 120))
def test_every_row_is_in_one_batch_within_the_limits(lengths: list[int], rows: int, tokens: int):
    batches = planned_batches(lengths, rows, tokens)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[place] for place in batch)
        assert len(batch) <= rows
        assert padded <= tokens or len(batch) == 1


def test_rows_of_like_length_share_a_batch_longest_first():
    assert planned_batches([3, 10, 2, 9, 100], rows=2, tokens=20) == [[4], [1, 3], [0, 2]]


@given(st.lists(st.integers(1, 50), min_size=2, max_size=40), st.integers(2, 8))
def test_a_batch_is_closed_only_when_no_other_row_fits(lengths: list[int], rows: int):
    batches = planned_batches(lengths, rows, 100)
    for batch in batches[:-1]:
        assert len(batch) == rows or (len(batch) + 1) * lengths[batch[0]] > 100
