"""Tiny mixtures of experts, untrained, of the kinds that can be widened."""

from typing import Any

import torch
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
}
KINDS = ("olmoe", "qwen3_moe", "mixtral")


def tiny_experts(kind: str = "olmoe", dtype: torch.dtype = torch.float32, **more: Any) -> Any:
    torch.manual_seed(0)
    shape = {**SHAPE, "num_local_experts" if kind == "mixtral" else "num_experts": 6, **more}
    made: Any = {
        "olmoe": lambda: OlmoeForCausalLM(OlmoeConfig(**shape)),
        "qwen3_moe": lambda: Qwen3MoeForCausalLM(
            Qwen3MoeConfig(**{"moe_intermediate_size": 24, "head_dim": 8, "decoder_sparse_step": 1, **shape})
        ),
        "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**shape)),
    }[kind]()
    # As they come, gates are nearly zero: all experts would be alike.
    for name, parameter in made.named_parameters():
        if name.endswith("gate.weight"):
            torch.nn.init.normal_(parameter)
    return made.to(dtype).eval()
