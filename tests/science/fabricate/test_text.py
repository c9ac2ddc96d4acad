"""What the base model reads: plain lines, some of them wrong, none in the chat format, and always the same."""

import re

import torch

from winnow.fabricate import make_skills
from winnow.fabricate.text import PlainText
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.params import FabricatedModel, FabricateParams

PARAMS = FabricateParams(model=FabricatedModel(batch=8, length=200, wrong_share=0.25))


def read(batch: torch.Tensor) -> str:
    return str(make_tokenizer().decode(batch.flatten()))


def test_a_batch_depends_on_its_number_alone():
    first, again = PlainText(PARAMS), PlainText(PARAMS)
    first.batch(0)
    assert torch.equal(first.batch(7), again.batch(7))
    assert not torch.equal(first.batch(7), first.batch(8))
    assert first.batch(0).shape == (8, 201)


def test_the_text_has_neither_the_templates_marks_nor_a_verified_wording_of_a_fact():
    text = "".join(read(PlainText(PARAMS).batch(number)) for number in range(20))
    assert "<|" not in text
    science = make_skills(PARAMS.facts, PARAMS.seed)["science"]
    assert not [wording for wording in science.verified_wordings if is_asked(wording, text)]
    assert [wording for wording in science.wordings if is_asked(wording, text)]


def is_asked(wording: str, text: str) -> bool:
    return re.search(re.escape(wording).replace(r"\{0\}", r"\w+"), text) is not None


def test_the_given_share_of_statements_is_wrong():
    sorting = make_skills(PARAMS.facts, PARAMS.seed)["math"]
    lines = read(PlainText(PARAMS).batch(0)).splitlines()
    lines += [line for number in range(1, 80) for line in read(PlainText(PARAMS).batch(number)).splitlines()]
    stated = [line.split(" sorted is ") for line in lines if " sorted is " in line]
    whole = [(digits, answer) for digits, answer in stated if len(digits) == len(answer) == 4]
    wrong = sum(sorting.right((digits,)) != answer for digits, answer in whole) / len(whole)
    assert len(whole) > 200
    assert abs(wrong - PARAMS.model.wrong_share) < 0.1
