"""An adapter merged into its base model: a folder that loads without peft, and serves as `model.base` again."""

import shutil
import warnings
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from winnow.errors import BadInput, BadSetting, WrongConversion
from winnow.records.chat_template import chat_template
from winnow.records.tokenizer import load_tokenizer, model_name
from winnow.stages import Finished
from winnow.training.checkpoints import ADAPTER
from winnow.training.merged_folder import appear
from winnow.training.model import read_model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SHARD = "5GB"
PROBE = "What is 2+2?\n\n  Four (4), 2 + 2 = 4; déjà vu, 你好 🎉\tdef f(x):\n    return x\n"


def merge_adapter(base: Finished, adapter: Path, target: Path, template: str | None, dtype: str | None) -> str:
    """Write base and adapter as one model to ``target``, which appears when it is complete; return the dtype.

    Works on the CPU, in the base's own dtype or the one given.
    """
    tokenizer = load_tokenizer(base)
    model = read_model(base, DTYPES[dtype] if dtype else "auto")
    if getattr(model.config, "quantization_config", None) is not None:
        raise BadSetting(
            f"The base model {model_name(base)!r} is quantised itself, and merging would round its weights again. "
            "Give the model that it was made from as --base."
        )
    merged = merged_model(model, adapter)
    tokenizer.chat_template = chat_template(template, tokenizer)
    scratch = target.with_name(f".{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    _make_savable(merged)
    merged.save_pretrained(scratch, max_shard_size=SHARD)
    tokenizer.save_pretrained(scratch)
    code = {"trust_remote_code": base.summary.get("trust_remote_code")}
    again = load_tokenizer(Finished("pretrained", "", scratch, summary=code))
    if again(PROBE)["input_ids"] != tokenizer(PROBE)["input_ids"] or again.chat_template != tokenizer.chat_template:
        raise WrongConversion(
            f"The tokenizer in {scratch} gives other ids than the base model's: transformers reads it with another "
            "class once it lies in a folder. Nothing was written to --out; use the adapter with its base instead."
        )
    appear(scratch, target)
    return str(merged.dtype).removeprefix("torch.")


def merged_model(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """The model with the adapter's changes in its own weights."""
    adapted = adapted_model(model, adapter)
    _untie(model)
    try:
        return adapted.merge_and_unload(safe_merge=True)
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{adapter} cannot be merged into this base: {error}. Try --dtype fp32.") from None


def _untie(model: PreTrainedModel) -> None:
    """Give the head a weight of its own where it shares the embedding's and one of the two is adapted alone."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    layers = [getattr(layer, "base_layer", layer) for layer in (head, embedding)]
    if layers == [head, embedding] or layers[0].weight is not layers[1].weight:
        return
    layers[0].weight = torch.nn.Parameter(layers[0].weight.detach().clone())
    model.config.tie_word_embeddings = False


def adapted_model(model: PreTrainedModel, adapter: Path) -> PeftModel:
    """The model with the adapter around it; one that is damaged or another model's is refused."""
    tensors = _finite_tensors(adapter)
    try:
        with warnings.catch_warnings():
            # peft calls what transformers will drop.
            warnings.simplefilter("ignore", FutureWarning)
            adapted = PeftModel.from_pretrained(model, str(adapter))
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise BadInput(_does_not_fit(adapter, _second_line(error))) from None
    # What it has too much or too little peft passes over. Embeddings may be in it or not; to decide peft asks the hub.
    needed, known = (set(get_peft_model_state_dict(adapted, save_embedding_layers=also)) for also in (False, True))
    if differing := (needed - set(tensors)) | (set(tensors) - known):
        raise BadInput(_does_not_fit(adapter, f"{len(differing)} weights are in one alone, {min(differing)!r} first"))
    return adapted.eval()


def _finite_tensors(adapter: Path) -> dict[str, torch.Tensor]:
    file = adapter / ADAPTER
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"{file} cannot be read: {str(error).splitlines()[0]}. An adapter is adapter_config.json with {ADAPTER}; "
            "pickled ones are not loaded."
        ) from None
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise BadInput(
                f"The weight {name!r} in {file} is not finite: the training diverged. Lower `finetune.lr`, or merge an "
                "earlier checkpoint-* folder."
            )
    return tensors


def _does_not_fit(adapter: Path, why: str) -> str:
    return f"The adapter in {adapter} does not fit this base model: {why}. Name the model it was trained on as --base."


def _second_line(error: Exception) -> str:
    """Of torch's list of differences the first, without its headline."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return (lines[1] if len(lines) > 1 else lines[0]).rstrip(".")


def _make_savable(model: PreTrainedModel) -> None:
    """Some published models have sampling settings with sampling off, which transformers refuses to write."""
    settings = model.generation_config
    if settings is not None and not settings.do_sample:
        try:
            settings.validate(strict=True)
        except ValueError:
            settings.do_sample = True
