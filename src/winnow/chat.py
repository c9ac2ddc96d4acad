"""Talking to a model: each answer is streamed, and what was said before is part of the next question.

The chat template is the one the model was trained with, and an answer ends where training ended it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, TextStreamer

from winnow.errors import BadSetting
from winnow.records.chat_template import chat_template
from winnow.records.shapes import Message
from winnow.records.template import end_of_turn

Listener = Callable[[str], None]


class Chat:
    """A conversation with a model. Temperature 0 takes the likeliest token each time."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: str | None = None,
        system: str | None = None,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.tokenizer: Any = tokenizer
        self.template = chat_template(template, tokenizer)
        self.system: list[Message] = [{"role": "system", "content": system}] if system else []
        self.turns: list[Message] = [*self.system]
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.stops, self.stop_text = end_of_turn(tokenizer, self.template)
        self.stops |= _as_set(model.generation_config.eos_token_id) | _as_set(self.tokenizer.eos_token_id)
        # What is not set below would come from here: a penalty or a threshold of its own is another model.
        model.generation_config = GenerationConfig()
        torch.manual_seed(seed)

    def clear(self) -> None:
        """Forget what was said, but for the system message."""
        self.turns = [*self.system]

    def say(self, text: str, hear: Listener) -> str:
        """Ask; ``hear`` gets the answer piece by piece. An answer that was interrupted is not remembered."""
        asked: list[Message] = [*self.turns, {"role": "user", "content": text}]
        ids = self._prompt(asked).to(self.model.device)
        streamer = _Heard(self.tokenizer, hear, self.stop_text)
        with torch.inference_mode():
            self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=self._settings(ids.shape[1]),
                streamer=streamer,
                **self._until(),
            )
        answer = "".join(streamer.heard).strip()
        self.turns = [*asked, {"role": "assistant", "content": answer}]
        return answer

    def _prompt(self, turns: Sequence[Message]) -> torch.Tensor:
        try:
            prompt = self.tokenizer.apply_chat_template(
                turns, chat_template=self.template, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
        except Exception as error:
            # A template is a program of somebody else: it may raise anything.
            raise BadSetting(f"The chat template refuses the conversation: {error}. /clear begins anew.") from None
        return torch.as_tensor(prompt["input_ids"])

    def _settings(self, used: int) -> GenerationConfig:
        room = getattr(self.model.config, "max_position_embeddings", used + self.max_new_tokens) - used
        if room < 1:
            raise BadSetting(f"The conversation has {used} tokens, more than the model takes. /clear begins anew.")
        pad = self.tokenizer.pad_token_id
        sampling = {"do_sample": True, "temperature": self.temperature, "top_k": 0} if self.temperature > 0 else {}
        return GenerationConfig(
            max_new_tokens=min(self.max_new_tokens, room),
            eos_token_id=sorted(self.stops) or None,
            pad_token_id=pad if pad is not None else min(self.stops, default=0),
            **sampling,
        )

    def _until(self) -> dict[str, Any]:
        return {"stop_strings": [self.stop_text], "tokenizer": self.tokenizer} if self.stop_text else {}


def _as_set(ids: int | list[int] | None) -> set[int]:
    return set(ids) if isinstance(ids, list) else set() if ids is None else {ids}


class _Heard(TextStreamer):
    """Hands pieces on as soon as they are words, and holds back what may be the text that ends the turn."""

    def __init__(self, tokenizer: Any, hear: Listener, stop_text: str) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.hear = hear
        self.stop_text = stop_text
        self.waiting = ""
        self.heard: list[str] = []

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Called by transformers with each new piece."""
        self.waiting += text
        if self.stop_text and self.stop_text in self.waiting:
            self._pass_on(self.waiting.partition(self.stop_text)[0])
        elif stream_end or not self.stop_text:
            self._pass_on(self.waiting)
        elif (safe := len(self.waiting) - len(self.stop_text) + 1) > 0:
            self._pass_on(self.waiting[:safe], self.waiting[safe:])

    def _pass_on(self, text: str, rest: str = "") -> None:
        self.waiting = rest
        if text:
            self.heard.append(text)
            self.hear(text)
