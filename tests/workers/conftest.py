"""One tiny corpus, and the results that several tests look at."""

from pathlib import Path

import pytest

from pipelines.gradients.nodes import collect_targets
from pipelines.targets.nodes import gather_targets, tokenize_targets
from pipelines.warmup.nodes import warm_up
from support.gradients import EXACT, WARMUP
from support.tiny import Tiny, make_tiny
from winnow.params import TargetsParams, TokenizeParams
from winnow.stages import Finished, FinishedParts


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gradients")


@pytest.fixture(scope="session")
def warmup(tiny: Tiny, root: Path) -> Finished:
    return warm_up("less", tiny.tokens, tiny.base, WARMUP, tiny.machine(root))


@pytest.fixture(scope="session")
def targets(tiny: Tiny, root: Path) -> Finished:
    return gather_targets(tiny.validation, TargetsParams(limit=4), tiny.machine(root))


@pytest.fixture(scope="session")
def target_tokens(tiny: Tiny, root: Path, targets: Finished) -> Finished:
    return tokenize_targets(targets, tiny.base, TokenizeParams(), tiny.machine(root))


@pytest.fixture(scope="session")
def validation_store(tiny: Tiny, root: Path, warmup: Finished, target_tokens: Finished) -> FinishedParts:
    return collect_targets(warmup, target_tokens, tiny.base, EXACT, tiny.machine(root))
