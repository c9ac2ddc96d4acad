"""How a model answers questions.

Greedy decoding gives the exact answer if and only if each token of it is the likeliest one after those before it. So
one forward pass over question and answer tells exact match, end of turn included, and the answer's loss besides;
generation gives the same and takes one pass per token.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from winnow.evaluation.questions import Question

SCHEMA = {
    "example_id": pl.String,
    "domain": pl.String,
    "correct": pl.Boolean,
    "loss": pl.Float64,
    "n_supervised": pl.Int64,
}


def harness(model: Any, tokenizer: Any, batch: int) -> HFLM:
    """The harness around a model that is loaded already."""
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, add_bos_token=False)


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
    """Greedy generation; the loss still comes from the teacher-forced pass."""
    forced = answer_forced(lm, questions)
    tokenizer = lm.tokenizer
    requests = []
    for number, question in enumerate(questions):
        context = tokenizer.decode(question.context, skip_special_tokens=False)
        until = tokenizer.decode(question.answer[-1:], skip_special_tokens=False)
        options = {"until": [until], "do_sample": False, "max_gen_toks": max_new_tokens}
        requests.append(Instance("generate_until", {}, (context, options), number))
    texts = lm.generate_until(requests, disable_tqdm=True)
    wanted = [tokenizer.decode(question.answer[:-1], skip_special_tokens=True) for question in questions]
    correct = [text == answer for text, answer in zip(texts, wanted, strict=True)]
    return forced.with_columns(pl.Series("correct", correct))
