"""BM25 is Okapi's formula, whatever the blocks; words are found in any script."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.baselines.bm25 import Bm25, Counts, count, vocabulary
from winnow.baselines.words import words, words_of

TEXTS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=12), min_size=1, max_size=12)
QUERIES = st.lists(st.lists(st.sampled_from("abcdexyz"), min_size=1, max_size=6), min_size=1, max_size=4)


def slow(query: list[str], row: list[str], rows: list[list[str]], k1: float, b: float) -> float:
    """A word at a time, from the formula; divided by what it cannot exceed."""
    mean = max(1.0, sum(map(len, rows)) / len(rows))
    total, most = 0.0, 0.0
    for word in query:
        having = sum(word in other for other in rows)
        idf = math.log(1 + (len(rows) - having + 0.5) / (having + 0.5))
        times = row.count(word)
        total += idf * times * (k1 + 1) / (times + k1 * (1 - b + b * len(row) / mean)) if times else 0.0
        most += idf * (k1 + 1)
    return total / most


def scored(queries: list[list[str]], parts: list[list[list[str]]], k1: float = 1.5, b: float = 0.75) -> np.ndarray:
    """As the worker does it: parts are counted by themselves, and scored by the sums over all."""
    places = vocabulary(queries)
    counted = [count(part, places) for part in parts]
    having = np.sum([part.texts_with for part in counted], axis=0)
    texts, sizes = sum(map(len, parts)), sum(int(part.lengths.sum()) for part in counted)
    bm25 = Bm25(count(queries, places), texts, having, sizes, k1, b)
    return np.concatenate([bm25.scores(part) for part in counted])


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, queries=QUERIES, k1=st.sampled_from([0.0, 0.9, 1.5]), b=st.sampled_from([0.0, 0.4, 0.75, 1.0]))
def test_scores_are_those_of_the_slow_formula_however_the_rows_are_cut(
    texts: list[list[str]], queries: list[list[str]], k1: float, b: float
):
    expected = [[slow(query, row, texts, k1, b) for query in queries] for row in texts]
    for parts in ([texts], [[row] for row in texts]):
        found = scored(queries, parts, k1, b)
        assert found == pytest.approx(np.array(expected), abs=1e-9)
        assert (found >= 0).all()
        assert (found < 1).all() or k1 == 0


def test_a_long_query_has_no_advantage():
    texts = [["sort", "digits"], ["rare", "words", "here"], ["other", "things"]]
    one, twice = scored([["sort", "digits"], ["sort", "digits"] * 5], [texts]).T
    assert twice == pytest.approx(one)


def test_a_slice_of_counts_is_scored_alike():
    queries, texts = [["a", "b"]], [["a"], ["b", "b", "c"], ["c"]]
    places = vocabulary(queries)
    counts = count(texts, places)
    bm25 = Bm25(count(queries, places), 3, counts.texts_with, 5)
    assert bm25.scores(Counts(counts.times[1:], counts.lengths[1:])) == pytest.approx(bm25.scores(counts)[1:])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sort 5913, please: don't wait_here!", ["sort", "5913", "please", "don", "t", "wait_here"]),
        ("Größe ÉTÉ naïve", ["größe", "été", "naïve"]),
        ("हिन्दी में लिखो", ["हिन्दी", "में", "लिखो"]),
        ("数学问题", ["数学", "学问", "问题"]),
        ("用Python写一个", ["用", "python", "写一", "一个"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("สวัสดี", ["สว", "วั", "ัส", "สด", "ดี"]),
        ("수학 문제", ["수학", "문제"]),
        ("", []),
        ("?!", []),
    ],
)
def test_words_of_any_script(text: str, expected: list[str]):
    assert words(text) == expected


def test_questions_and_answers_count_alike():
    turns = [{"role": "user", "content": "Sort it."}, {"role": "assistant", "content": "It is sorted"}]
    assert words_of(turns) == ["sort", "it", "it", "is", "sorted"]
