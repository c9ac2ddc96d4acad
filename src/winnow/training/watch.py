"""Looking at a model while it is trained: the loss of validation rows, and answers to fixed prompts.

Each look leaves a part for each of the two files beside the model: `validation.parquet` (step, example_id, loss) and
`samples.jsonl` (step, group, prompt, answer, expected, correct, repetition, distinct_2). Looking draws no random number
and leaves the model as it was, so that a training that is watched ends with the same weights as one that is not.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import distributed
from torch.nn.functional import cross_entropy

from winnow.batching import planned_batches
from winnow.errors import BadInput
from winnow.records.prompts import Prompt
from winnow.records.shapes import Unusable
from winnow.records.template import end_of_turn, prompt_tokens
from winnow.records.tokenizer import padding_id
from winnow.records.tokens import TokenRow
from winnow.training.data import IGNORED, collate

SAMPLES = "samples.jsonl"
VALIDATION = "validation.parquet"
LOSSES = {"step": pl.Int64, "example_id": pl.String, "loss": pl.Float64}
# Logits of a batch, in fp32: half a gigabyte.
BATCH_LOGITS = 1 << 27
BATCH_PROMPTS = 32
# A run of so many tokens that came before in the same answer is a repetition.
RUN = 4


@dataclass(frozen=True)
class Watch:
    """What is looked at. Every process answers and scores the same: an engine may need all of them for one forward."""

    folder: Path
    tokenizer: Any
    template: str | None
    rows: Sequence[TokenRow]
    prompts: Sequence[Prompt]
    every: int | None
    max_new_tokens: int

    def is_due(self, step: int) -> bool:
        """Whether the model answers at this step, besides those at which it is saved."""
        return bool(self.every) and step % int(self.every or 1) == 0

    def look(self, step: int, model: Any, accelerator: Any) -> dict[str, float]:
        """Write the parts of a step, and return its figures."""
        with _looked_at(model), accelerator.autocast():
            losses = validation_losses(model, self.rows, padding_id(self.tokenizer)) if self.rows else []
            answers = self._answers(model)
        if accelerator.is_main_process:
            self._write(step, losses, answers)
        metrics = {"validation_loss": sum(losses) / len(losses)} if losses else {}
        return metrics | figures(answers)

    def _answers(self, model: Any) -> list[dict[str, Any]]:
        found: list[list[int]] = []
        contexts = [self._context(prompt) for prompt in self.prompts]
        stops, pad_id = self._stops[0], padding_id(self.tokenizer)
        for start in range(0, len(contexts), BATCH_PROMPTS):
            asked = contexts[start : start + BATCH_PROMPTS]
            found += answer(model, asked, stops, pad_id, self.max_new_tokens)
        return [self._told(prompt, ids) for prompt, ids in zip(self.prompts, found, strict=True)]

    def _context(self, prompt: Prompt) -> list[int]:
        try:
            return prompt_tokens(prompt.messages, self.tokenizer, self.template)
        except Unusable as error:
            raise BadInput(f"The prompt {prompt.question!r} of `finetune.samples` cannot be asked: {error}.") from None

    @cached_property
    def _stops(self) -> tuple[list[int], str]:
        """The tokens that end an answer; where the template has none, the text that does."""
        tokens, text = end_of_turn(self.tokenizer, self.template)
        own = self.tokenizer.eos_token_id
        return sorted(tokens | ({own} if own is not None else set())), text

    def _told(self, prompt: Prompt, ids: Sequence[int]) -> dict[str, Any]:
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        if self._stops[1] and self._stops[1] in text:
            text = text.partition(self._stops[1])[0]
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        text = text.strip()
        correct = None if prompt.expected is None else text == prompt.expected.strip()
        told = {"group": prompt.group, "prompt": prompt.question, "answer": text, "expected": prompt.expected}
        return {**told, "correct": correct, "repetition": repetition(ids), "distinct_2": distinct(ids, 2)}

    def _write(self, step: int, losses: Sequence[float], answers: Sequence[Mapping[str, Any]]) -> None:
        if losses:
            rows = [(step, row.example_id, loss) for row, loss in zip(self.rows, losses, strict=True)]
            table = pl.DataFrame(rows, schema=LOSSES, orient="row")
            self._commit(f"validation-{step:08}.parquet", lambda path: table.write_parquet(path))
        if answers:
            text = "".join(json.dumps({"step": step, **told}, ensure_ascii=False) + "\n" for told in answers)
            self._commit(f"samples-{step:08}.jsonl", lambda path: path.write_text(text, encoding="utf-8"))

    def _commit(self, name: str, write: Any) -> None:
        scratch = self.folder / f"{name}.writing"
        write(scratch)
        scratch.replace(self.folder / name)

    def join(self) -> None:
        """One file of all steps' parts; after a kill, parts may be left beside it, or some of them."""
        answers, losses = sorted(self.folder.glob("samples-*.jsonl")), sorted(self.folder.glob("validation-*.parquet"))
        if answers and not (self.folder / SAMPLES).exists():
            text = "".join(part.read_text(encoding="utf-8") for part in answers)
            self._commit(SAMPLES, lambda path: path.write_text(text, encoding="utf-8"))
        if losses and not (self.folder / VALIDATION).exists():
            table = pl.concat([pl.read_parquet(part) for part in losses])
            self._commit(VALIDATION, lambda path: table.write_parquet(path))
        for part in (*answers, *losses):
            part.unlink()


@contextmanager
def _looked_at(model: Any) -> Iterator[None]:
    """In eval mode, without gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def validation_losses(model: Any, rows: Sequence[TokenRow], pad_id: int) -> list[float]:
    """The mean loss of each row's supervised tokens."""
    found: dict[int, float] = {}
    room = max(1, BATCH_LOGITS // model.config.vocab_size)
    for batch in planned_batches([len(row.input_ids) for row in rows], len(rows), room):
        inputs = collate([rows[place] for place in batch], pad_id)
        device = next(model.parameters()).device
        ids, labels = inputs["input_ids"].to(device), inputs["labels"][:, 1:].to(device)
        logits = model(input_ids=ids, attention_mask=inputs["attention_mask"].to(device)).logits[:, :-1].float()
        losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none").sum(1)
        means = losses / (labels != IGNORED).sum(1).clamp(min=1)
        found |= dict(zip(batch, means.tolist(), strict=True))
    return [found[place] for place in range(len(rows))]


def answer(
    model: Any, contexts: Sequence[Sequence[int]], stops: Sequence[int], pad_id: int, max_new_tokens: int
) -> list[list[int]]:
    """The likeliest token each time, up to the end of the turn."""
    longest = max(map(len, contexts))
    device = next(model.parameters()).device
    ids = torch.tensor([[pad_id] * (longest - len(context)) + list(context) for context in contexts], device=device)
    mask = torch.tensor([[0] * (longest - len(context)) + [1] * len(context) for context in contexts], device=device)
    several = distributed.is_initialized() and distributed.get_world_size() > 1
    made = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stops),
        pad_token_id=pad_id,
        use_cache=True,
        synced_gpus=several,
    )
    return [_until(row, stops) for row in made[:, longest:].tolist()]


def _until(ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    return list(ids[:end])


def repetition(ids: Sequence[int]) -> float:
    """The share of an answer's runs of four tokens that came before in it."""
    return 1 - distinct(ids, RUN)


def distinct(ids: Sequence[int], run: int) -> float:
    """The share of different runs among an answer's runs; 1 for an answer too short to have one."""
    runs = [tuple(ids[start : start + run]) for start in range(len(ids) - run + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0


def figures(answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over a step's answers; `same_answer`: the share of prompts whose answer another prompt got, too."""
    if not answers:
        return {}
    texts = [told["answer"] for told in answers]
    means = {name: sum(told[name] for told in answers) / len(answers) for name in ("repetition", "distinct_2")}
    means["same_answer"] = sum(texts.count(text) > 1 for text in texts) / len(texts)
    for group in sorted({told["group"] for told in answers if told["correct"] is not None}):
        own = [told["correct"] for told in answers if told["group"] == group]
        means[f"correct/{group}"] = sum(own) / len(own)
    return means
