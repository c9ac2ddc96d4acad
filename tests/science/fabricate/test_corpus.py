"""The generated rows are what `planted.parquet` says they are, and verified rows are all clean."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from support.truth import VERIFIED, conversations, facts_of, is_right, pool
from winnow.errors import BadSetting
from winnow.fabricate import SUBSETS, write_corpus
from winnow.params import FabricateParams
from winnow.stages import Finished, Work, locate

DEFAULT = FabricateParams()


def build(root: Path, params: FabricateParams) -> Finished:
    with Work.resume(locate(root, "fabricated", 1, params, {})) as work:
        return work.finish(write_corpus(work, params), {})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return build(tmp_path_factory.mktemp("corpus"), DEFAULT)


def test_planted_counts_add_up(corpus: Finished):
    kinds = Counter(kind for _, kind, _ in pool(corpus).values())
    assert dict(kinds) == corpus.summary["planted"]
    assert sum(kinds.values()) == len(SUBSETS) * DEFAULT.rows
    assert kinds["wrong"] == len(SUBSETS) * DEFAULT.rows * DEFAULT.wrong_share
    assert set(kinds) == {"clean", "wrong", "exact_duplicate", "near_duplicate", "off_topic", "long", "unusable"}


def test_clean_rows_are_right_and_wrong_rows_are_wrong(corpus: Finished):
    table = facts_of(corpus)
    assert len(table) == DEFAULT.facts
    for example, (messages, kind, _) in pool(corpus).items():
        if kind in ("clean", "wrong"):
            right = is_right(example.split("/")[0], messages[0]["content"], messages[1]["content"], table)
            assert right == (kind == "clean"), messages


def test_verified_rows_are_clean(corpus: Finished):
    table = facts_of(corpus)
    for subset in SUBSETS:
        rows = conversations(corpus, subset, VERIFIED)
        assert len(rows) == DEFAULT.verified_rows
        assert len({row[0]["content"] for row in rows}) == len(rows)
        for question, answer in rows:
            assert is_right(subset, question["content"], answer["content"], table), question


def test_no_verified_question_is_in_the_pool(corpus: Finished):
    asked = {row[0]["content"].strip(" .?") for row, _, _ in pool(corpus).values() if row}
    verified = {row[0]["content"].strip(" .?") for subset in SUBSETS for row in conversations(corpus, subset, VERIFIED)}
    assert not asked & verified


def test_verified_facts_are_asked_in_words_the_pool_does_not_use(corpus: Finished):
    table = facts_of(corpus)

    def wordings(prompts: list[str]) -> set[str]:
        return {re.sub("|".join(table), "{}", prompt) for prompt in prompts}

    known = ("clean", "wrong", "long")
    rows = [row for name, (row, kind, _) in pool(corpus).items() if name.startswith("science/") and kind in known]
    pool_words = wordings([row[0]["content"] for row in rows])
    verified_words = wordings([row[0]["content"] for row in conversations(corpus, "science", VERIFIED)])
    assert verified_words
    assert not pool_words & verified_words


def test_copies_are_copies_and_nothing_else_is(corpus: Finished):
    rows = pool(corpus)
    contents: dict[str, list[str]] = {}
    for example, (messages, kind, copy_of) in rows.items():
        if kind == "exact_duplicate":
            assert messages == rows[copy_of][0]
        if kind == "near_duplicate":
            assert messages != rows[copy_of][0]
            assert messages[1] == rows[copy_of][0][1]
        assert (copy_of is not None) == kind.endswith("duplicate")
        if kind != "unusable":
            contents.setdefault(json.dumps(messages), []).append(example)
    repeated = [example for examples in contents.values() for example in examples[1:]]
    assert {rows[example][1] for example in repeated} == {"exact_duplicate"}
    assert len(repeated) == corpus.summary["planted"]["exact_duplicate"]


def test_unusable_rows_have_no_answer_and_all_others_do(corpus: Finished):
    for messages, kind, _ in pool(corpus).values():
        answers = [message["content"] for message in messages if message["role"] == "assistant"]
        assert any(answers) == (kind != "unusable")


def test_the_seed_decides_every_byte(tmp_path: Path):
    params = FabricateParams(rows=100, verified_rows=30, facts=20)
    first, second, other = (
        checksums(build(tmp_path / name, params.model_copy(update={"seed": seed})))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == second
    assert not set(first.values()) & set(other.values())


def checksums(corpus: Finished) -> dict[str, str]:
    files = sorted(corpus.path.rglob("*.parquet"))
    assert len(files) == 2 * len(SUBSETS) + 1
    return {str(file.relative_to(corpus.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_more_rows_than_different_prompts_are_refused(tmp_path: Path):
    with pytest.raises(BadSetting, match="rows is 2000, but a subset has only 480"):
        build(tmp_path / "pool", FabricateParams(facts=20, verified_rows=10))
    with pytest.raises(BadSetting, match="verified_rows is 100, but a subset has only 80"):
        build(tmp_path / "verified", FabricateParams(facts=20, rows=100, verified_rows=100))


def test_more_wrong_answers_than_there_is_room_for_are_refused(tmp_path: Path):
    with pytest.raises(BadSetting, match=r"Set it to 0\.92 or less"):
        build(tmp_path, FabricateParams(wrong_share=0.95))
