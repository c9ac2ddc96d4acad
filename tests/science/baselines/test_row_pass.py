"""What answers are alone, what stands before them, and where a row lies: by hand."""

import numpy as np
import pytest
import torch

from winnow.baselines.groups import Subtasks, labelled
from winnow.baselines.row_pass import _weighted_mean, answers_alone
from winnow.errors import NothingToTrainOn
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.records.answer_header import answer_header
from winnow.records.template import render
from winnow.records.tokens import TokenRow


def row_of(ids: list[int], mask: str, name: str = "a") -> TokenRow:
    return TokenRow(name, np.array(ids, np.int32), np.array([letter == "x" for letter in mask]))


def test_the_embedding_is_the_mean_with_weights_by_place_and_padding_has_none():
    """Three tokens weigh 1/6, 2/6, 3/6; the shorter row's two 1/3 and 2/3."""
    hidden = torch.tensor([[[6.0, 0.0], [0.0, 6.0], [12.0, 0.0]], [[3.0, 3.0], [0.0, 6.0], [99.0, 99.0]]])
    rows = [row_of([1, 2, 3], "..x"), row_of([1, 2], ".x")]
    assert _weighted_mean(rows, hidden).tolist() == [pytest.approx([7.0, 2.0]), pytest.approx([1.0, 5.0])]


def test_answers_alone_keep_their_tokens_and_each_its_header():
    row = row_of([1, 2, 3, 4, 5, 6, 7], ".xx..xx")
    alone = answers_alone(row, np.array([8, 9], np.int32))
    assert alone.input_ids.tolist() == [8, 9, 2, 3, 8, 9, 6, 7]
    assert alone.supervised.tolist() == [False, False, True, True] * 2


@pytest.mark.parametrize("template", [None, "tulu", "llama3"])
def test_the_header_is_what_the_template_writes_before_an_answer(template: str | None):
    from winnow.records.chat_template import template_text

    tokenizer = make_tokenizer()
    text = template_text(template)
    header = answer_header(tokenizer, text)
    assert tokenizer.decode(header) in {"<|im_start|>assistant\n", "<|assistant|>\n"} or template == "llama3"
    turns = [{"role": "user", "content": "Sort 21."}, {"role": "assistant", "content": "12"}]
    rendered = render(turns, tokenizer, text)
    start = int(np.flatnonzero(rendered.supervised)[0])
    assert rendered.input_ids[start - len(header) : start].tolist() == header.tolist()


def test_a_template_without_a_header_gives_the_token_that_begins_a_text():
    tokenizer = make_tokenizer()
    bare = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    assert answer_header(tokenizer, bare).tolist() == [tokenizer.eos_token_id]
    tokenizer.bos_token = "<|endoftext|>"
    assert answer_header(tokenizer, bare).tolist() == [tokenizer.bos_token_id]
    assert answer_header(tokenizer, None).tolist()[0] == tokenizer.bos_token_id


def test_the_best_query_of_each_subtask_counts():
    subtasks = Subtasks(["t/b", "t/a", "t/b", "u/a"])
    assert subtasks.names == ["t/a", "t/b", "u/a"]
    scores = np.array([[0.5, 0.1, 0.9, 0.3], [0.0, 0.2, -1.0, 0.4]])
    best = subtasks.best(scores[:, subtasks.order])
    assert best.tolist() == [pytest.approx([0.1, 0.9, 0.3]), pytest.approx([0.2, 0.0, 0.4])]


def test_a_subtask_that_the_tokenizer_leaves_nothing_of_is_named():
    with pytest.raises(NothingToTrainOn, match="'t/b' can be used"):
        labelled(["x"], {"x": "t/a", "y": "t/b"})
    assert labelled(["y", "x"], {"x": "t/a", "y": "t/b", "z": "t/a"}) == ["t/b", "t/a"]
