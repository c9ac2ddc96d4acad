"""Figures of sampled answers, held to counts by hand; and that the answers are those of the model itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from support.models import make_model, make_rows
from winnow.errors import BadInput
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.records.prompts import Prompt
from winnow.training.watch import Watch, answer, distinct, figures, repetition, validation_losses


def test_distinct_2_is_the_share_of_different_pairs():
    assert distinct([1, 2, 1, 2, 1], 2) == 2 / 4
    assert distinct([1, 2, 3, 4], 2) == 1.0
    assert distinct([1], 2) == 1.0


def test_repetition_is_the_share_of_runs_of_four_that_came_before():
    assert repetition([1, 2, 3, 4, 5, 6]) == 0.0
    assert repetition([7] * 8) == 1 - 1 / 5
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == 1 - 4 / 5


def told(group: str, text: str, correct: bool | None, repeated: float = 0.0) -> dict[str, object]:
    return {"group": group, "answer": text, "correct": correct, "repetition": repeated, "distinct_2": 1 - repeated}


def test_same_answer_counts_prompts_that_share_theirs():
    answers = [told("a", "I am W", None, 0.5), told("a", "I am W", None), told("b", "4", True), told("b", "5", False)]
    assert figures(answers) == {"repetition": 0.125, "distinct_2": 0.875, "same_answer": 0.5, "correct/b": 0.5}
    assert figures([]) == {}


def test_answers_are_the_likeliest_tokens_up_to_the_end_of_the_turn():
    model = make_model("qwen2").eval()
    contexts = [[5, 6, 7], [9, 3, 11, 12, 4]]
    found = answer(model, contexts, [2], 0, 8)
    for context, ids in zip(contexts, found, strict=True):
        wanted: list[int] = []
        while len(wanted) < 8:
            token = int(model(torch.tensor([context + wanted])).logits[0, -1].argmax())
            if token == 2:
                break
            wanted.append(token)
        assert ids == wanted


def test_validation_losses_are_those_of_each_row_by_itself():
    model, rows = make_model("gpt2").eval(), make_rows(7)
    with torch.no_grad():
        found = validation_losses(model, rows, 0)
        for row, loss in zip(rows, found, strict=True):
            logits = model(torch.tensor(row.input_ids[None].astype("int64"))).logits[0].log_softmax(-1)
            places = [place for place in range(1, len(row.input_ids)) if row.supervised[place]]
            by_hand = -sum(float(logits[place - 1, row.input_ids[place]]) for place in places) / len(places)
            assert loss == pytest.approx(by_hand, abs=1e-4)


def test_an_answer_is_right_where_it_is_what_was_expected(tmp_path: Path):
    tokenizer = make_tokenizer()
    watch = Watch(tmp_path, tokenizer, None, [], [], None, 8)
    prompt = Prompt("skills", [{"role": "user", "content": "Reverse ab."}], expected="ba")
    for text, correct in (("ba", True), (" ba ", True), ("ab", False), ("", False)):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert watch._told(prompt, ids)["correct"] is correct
    assert watch._told(replace(prompt, expected=None), [])["correct"] is None


def test_a_prompt_that_the_template_refuses_is_named(tmp_path: Path):
    refusing = "{{ raise_exception('system first') }}"
    watch = Watch(tmp_path, make_tokenizer(), refusing, [], [Prompt("p", [{"role": "user", "content": "Hi"}])], None, 8)
    with pytest.raises(BadInput, match=r"'Hi' of `finetune.samples` cannot be asked: the chat template refuses it"):
        watch._context(watch.prompts[0])
