"""What workers need, loaded once: the server that imports this module forks them."""

import importlib
import logging

# It tells everybody that a kernel is missing which nothing here uses.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

for name in (
    "torch",
    "transformers.trainer",
    "transformers.models.qwen2.modeling_qwen2",
    "peft",
    "lm_eval.models.huggingface",
    "polars",
    "winnow.params",
):
    importlib.import_module(name)
