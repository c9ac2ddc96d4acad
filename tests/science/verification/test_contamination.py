"""What counts as overlap of a training row with a held-out row, on conversations written by hand."""

from collections.abc import Iterable

import numpy as np
import polars as pl
import pytest

from winnow.verification.contaminated import contamination_examples, contamination_table
from winnow.verification.contamination import HeldOut, overlaps_of
from winnow.verification.placed import Placed

LONG = "Nine grey geese fly over the old mill while rain falls on the quiet river"
CHAT = tuple[str, str] | tuple[str, str, str]


def rows(*chats: CHAT) -> list[dict[str, object]]:
    found = []
    for number, chat in enumerate(chats):
        roles = ("user", "assistant") if len(chat) == 2 else ("system", "user", "assistant")
        messages = [{"role": role, "content": text} for role, text in zip(roles, chat, strict=True)]
        found.append({"example_id": f"r:{number}", "messages": messages})
    return found


def overlaps(train: Iterable[CHAT], held_out: Iterable[CHAT], ngram: int = 5) -> list[dict[str, str | None]]:
    numbers: dict[str, int] = {}
    asked = {"held_out": HeldOut(rows(*held_out), ngram, numbers)}
    return overlaps_of(rows(*train), asked, numbers).to_dicts()


def test_equal_text_is_blind_to_case_width_and_white_space_and_to_nothing_else():
    asked = [("Is 2 + 2 four?", "Yes, it is.")]
    (same,) = overlaps([("IS  2 + \uff12 four? ", "Yes,\nit is.")], asked)
    assert (same["conversation"], same["question"]) == ("r:0", "r:0")
    (other,) = overlaps([("Is 2 + 2 four?", "No.")], asked)
    assert (other["conversation"], other["question"], other["ngram"]) == (None, "r:0", None)
    assert other["shared"] == "Is 2 + 2 four?"
    assert not overlaps([("Is 2 - 2 four?", "No, not at all.")], asked)
    assert not overlaps([("What is x2?", "A name.")], [("What is x\u00b2?", "A square.")])
    assert not overlaps([("What is 1/2?", "A half.")], [("What is \u00bd?", "A half, too.")])
    (accent,) = overlaps([("Cafe\u0301?", "No.")], [("Caf\u00e9?", "Yes.")])
    assert accent["question"] == "r:0"


def test_so_many_words_in_a_row_are_an_overlap_and_one_fewer_is_none():
    asked = [("What do geese do?", LONG)]
    (found,) = overlaps([("Tell me.", "They say GEESE fly, over the: old barn")], asked)
    assert (found["question"], found["ngram"], found["shared"]) == (None, "r:0", "geese fly over the old")
    assert not overlaps([("Tell me.", "They say geese fly over the new barn")], asked), "four words"
    assert not overlaps([("Tell me.", "geese over fly the old mill")], asked), "another order"
    assert not overlaps([("Fly over", "the old mill")], asked, ngram=6), "a training row that is too short"


def test_a_run_goes_on_from_the_question_into_the_answer():
    (found,) = overlaps([("grey geese fly", "over the moon")], [("nine grey geese fly", "over the old mill")])
    assert found["shared"] == "grey geese fly over the"


def test_a_short_held_out_row_counts_as_a_whole():
    asked = [("Sort 312.", "One two three")]
    (found,) = overlaps([("Please sort 312: one", "two three, four")], asked)
    assert found["shared"] == "sort 312 one two three"
    (found,) = overlaps([("Please sort 312: one", "two three, four")], asked, ngram=13)
    assert found["ngram"] == "r:0"
    assert not overlaps([("Please sort 312: one", "two")], asked, ngram=13)


def test_a_row_of_two_words_is_compared_as_equal_text_alone():
    assert not overlaps([("Say no more, Yes", "no")], [("No?", "More")])
    (found,) = overlaps([("no?", "never")], [("No?", "More")])
    assert found["question"] == "r:0"


def test_the_longest_run_is_told_first_whatever_the_order_of_rows():
    asked = [("Old mill", "while rain"), ("What?", LONG)]
    (found,) = overlaps([("So", "the old mill while rain falls on")], asked)
    assert (found["ngram"], found["shared"]) == ("r:1", "the old mill while rain")


def test_a_system_message_makes_no_rows_alike():
    system = "You are a helpful assistant who answers in one short and friendly sentence"
    assert not overlaps([(system, "Where to?", "Home.")], [(system, "Who are you?", "A friend.")])
    (found,) = overlaps([(system, "Who are you?", "Nobody.")], [("Who are you?", "A friend.")])
    assert found["question"] == "r:0"


def test_runs_with_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "winnow.verification.contamination.run_hashes",
        lambda ids, width: np.zeros(len(ids) - width + 1, np.uint64),
    )
    asked = [("one two three", "four five six")]
    assert not overlaps([("six five four", "three two one")], asked)
    assert overlaps([("one two three", "four five")], asked)[0]["ngram"] == "r:0"


def test_scripts_without_spaces_are_compared_by_pairs_of_characters():
    asked = [("北京是哪个国家的首都", "中国")]
    assert overlaps([("请问北京是哪个国家", "的首都")], asked)[0]["ngram"] == "r:0"


def test_held_out_rows_say_how_they_are_compared():
    split = HeldOut(rows(("a b", "c"), ("a", "b"), ("x", LONG)), 5, {})
    assert (len(split.ids), split.short, split.too_short) == (3, 1, 1)


def test_counts_are_of_the_pool_its_subsets_and_of_what_an_arm_trains_on():
    pool = pl.DataFrame({"example_id": ["a:0", "a:1", "b:0", "b:1"], "subset": ["a", "a", "b", "b"]})
    found = pl.DataFrame(
        {
            "example_id": ["a:0", "b:0", "b:0"],
            "against": ["held_out", "held_out", "validation"],
            "conversation": ["h:0", None, None],
            "question": ["h:0", None, None],
            "ngram": [None, "h:1", "v:1"],
            "shared": ["x", "y", "z"],
        }
    )
    # The row b:1 is none that a tokenizer can use.
    arm = Placed(np.zeros((2, 3), int), np.array([[3, 0, 1], [0, 4, 0]]))
    table = contamination_table(found, pool, ["a:0", "a:1", "b:0"], {"arm": arm}, ("held_out", "validation"))
    table = table.set_index(["against", "of", "name"])
    assert table.loc[("held_out", "pool", "all"), ["question", "ngram", "any_share"]].tolist() == [1, 1, 0.5]
    assert table.loc[("held_out", "subset", "b"), ["question", "ngram", "any_share"]].tolist() == [0, 1, 0.5]
    mine = table.loc[("held_out", "arm", "arm")]
    assert mine[["rows", "conversation", "ngram", "any", "any_share"]].tolist() == [4, 1.5, 0.5, 2, 0.5]
    assert table.loc[("validation", "arm", "arm"), "any_share"] == pytest.approx(0.5 / 4)
    shown = contamination_examples(found)
    assert shown[["against", "kind", "train_id", "held_out_id"]].to_numpy().tolist() == [
        ["held_out", "conversation", "a:0", "h:0"],
        ["held_out", "ngram", "b:0", "h:1"],
        ["validation", "ngram", "b:0", "v:1"],
    ]
