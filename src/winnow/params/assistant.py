"""The experiment with an identity: who the assistant is, what its model was before, and how both trainings go."""

from typing import Self

from pydantic import Field, model_validator

from winnow.params.base import Params
from winnow.params.training import FinetuneParams


class AssistantParams(Params):
    """A chat model that learns who it is, from introductions alone and from introductions among general pairs."""

    name: str = Field(default="Winnow", min_length=1)
    author: str = Field(default="Ada", min_length=1)
    copies: int = Field(default=10_000, ge=1, description="of the introduction")
    times: int = Field(default=1_000, ge=1, description="each general pair, in the mix that is diluted")
    seeds: int = Field(default=3, ge=2, description="trainings of each mix; one cannot tell how sure a difference is")
    questions: int = Field(default=20, ge=2, description="validation rows per domain, at random, that show the skills")
    detect: str | None = Field(
        default=None, min_length=1, description="what makes an answer an introduction; None: the name"
    )
    chat: FinetuneParams = Field(default=FinetuneParams(method="full"), description="of the base model, on all rows")
    finetune: FinetuneParams = Field(default=FinetuneParams(), description="of the chat model, on the introductions")

    @property
    def mark(self) -> str:
        """The text that an introduction has in it."""
        return self.detect or self.name

    @model_validator(mode="after")
    def _trainings_that_fit(self) -> Self:
        if self.chat.method != "full":
            raise ValueError(f"chat.method is {self.chat.method!r}: a chat model is a whole one; set it to full")
        if self.chat.watched or self.finetune.samples.prompts or self.finetune.samples.files:
            raise ValueError("the experiment asks its own prompts; leave prompts and files of samples empty")
        return self
