"""Loading models: safetensors only, remote code only where the user asked for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from winnow.errors import BadSetting, MissingResource
from winnow.params import FinetuneParams, LoraParams, Machine
from winnow.records.tokenizer import how_to_get, model_name
from winnow.stages import Finished


def dtype_of(precision: str, device: str) -> torch.dtype:
    """`auto` is bf16 on CUDA and fp32 on a CPU, so that it is known before a worker starts."""
    wanted = ("bf16" if device.startswith("cuda") else "fp32") if precision == "auto" else precision
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]


def load_for_training(base: Finished, params: FinetuneParams, machine: Machine, device: str) -> PreTrainedModel:
    """The base model as a training begins with it: weights that are trained themselves are kept in fp32.

    An engine that cuts them into parts places these itself.
    """
    if params.method == "qlora":
        return _load_in_four_bits(base, dtype_of(params.precision, device), device)
    precision = "fp32" if params.method == "full" else params.precision
    return load_model(base, precision, "cpu" if machine.is_sharded else device)


def load_model(base: Finished, precision: str, device: str) -> PreTrainedModel:
    """The base model on its device, in eval mode."""
    model = read_model(base, dtype_of(precision, device))
    model.config.use_cache = False
    return model.to(device).eval()


def _load_in_four_bits(base: Finished, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """Its linear layers as nf4, doubly quantised; what is not in 4 bits (norms, embeddings, head) in fp32."""
    from bitsandbytes.nn.modules import Linear4bit

    four_bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    model = read_model(base, dtype, quantization_config=four_bits, device_map={"": device})
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # Some CPUs have a fast forward in eval mode, for which the weights are rearranged and rounded for good.
            module.support_avx512bf16_for_cpu = False
    model.config.use_cache = False
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False).eval()


def read_model(base: Finished, dtype: torch.dtype | Literal["auto"], **options: Any) -> PreTrainedModel:
    """The base model as its files have it; `auto` is their own dtype."""
    options |= {"use_safetensors": True, "dtype": dtype}
    options["trust_remote_code"] = bool(base.summary.get("trust_remote_code"))
    if base.summary.get("revision"):
        options["revision"] = base.summary["revision"]
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(model_name(base), **options)
    except OSError as error:
        raise MissingResource(
            f"The model {model_name(base)!r} cannot be loaded: {str(error).strip().splitlines()[0]} {how_to_get(base)}"
        ) from None
    return model


def add_adapter(model: PreTrainedModel, params: LoraParams, seed: int) -> PeftModel:
    """A fresh adapter whose initial weights depend on the seed alone."""
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=params.rank,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        target_modules=params.targets,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise BadSetting(f"`finetune.lora.targets` is {params.targets!r}: {error}") from None


@contextmanager
def trainable(model: PreTrainedModel, params: FinetuneParams, seed: int, once: bool = False) -> Iterator[Any]:
    """The base model made ready for one seed's training, and afterwards put back to what it was, exactly.

    Not where it is used ``once``: what an engine has cut into parts is not put together again.
    """
    if params.method != "full":
        adapted = add_adapter(model, params.lora, seed)
        # With a name peft looks it up on the hub at each save; the fingerprint is written when all is done.
        adapted.peft_config["default"].base_model_name_or_path = None
        try:
            yield adapted
        finally:
            if not once:
                adapted.unload()
                model.requires_grad_(params.method == "lora")
        return
    if once:
        yield model
        return
    initial = {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}
    try:
        yield model
    finally:
        model.load_state_dict(initial)


@contextmanager
def tuned(base: Finished, model: PreTrainedModel, result: Finished | None) -> Iterator[Any]:
    """The base model as one fine-tuning left it (None: untouched); an adapter is taken off again afterwards."""
    if result is None:
        yield model
    elif (result.path / "adapter_config.json").exists():
        adapted = PeftModel.from_pretrained(model, str(result.path))
        try:
            yield adapted.eval()
        finally:
            adapted.unload()
    else:
        code = bool(base.summary.get("trust_remote_code"))
        full = AutoModelForCausalLM.from_pretrained(
            str(result.path), dtype=model.dtype, trust_remote_code=code, use_safetensors=True
        )
        yield full.to(model.device).eval()
