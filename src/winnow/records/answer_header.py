"""What a chat template writes before an answer, whatever was asked."""

from typing import Any

import numpy as np

from winnow.records.chat_template import chat_template
from winnow.records.template import PLACEHOLDER


def answer_header(tokenizer: Any, template: str | None) -> np.ndarray:
    """Ids of the header of an assistant's turn; of a token that begins a text, where the template has no header."""
    text = chat_template(template, tokenizer)
    asked = [{"role": "user", "content": PLACEHOLDER}]
    without, prompted = (
        str(tokenizer.apply_chat_template(asked, chat_template=text, tokenize=False, add_generation_prompt=prompt))
        for prompt in (False, True)
    )
    header = prompted.removeprefix(without) if prompted.startswith(without) else ""
    ids = tokenizer(header, add_special_tokens=False)["input_ids"] if header else []
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if tokenizer.bos_token_id is not None or not ids:
        ids = [begin, *ids]
    return np.asarray(ids, np.int32)
