"""Which checkpoints a training left, and the learning rates on the way to them; nothing here loads a model."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from winnow.errors import BadInput, BadSetting
from winnow.stages import Finished

STATE = "trainer_state.json"


def steps_in(folder: Path) -> list[int]:
    """The steps of the `checkpoint-<step>` folders, in the order of their numbers."""
    names = (path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdigit())


def checkpoint_folder(warmup: Finished, step: int) -> Path:
    """Where a checkpoint of a warm-up lies; one by another trainer stays where that left it."""
    return Path(warmup.summary["from"] or warmup.path) / f"checkpoint-{step}"


def optimizer_layout(checkpoint: Path) -> str | None:
    """How a trainer laid out the optimizer's state; None where there is none."""
    if (checkpoint / "optimizer.pt").exists():
        return "trainer"
    if (checkpoint / "optimizer.bin").exists():
        return "fsdp"
    if any(checkpoint.glob("optimizer*/.metadata")):
        return "fsdp_sharded"
    return "zero" if any(checkpoint.glob("global_step*/*_optim_states.pt")) else None


def chosen_steps(spec: str | int | Sequence[int], available: Sequence[int], parameter: str) -> list[int]:
    """The steps that a specification means: `all`, a list, or `start:end:step` with the end included."""
    steps = sorted(available) if spec == "all" else _named_steps(spec, parameter)
    missing = [step for step in steps if step not in available]
    if missing or not steps:
        raise BadSetting(
            f"`{parameter}` is {spec!r}, but there is no checkpoint at step "
            f"{', '.join(map(str, missing)) or 'of that range'}. There are: {', '.join(map(str, sorted(available)))}."
        )
    return steps


def _named_steps(spec: str | int | Sequence[int], parameter: str) -> list[int]:
    try:
        if isinstance(spec, str) and ":" in spec:
            start, end, step = (int(part) for part in spec.split(":"))
            return list(range(start, end + 1, step))
        parts: Iterable[Any] = spec.split(",") if isinstance(spec, str) else [spec] if isinstance(spec, int) else spec
        return sorted({int(part) for part in parts})
    except ValueError:
        raise BadSetting(
            f"`{parameter}` is {spec!r}. Give `all`, a list such as 1000,2000,3000, or a range such as "
            "1000:5000:1000, whose end is included."
        ) from None


def learning_rates(checkpoint: Path) -> dict[int, float]:
    """The learning rate of every logged step up to this checkpoint."""
    log = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["log_history"]
    return {int(entry["step"]): float(entry["learning_rate"]) for entry in log if "learning_rate" in entry}


def rate_weights(folders: Mapping[int, Path]) -> dict[int, float]:
    """For each chosen checkpoint the mean learning rate since the chosen one before it; they sum to 1."""
    means = _mean_rates(folders)
    if (total := sum(means.values())) <= 0:
        raise BadInput(
            f"The learning rates of all chosen checkpoints ({', '.join(map(str, means))}) are 0, so they have no "
            "weight. Choose earlier ones with `gradients.checkpoints`, or give `gradients.checkpoint_weights`."
        )
    return {step: mean / total for step, mean in means.items()}


def rate_sums(folders: Mapping[int, Path]) -> dict[int, float]:
    """For each chosen checkpoint the sum of the learning rates since the chosen one before it."""
    means = _mean_rates(folders)
    return {step: means[step] * (step - before) for before, step in zip([0, *means], means, strict=False)}


def _mean_rates(folders: Mapping[int, Path]) -> dict[int, float]:
    steps = sorted(folders)
    rates = learning_rates(folders[steps[-1]])
    means = {}
    for before, step in zip([0, *steps], steps, strict=False):
        since = [rate for number, rate in rates.items() if before < number <= step]
        if not since:
            raise BadInput(
                f"{folders[steps[-1]] / STATE} logged no learning rate between the steps {before} and {step}. Give the "
                "weights of the checkpoints as `gradients.checkpoint_weights`."
            )
        means[step] = sum(since) / len(since)
    return means
