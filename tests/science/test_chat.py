"""Talking: what was said before is in the prompt, answers end where training ended them, and pieces are the whole."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from support import templates as made
from support.talker import TALK, TULU, make_talker
from winnow.chat import Chat, end_of_turn
from winnow.errors import BadSetting
from winnow.records.chat_template import NAMED
from winnow.records.template import render
from winnow.records.tokenizer import load_tokenizer
from winnow.training.model import load_model


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model waits for its threads most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    base = make_talker(tmp_path_factory.mktemp("talker"))
    return load_model(base, "fp32", "cpu"), load_tokenizer(base)


def test_the_conversation_is_answered_as_it_was_learnt_piece_by_piece(parts: tuple[Any, Any]):
    chat = Chat(*parts, template=TULU)
    for question, answer in TALK:
        pieces: list[str] = []
        assert chat.say(question, pieces.append) == answer
        assert "".join(pieces).strip() == answer
        assert len(pieces) > 1
    assert [turn["content"] for turn in chat.turns] == [text for pair in TALK for text in pair]


def test_the_prompt_is_what_training_saw_before_the_answer(parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch):
    model, tokenizer = parts
    seen: list[list[int]] = []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda **o: [seen.append(o["input_ids"][0].tolist()), generate(**o)])
    chat = Chat(model, tokenizer, template=TULU, system="Be brief.")
    chat.say(TALK[0][0], lambda _: None)
    chat.say(TALK[1][0], lambda _: None)
    whole = render([*chat.turns], tokenizer, TULU)
    starts = [i for i in range(1, len(whole.supervised)) if whole.supervised[i] and not whole.supervised[i - 1]]
    assert seen == [whole.input_ids[:start].tolist() for start in starts]
    chat.clear()
    assert chat.turns == [{"role": "system", "content": "Be brief."}]
    chat.say(TALK[0][0], lambda _: None)
    assert seen[2] == seen[0]


def test_an_interrupted_answer_is_not_remembered(parts: tuple[Any, Any]):
    chat = Chat(*parts, template=TULU)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat.say("Hi", interrupt)
    assert chat.turns == []
    assert chat.say(*TALK[0][:1], lambda _: None) == TALK[0][1]


@pytest.mark.parametrize(
    ("template", "eos", "stop", "text"),
    [
        (made.QWEN, "</s>", "<|im_end|>", ""),
        (made.LLAMA_2, "</s>", "</s>", ""),
        (made.LLAMA_3, "</s>", "<|eot_id|>", ""),
        (made.PHI_3, "<|endoftext|>", "<|end|>", ""),
        (made.GEMMA, "</s>", "<end_of_turn>", ""),
        (NAMED["tulu"].read_text(), "</s>", "</s>", ""),
        (made.PLAIN, "</s>", None, "\n### End"),
        (made.BARE, "</s>", None, ""),
    ],
)
def test_an_answer_ends_with_what_the_template_ends_it_with(template: str, eos: str, stop: str | None, text: str):
    tokenizer = made.byte_tokenizer(eos)
    expected = {tokenizer.convert_tokens_to_ids(stop)} if stop else set()
    assert end_of_turn(tokenizer, template) == (expected, text)


def test_the_models_own_ends_stop_it_too(parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch):
    model, tokenizer = parts
    (comma,) = tokenizer(",")["input_ids"]
    monkeypatch.setattr(model.generation_config, "eos_token_id", [comma, 5])
    assert Chat(model, tokenizer, template=TULU).say("Hi", lambda _: None) == "Good day,"


def test_a_text_that_ends_the_turn_is_never_shown(parts: tuple[Any, Any]):
    chat = Chat(*parts, template=TULU)
    chat.stop_text = "day"
    pieces: list[str] = []
    assert chat.say("Hi", pieces.append) == "Good"
    assert "d" not in "".join(pieces).removeprefix("Good")


def test_a_fixed_seed_samples_the_same_and_another_temperature_something_else(parts: tuple[Any, Any]):
    def said(temperature: float, seed: int) -> str:
        chat = Chat(*parts, template=TULU, max_new_tokens=20, temperature=temperature, seed=seed)
        return chat.say("Something it never learnt", lambda _: None)

    assert said(2.0, 1) == said(2.0, 1)
    assert len({said(2.0, seed) for seed in range(4)}) > 1
    assert said(0.0, 1) == said(0.0, 2)


def test_a_models_own_sampling_settings_do_not_leak_into_greedy_answers(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
):
    model, tokenizer = parts
    monkeypatch.setattr(model.generation_config, "repetition_penalty", 50.0)
    assert Chat(model, tokenizer, template=TULU).say("Hi", lambda _: None) == TALK[0][1]


def test_a_conversation_that_is_too_long_and_one_the_template_refuses_say_what_to_do(parts: tuple[Any, Any]):
    model, tokenizer = parts
    with pytest.raises(BadSetting, match="/clear begins anew"):
        Chat(model, tokenizer, template=TULU).say("x" * 3000, lambda _: None)
    chat = Chat(model, tokenizer, template=made.GEMMA, system="Be brief.")
    with pytest.raises(BadSetting, match=r"System role not supported.*/clear"):
        chat.say("Hi", lambda _: None)
    assert torch.is_inference_mode_enabled() is False
