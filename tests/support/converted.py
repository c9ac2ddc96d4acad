"""A tiny mixture of experts in a folder, and its conversions."""

from pathlib import Path
from typing import Any

import torch

from support.experts import tiny_experts
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.moe.convert import convert
from winnow.params import SelectMoeParams
from winnow.stages import Finished, Work, locate


def saved_base(
    root: Path, kind: str = "olmoe", dtype: torch.dtype = torch.float32, shard_size: str = "30KB", **more: Any
) -> Finished:
    """As a hub has it: in several files, with a tokenizer."""
    place = locate(root / "06_models", "base", 1, {"kind": kind, "dtype": str(dtype), **more}, {})
    if place.finished() is None:
        with Work.resume(place) as work:
            tiny_experts(kind, dtype, **more).save_pretrained(work.path, max_shard_size=shard_size)
            make_tokenizer().save_pretrained(work.path)
            return work.finish({"pretrained": None, "revision": None, "trust_remote_code": False}, {})
    return Finished.open(place.folder)


def converted(root: Path, base: Finished, params: SelectMoeParams) -> Finished:
    """Without a worker."""
    place = locate(root / "06_models", "select_moe_converted", 1, params, {"base_model": base.fingerprint})
    if place.finished() is None:
        with Work.resume(place) as work:
            return work.finish(convert(work, base, params, "cpu", lambda done, total: None), {})
    return Finished.open(place.folder)
