"""Features of the tiny corpus: settings that tests of them share."""

from pathlib import Path

from pipelines.gradients.nodes import collect_train
from support.tiny import Tiny
from winnow.params import GradientsParams, WarmupParams
from winnow.stages import Finished, FinishedParts

WARMUP = WarmupParams(method="lora", steps=8, batch=8, lr=0.01, checkpoints=2, share=0.3)
# Whole features, in float32, so that nothing but the computation itself is compared.
EXACT = GradientsParams(projection="none", store="float32", batch=8, batch_tokens=400, shard_rows=40)


def collected(
    tiny: Tiny, root: Path, warmup: Finished, params: GradientsParams = EXACT, **machine: object
) -> FinishedParts:
    return collect_train(warmup, tiny.tokens, tiny.base, params, tiny.machine(root, **machine))
