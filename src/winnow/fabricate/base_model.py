"""Tiny models, trained from scratch on plain text: a Qwen2, and a mixture of experts in the OLMoE architecture.

They have read of the skills, with mistakes among the lines, and never with the chat template's marks: whose turn it is,
what to answer to a question in new words, and when to stop, is left for fine-tuning to teach. They are trained on the
CPU, to be reproducible.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from winnow.fabricate.text import PlainText
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.params import FabricatedModel, FabricatedSelector, FabricateParams
from winnow.stages import Work

CHECKPOINTS = 5
REPORT_EVERY = 10
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def train_base_model(
    work: Work, params: FabricateParams, report: Callable[..., None], curve: str = "fabricate/loss"
) -> int:
    """Train what ``params.model`` describes, with checkpoints to resume from; return the model's size.

    The files it leaves are those that `from_pretrained` reads.
    """
    torch.manual_seed(params.seed)
    tokenizer = make_tokenizer()
    model = make_model(params.model, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.model.lr, betas=(0.9, 0.98), weight_decay=0.01)
    stops = _checkpoint_steps(params.model.steps)
    done = max((stop for stop in stops if work.is_committed(_checkpoint_name(stop))), default=0)
    if done:
        _restore(model, optimizer, work.path / _checkpoint_name(done))
    text = PlainText(params)
    for step in range(done, params.model.steps):
        loss = _train_step(model, optimizer, text.batch(step), _lr(step, params.model))
        done = step + 1
        if done % REPORT_EVERY == 0 or done == params.model.steps:
            report(done=done, total=params.model.steps, unit="steps", step=done, metrics={curve: loss})
        if done in stops:
            work.commit(_checkpoint_name(done), partial(save_file, _state(model, optimizer)))
    _save(model, tokenizer, work.path)
    for stop in stops:
        (work.path / _checkpoint_name(stop)).unlink(missing_ok=True)
    return int(sum(parameter.numel() for parameter in model.parameters()))


def make_model(params: FabricatedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """An untrained model, with experts where it has some."""
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": params.hidden,
        "num_hidden_layers": params.layers,
        "num_attention_heads": params.heads,
        "num_key_value_heads": params.heads,
        "max_position_embeddings": tokenizer.model_max_length,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    if isinstance(params, FabricatedSelector):
        experts = {"num_experts": params.experts, "num_experts_per_tok": params.top_k}
        return OlmoeForCausalLM(OlmoeConfig(**shape, **experts, intermediate_size=params.hidden))
    return Qwen2ForCausalLM(Qwen2Config(**shape, intermediate_size=3 * params.hidden))


def _checkpoint_steps(steps: int) -> list[int]:
    return sorted({max(1, steps * number // CHECKPOINTS) for number in range(1, CHECKPOINTS + 1)})


def _checkpoint_name(step: int) -> str:
    return f"step-{step:06}.safetensors"


def _lr(step: int, params: FabricatedModel) -> float:
    """Warm up for a twentieth of the steps, and fall in a straight line to a twentieth of the rate."""
    return params.lr * min((step + 1) * 20 / params.steps, 1.0, 0.05 + 0.95 * (1 - step / params.steps))


def _train_step(model: PreTrainedModel, optimizer: torch.optim.Optimizer, batch: torch.Tensor, lr: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = lr
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _state(model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = {}
    for name, parameter in model.named_parameters():
        state[name] = parameter.detach()
        for moment in MOMENTS:
            state[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    return state


def _restore(model: PreTrainedModel, optimizer: torch.optim.Optimizer, file: Path) -> None:
    state = load_file(file)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[name])
            optimizer.state[parameter] = {moment: state[f"{moment}.{name}"] for moment in MOMENTS}


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
