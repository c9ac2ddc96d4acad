"""What other trainers write of a training: trainer_log.jsonl of LLaMA-Factory, logging.jsonl of ms-swift.

A field that a version does not write is missing in the result; a line that cannot be read is an error, for a cost that
is computed from half of a log would look like any other.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from winnow.errors import BadInput, MissingResource

Line = Mapping[str, Any]
COLUMNS = ["step", "loss", "seconds", "tokens", "tokens_per_second", "memory_gb"]
_CLOCK = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")
_LETTERS = re.compile(r"(?=\d)(?:(\d+)d ?)?(?:(\d+)h ?)?(?:(\d+)m ?)?(?:(\d+(?:\.\d+)?)s)?")
_TRAINABLE = re.compile(r"\(([\d.]+)M Trainable")
_SWIFT_STEPS = ("global_step/max_steps", "steps[global_step/max_steps]")


@dataclass(frozen=True)
class TrainerLog:
    """``curve`` has a row per logged step, NaN where nothing was said; ``costs`` what all of them come to."""

    framework: str
    curve: pd.DataFrame
    costs: dict[str, float]


def read_trainer_log(file: Path) -> TrainerLog:
    """Read a log in whichever of the two formats it is."""
    if not file.is_file():
        raise MissingResource(
            f"`compare_parallelism.logs` names {file}, where no file is. Name it from the project's folder on."
        )
    rows: list[dict[str, float]] = []
    found: dict[str, float] = {}
    frameworks = set()
    for number, text in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = _object(text)
            framework = next((name for name, (marks, _) in FORMATS.items() if any(mark in line for mark in marks)), "")
            if framework:
                frameworks.add(framework)
                rows.append(FORMATS[framework][1](line))
            found |= _trainable(line)
        except ValueError as error:
            raise BadInput(
                f"{file}, line {number}: {error}. Mend the line, or take it out; the log is not used."
            ) from None
    if len(frameworks) != 1:
        raise BadInput(
            f"{file} has lines of {'both' if frameworks else 'neither'} LLaMA-Factory (with `current_steps`) and "
            "ms-swift (with `global_step/max_steps`). Name one training's trainer_log.jsonl or logging.jsonl."
        )
    table = pd.DataFrame(rows, columns=COLUMNS).astype(float).astype({"step": int})
    # The last line of a training repeats its step, without a loss.
    curve = table.groupby([_attempts(table), "step"], sort=False).first().reset_index("step")
    return TrainerLog(frameworks.pop(), curve.reset_index(drop=True)[COLUMNS], _costs(_last_attempt(table)) | found)


def _object(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(line, dict):
        raise ValueError(f"{text[:40]!r} is no JSON object")
    return line


def _llamafactory(line: Line) -> dict[str, float]:
    if not isinstance(line["current_steps"], int):
        raise ValueError(f"`current_steps` is {line['current_steps']!r}, not a number")
    return {
        "step": line["current_steps"],
        "loss": _number(line, "loss"),
        "seconds": _duration(line, "elapsed_time"),
        "tokens": _number(line, "total_tokens"),
        "tokens_per_second": _number(line, "throughput"),
        "memory_gb": _number(line, "vram_allocated"),
    }


def _swift(line: Line) -> dict[str, float]:
    name = next(name for name in _SWIFT_STEPS if name in line)
    step, sign, _ = str(line[name]).partition("/")
    if not sign or not step.isdigit():
        raise ValueError(f"`{name}` is {line[name]!r}, not such as '5/100'")
    return {
        "step": int(step),
        "loss": _number(line, "loss"),
        "seconds": _swift_seconds(line, int(step)),
        "tokens": _number(line, "num_input_tokens_seen"),
        "tokens_per_second": _number(line, "train_tokens_per_second"),
        "memory_gb": _number(line, "memory(GiB)"),
    }


def _swift_seconds(line: Line, step: int) -> float:
    """Its mean speed since the beginning is given more exactly than the time itself, which is in whole seconds."""
    per_second, per_step = _number(line, "train_speed(iter/s)"), _number(line, "train_speed(s/it)")
    if per_second > 0:
        return step / per_second
    return step * per_step if per_step > 0 else _duration(line, "elapsed_time")


# By the fields that only this format has: how to read a line.
FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Line], dict[str, float]]]] = {
    "llamafactory": (("current_steps",), _llamafactory),
    "ms-swift": (_SWIFT_STEPS, _swift),
}


def _number(line: Line, name: str) -> float:
    value = line.get(name)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`{name}` is {value!r}, not a number")
    return float(value)


def _duration(line: Line, name: str) -> float:
    """`0:01:23`, `1 day, 0:01:23`, `1h 2m 3s`."""
    text = line.get(name)
    if text is None:
        return math.nan
    match = _CLOCK.fullmatch(str(text).strip()) or _LETTERS.fullmatch(str(text).strip())
    if not match:
        raise ValueError(f"`{name}` is {text!r}, not such as '0:01:23' or '1m 23s'")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def _trainable(line: Line) -> dict[str, float]:
    """ms-swift ends with what it knows of the model, in millions."""
    match = _TRAINABLE.search(str(line.get("model_parameter_info", "")))
    return {"trainable_parameters": round(float(match.group(1)) * 1e6)} if match else {}


def _attempts(table: pd.DataFrame) -> pd.Series:
    """A training that was resumed goes on in the same file, with a clock that begins anew.

    Some lines tell whole seconds and some fractions: a second less is no new beginning.
    """
    return ((table["seconds"].diff() < -1) | (table["step"].diff() < 0)).cumsum()


def _last_attempt(table: pd.DataFrame) -> pd.DataFrame:
    attempts = _attempts(table)
    return table[attempts == attempts.iloc[-1]]


def _costs(table: pd.DataFrame) -> dict[str, float]:
    """The time between the first and the last logged step: what comes before the first is not timed."""
    costs = {"seconds": table["seconds"].max(), "peak_memory_gb": table["memory_gb"].max()}
    trained = table.drop_duplicates("step")
    first, last = trained.iloc[0], trained.iloc[-1]
    seconds, steps = last["seconds"] - first["seconds"], last["step"] - first["step"]
    if seconds > 0:
        costs["step_seconds"] = seconds / steps
    tokens = last["tokens"] - first["tokens"]
    whole = table["tokens_per_second"].dropna()
    if seconds > 0 and tokens > 0:
        costs["tokens_per_second"] = tokens / seconds
    elif len(whole):
        costs["tokens_per_second"] = whole.iloc[-1]
    losses = table["loss"].dropna()
    costs |= {"loss": losses.iloc[-1]} if len(losses) else {}
    return {name: float(value) for name, value in costs.items() if math.isfinite(value)}
