"""Loading a base model's tokenizer such that saved and loaded ones give the same ids."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import MissingResource
from winnow.stages import Finished

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def model_name(base: Finished) -> str:
    """What `from_pretrained` is given: the record's own folder, another folder, or a hub id."""
    return str(base.summary.get("pretrained") or base.path)


def how_to_get(base: Finished) -> str:
    """What to do where a base model is not there."""
    name = model_name(base)
    named = "It is what `model.base`, `warmup.<name>.base` or `select_moe.base` names"
    if Path(name).is_absolute():
        return f"{named}: give a folder that is there, or a hub id such as `Qwen/Qwen2.5-0.5B`."
    revision = f" --revision {base.summary['revision']}" if base.summary.get("revision") else ""
    return (
        f"{named}. Get it with `kedro fetch RECIPE` or `hf download {name}{revision}` (HF_ENDPOINT names a mirror, "
        "HF_TOKEN opens a gated one), or name a folder that holds it."
    )


def load_tokenizer(base: Finished) -> "PreTrainedTokenizerBase":
    """The tokenizer of a base model."""
    import transformers

    name = model_name(base)
    config = Path(name) / "tokenizer_config.json"
    loader: Any = transformers.AutoTokenizer
    options: dict[str, Any] = {"trust_remote_code": bool(base.summary.get("trust_remote_code"))}
    if config.exists() and base.stage == "base":
        # For a folder with a Qwen2 model AutoTokenizer would put Qwen2's own pre-tokenizer in place of ours.
        loader, options = getattr(transformers, json.loads(config.read_text())["tokenizer_class"]), {}
    elif base.summary.get("revision"):
        options["revision"] = base.summary["revision"]
    try:
        tokenizer: PreTrainedTokenizerBase = loader.from_pretrained(name, **options)
    except (OSError, ValueError, ImportError) as error:
        raise MissingResource(
            f"The tokenizer of {name!r} cannot be loaded: {str(error).strip().splitlines()[0]} {how_to_get(base)} One "
            "that brings its own code needs `model.trust_remote_code: true`."
        ) from None
    if not tokenizer.is_fast:
        raise MissingResource(
            f"The tokenizer of {name!r} is of the slow kind ({type(tokenizer).__name__}), which cannot tell where in "
            "the text a token stands; loss masks need that. Save a fast one (`tokenizer.json`) beside the model."
        )
    return tokenizer


def padding_id(tokenizer: Any) -> int:
    """The token that fills up short rows, of which nothing is learnt."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
