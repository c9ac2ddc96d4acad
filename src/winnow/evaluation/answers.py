"""How a model answers questions.

Greedy decoding gives the exact answer if and only if each token of it is the likeliest one after those before it. So
one forward pass over question and answer tells exact match, end of turn included, and the answer's loss besides;
generation gives the same and takes one pass per token.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import GenerationConfig

from winnow.evaluation.questions import Question

SCHEMA = {
    "example_id": pl.String,
    "domain": pl.String,
    "correct": pl.Boolean,
    "loss": pl.Float64,
    "n_supervised": pl.Int64,
}


def harness(model: Any, tokenizer: Any, rows: int, max_length: int) -> HFLM:
    """The harness around a model that is loaded already; it neither truncates nor rounds probabilities to bf16."""
    # A model may bring a repetition penalty of its own, and then generation is not the likeliest token each time.
    model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
    return HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=rows,
        max_length=max_length,
        add_bos_token=False,
        logits_cache=False,
        softmax_dtype=torch.float32,
    )


def answer_forced(lm: HFLM, questions: Sequence[Question]) -> pl.DataFrame:
    """One teacher-forced pass. Token ids are handed over: text would move white space between question and answer."""
    requests = [(("", ""), list(question.context), list(question.answer)) for question in questions]
    scores = lm._loglikelihood_tokens(requests, disable_tqdm=True)
    rows = [
        {
            "example_id": question.example_id,
            "domain": question.domain,
            "correct": bool(greedy),
            "loss": -float(likelihood) / len(question.answer),
            "n_supervised": len(question.answer),
        }
        for question, (likelihood, greedy) in zip(questions, scores, strict=True)
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def answer_generated(lm: HFLM, questions: Sequence[Question], max_new_tokens: int) -> pl.DataFrame:
    """Greedy generation, compared as text; the loss still comes from the teacher-forced pass."""
    requests, wanted = [], []
    for number, question in enumerate(questions):
        text, stop = _as_text(lm.tokenizer, question.answer)
        context = lm.tokenizer.decode(question.context, skip_special_tokens=False)
        # An answer that was cut off has no end of turn: as many tokens are asked for as it has.
        room = max_new_tokens if stop else min(max_new_tokens, len(question.answer))
        options = {"until": stop, "do_sample": False, "max_gen_toks": room}
        requests.append(Instance("generate_until", {}, (context, options), number))
        wanted.append(text)
    texts = lm.generate_until(requests, disable_tqdm=True)
    correct = [text == answer for text, answer in zip(texts, wanted, strict=True)]
    return answer_forced(lm, questions).with_columns(pl.Series("correct", correct))


def _as_text(tokenizer: Any, answer: Sequence[int]) -> tuple[str, list[str]]:
    """What an answer says before its end of turn, and the text of that special token, if it has one."""
    for place in reversed(range(len(answer))):
        stop = tokenizer.decode([answer[place]], skip_special_tokens=False)
        if stop and not tokenizer.decode([answer[place]], skip_special_tokens=True):
            return tokenizer.decode(answer[:place], skip_special_tokens=True), [stop]
    return tokenizer.decode(answer, skip_special_tokens=True), []
