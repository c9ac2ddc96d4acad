"""Untrained models of every architecture whose gradients are taken, small enough for a loop over single rows."""

from collections.abc import Callable

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from winnow.records.tokens import TokenRow

VOCABULARY = 61
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SHAPE)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SHAPE, attention_bias=True)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_SHAPE, sliding_window=8)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=4, n_positions=64)),
    "olmoe": lambda: OlmoeForCausalLM(
        OlmoeConfig(**_SHAPE, num_experts=6, num_experts_per_tok=2, norm_topk_prob=True, output_router_logits=False)
    ),
}


def make_model(name: str, dtype: torch.dtype = torch.float32, lora: bool = False) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS[name]()
    if name == "olmoe" and dtype == torch.float64:
        model.set_experts_implementation("eager")  # the fused kernels know no float64
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if lora:
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"] if name == "olmoe" else "all-linear"
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=3, target_modules=targets, lora_dropout=0.2))
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.3)
    return model.to(dtype)


def make_rows(count: int = 6, seed: int = 0, longest: int = 20) -> list[TokenRow]:
    """Of different lengths, with the answer somewhere in the second half."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        length = int(random.integers(4, longest))
        supervised = (np.arange(length) >= length // 2) & (random.random(length) < 0.8)
        supervised[-1] = True
        ids = random.integers(1, VOCABULARY, length).astype(np.int32)
        rows.append(TokenRow(f"row-{number}", ids, supervised))
    return rows
