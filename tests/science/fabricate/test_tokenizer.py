"""The demo's tokenizer loses nothing, is the same through every loader, and its template marks what is learnt."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config

from winnow.fabricate.tokenizer import byte_id, make_tokenizer

TEXTS = [
    "Sort 4213.",
    " two  spaces\n\nand lines\t",
    "".join(map(chr, range(32, 127))),
    "汉字 🎉 é",
    "<|im_start|>user\n",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 model's folder: where transformers puts its own tokenizer class in the place of any other."""
    path = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(path)
    Qwen2Config().save_pretrained(path)
    return path


@pytest.mark.parametrize("text", TEXTS)
def test_every_loader_gives_the_same_ids_and_the_text_back(folder: Path, text: str):
    automatic = AutoTokenizer.from_pretrained(folder)
    plain = PreTrainedTokenizerFast.from_pretrained(folder)
    assert automatic(text).input_ids == plain(text).input_ids
    assert automatic.decode(automatic(text).input_ids) == text


def test_plain_text_is_one_token_per_byte():
    text = "Reverse abcd. é"
    assert make_tokenizer()(text).input_ids == [byte_id(byte) for byte in text.encode()]


def test_the_template_marks_every_answer_with_its_end_and_nothing_else(folder: Path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = ["system", "user", "assistant", "user", "assistant"]
    messages = [{"role": role, "content": f"{role} {number}"} for number, role in enumerate(turns)]
    rendered = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    learnt = [token for token, mark in zip(rendered["input_ids"], rendered["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(learnt) == "assistant 2<|im_end|>assistant 4<|im_end|>"


def test_the_generation_prompt_is_the_beginning_of_an_answer(folder: Path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    question = [{"role": "user", "content": "Sort 4213."}]
    prompt = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*question, {"role": "assistant", "content": "1234"}], tokenize=False)
    assert whole == prompt + "1234<|im_end|>\n"
