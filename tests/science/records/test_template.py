"""Loss masks against expectations written by hand, for templates as they are published."""

from copy import copy
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from support import templates as made
from winnow.errors import BadSetting
from winnow.params import TokenizeParams
from winnow.params.data import TemplateName
from winnow.records.chat_template import NAMED, describe_template, template_checksum, template_text
from winnow.records.shapes import Unusable
from winnow.records.template import render
from winnow.records.tokens import truncated

TWO_TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "I"},
    {"role": "user", "content": "Really? 真的吗 🙂"},
    {"role": "assistant", "content": "Yes: 四 🎉"},
]


def named(name: str) -> str:
    return NAMED[name].read_text(encoding="utf-8")


def learnt(messages: list[dict[str, str]], template: str, tokenizer: Any) -> list[str]:
    """The supervised stretches as text."""
    rendered = render(messages, tokenizer, template)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], rendered.supervised.astype(int), [0]])))
    return [tokenizer.decode(rendered.input_ids[start:end]) for start, end in edges.reshape(-1, 2)]


@pytest.mark.parametrize(
    ("template", "eos", "ends"),
    [
        (made.QWEN, "<|im_end|>", "<|im_end|>"),
        # The end of turn is no special token by name (a base model's tokenizer), but an added one.
        (made.QWEN, "</s>", "<|im_end|>"),
        (made.LLAMA_2, "</s>", " </s>"),
        (made.LLAMA_3, "<|eot_id|>", "<|eot_id|>"),
        (made.LLAMA_3, "</s>", "<|eot_id|>"),
        (made.MISTRAL, "</s>", "</s>"),
        (made.ZEPHYR, "</s>", "</s>"),
        (made.PHI_3, "<|endoftext|>", "<|end|>"),
        (made.INTERNLM_2, "</s>", "<|im_end|>"),
        (made.MARKED, "<|im_end|>", "<|im_end|>"),
        (named("tulu"), "</s>", "</s>\n"),
        (named("chatml"), "</s>", "<|im_end|>"),
        (named("llama3"), "<|eot_id|>", "<|eot_id|>"),
        (made.PLAIN, "</s>", "\n### End"),
    ],
)
def test_only_answers_and_their_end_of_turn_are_learnt(template: str, eos: str, ends: str) -> None:
    found = learnt(TWO_TURNS, template, made.byte_tokenizer(eos))
    begins = " " if template in (made.LLAMA_2, made.MISTRAL) else ""
    if template is made.MISTRAL:
        # Its beginning renders otherwise than the whole, so the space before the first answer is not known as its own.
        assert found == [f"I{ends}", f" Yes: 四 🎉{ends}"]
    else:
        assert found == [f"{begins}I{ends}", f"{begins}Yes: 四 🎉{ends}"]


def test_gemmas_model_learns_its_answers_and_their_end_of_turn() -> None:
    found = learnt(TWO_TURNS[1:], made.GEMMA, made.byte_tokenizer("</s>"))
    assert found == ["I<end_of_turn>", "Yes: 四 🎉<end_of_turn>"]


@pytest.mark.parametrize("tokenizer", [made.byte_tokenizer(), made.metaspace_tokenizer()])
def test_a_tokenizer_without_a_template_gets_the_default_with_an_exact_mask(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "What else ?"}, {"role": "assistant", "content": "Four"}]
    bare, given = render(messages, tokenizer), render(messages, tokenizer, named("tulu"))
    assert bare.input_ids.tolist() == given.input_ids.tolist()
    assert bare.supervised.tolist() == given.supervised.tolist()
    assert learnt(messages, "", tokenizer)[0].replace(" ", "").startswith("Four</s>")
    assert describe_template(None, tokenizer) == "tulu (the tokenizer has none)"


def test_results_are_named_after_the_template_so_a_name_means_the_same_for_ever() -> None:
    assert {name: (template_checksum(name) or "")[:16] for name in NAMED} == {
        "chatml": "0d1c23f9fbc61171",
        "llama3": "3b2779bd5b5da8e3",
        "tulu": "cf85dc440e3bf6c5",
    }
    assert set(get_args(TemplateName)) == set(NAMED)


def test_of_a_tokenizers_several_templates_its_default_is_used() -> None:
    tokenizer = copy(made.byte_tokenizer("<|im_end|>"))
    tokenizer.chat_template = {"default": made.QWEN, "tools": made.PLAIN}
    assert learnt(TWO_TURNS, "", tokenizer) == ["I<|im_end|>", "Yes: 四 🎉<|im_end|>"]
    tokenizer.chat_template = {"tools": made.PLAIN}
    with pytest.raises(BadSetting, match="several chat templates \\(tools\\)"):
        render(TWO_TURNS, tokenizer)


@pytest.mark.parametrize("given", ["tulo", "no/such"])
def test_an_unknown_template_is_refused_with_those_that_are_known(given: str) -> None:
    with pytest.raises(ValidationError, match="chatml, llama3, tulu"):
        TokenizeParams.model_validate({"template": given})
    with pytest.raises(BadSetting, match="chatml, llama3, tulu"):
        template_text("no/such.jinja")


def test_a_file_and_a_name_with_the_same_text_are_the_same_template(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_bytes(NAMED["chatml"].read_bytes())
    given = TokenizeParams.model_validate({"template": str(file)})
    by_name = TokenizeParams.model_validate({"template": "chatml"})
    assert template_checksum(given.template) == template_checksum(by_name.template) is not None
    assert template_text(given.template) == template_text(by_name.template)
    assert template_checksum(None) is None


def test_a_space_that_belongs_to_the_answers_first_token_is_learnt_with_it() -> None:
    messages = [{"role": "user", "content": "What else ?"}, {"role": "assistant", "content": "Four"}]
    tokenizer = made.metaspace_tokenizer()
    rendered = render(messages, tokenizer, made.LLAMA_2)
    tokens = tokenizer.convert_ids_to_tokens(rendered.input_ids)
    assert [t for t, wanted in zip(tokens, rendered.supervised, strict=True) if wanted] == ["▁Four", "▁", "</s>"]


def test_thoughts_are_learnt_where_the_template_keeps_them() -> None:
    messages = [
        {"role": "user", "content": "Q1"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA1"},
        {"role": "user", "content": "Q2"},
        {"role": "assistant", "content": "<think>\nso\n</think>\n\nA2"},
    ]
    tokenizer = made.byte_tokenizer("<|im_end|>")
    assert learnt(messages, made.QWEN_3, tokenizer) == ["A1<|im_end|>", "<think>\nso\n</think>\n\nA2<|im_end|>"]
    plain = [messages[0], {"role": "assistant", "content": "A"}]
    assert learnt(plain, made.QWEN_3, tokenizer) == ["A<|im_end|>"]


def test_a_tools_answer_is_not_learnt_but_the_call_is() -> None:
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "function_call", "content": '{"name": "weather"}'},
        {"role": "tool", "content": "Weather? sunny"},
        {"role": "assistant", "content": "sunny"},
    ]
    found = learnt(messages, made.QWEN, made.byte_tokenizer("<|im_end|>"))
    assert found == ['{"name": "weather"}<|im_end|>', "sunny<|im_end|>"]


def test_the_next_turns_marker_is_no_end_of_turn() -> None:
    messages = [message for message in TWO_TURNS if message["role"] != "system"]
    tokenizer = made.byte_tokenizer("</s>", ("<|user|>", "<|assistant|>"))
    assert learnt(messages, made.BARE, tokenizer) == ["I", "Yes: 四 🎉"]


def test_a_template_that_refuses_the_turns_makes_the_row_unusable() -> None:
    twice = [TWO_TURNS[1], TWO_TURNS[1], TWO_TURNS[2]]
    with pytest.raises(Unusable, match="roles must alternate"):
        render(twice, made.byte_tokenizer(), made.LLAMA_2)
    with pytest.raises(Unusable, match="System role not supported"):
        render(TWO_TURNS, made.byte_tokenizer(), made.GEMMA)


def test_truncation_keeps_the_beginning_and_refuses_what_has_no_answer_left() -> None:
    tokenizer = made.byte_tokenizer("<|im_end|>")
    whole = render(TWO_TURNS, tokenizer, made.QWEN)
    first = int(np.flatnonzero(whole.supervised)[0])
    kept = truncated(TWO_TURNS, tokenizer, made.QWEN, first + 1)
    assert kept.input_ids.tolist() == whole.input_ids[: first + 1].tolist()
    assert kept.supervised.sum() == 1
    with pytest.raises(Unusable, match="max_length"):
        truncated(TWO_TURNS, tokenizer, made.QWEN, first)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=3), st.sampled_from([made.QWEN, made.LLAMA_3, made.ZEPHYR])
)
def test_whatever_is_said_each_answer_is_one_learnt_stretch(pairs: list[tuple[str, str]], template: str) -> None:
    tokenizer = made.byte_tokenizer("<|im_end|>")
    turns = [
        {"role": role, "content": text}
        for question, answer in pairs
        for role, text in (("user", question), ("assistant", answer))
    ]
    found = learnt(turns, template, tokenizer)
    assert len(found) == len(pairs)
    for text, (_, answer) in zip(found, pairs, strict=True):
        assert text.strip().startswith(answer.strip()) or answer.strip() in text
        assert text.endswith(("<|im_end|>", "<|eot_id|>"))
