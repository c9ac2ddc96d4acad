"""The grid of a sweep: which values of which parameters are tried, and in which combinations."""

import itertools
import json
import random
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from winnow.errors import BadSetting
from winnow.recipes import check_params
from winnow.stages import fingerprint

REVISION = 1
Grid = dict[str, list[Any]]

# What a ranking needs to be the same for all. The last two change what a token is, and with it what a loss means.
_ASKED = "other validation rows or another way to ask them, and results on those cannot be ranked with each other"
_NOT_SWEPT = dict.fromkeys(("ingest", "fabricate", "split", "evaluate"), _ASKED)
_NOT_SWEPT |= {"study": "another study, not another result", "machine": "the same result, only faster or slower"}
_OTHER_TOKENS = ("model", "tokenize")
_COMMA = re.compile(r",(?![^\[{]*[\]}])")


def parse_grid(items: Iterable[str]) -> Grid:
    """`KEY=A,B` for each parameter; a value that is a list stands in brackets: `KEY=[a,b],[c]`."""
    grid: Grid = {}
    for item in items:
        key, _, text = item.partition("=")
        values = [piece.strip() for piece in _COMMA.split(text)]
        if not key.strip() or not all(values):
            raise BadSetting(f"{item!r} should be `KEY=VALUE,VALUE`, for example `finetune.lr=1e-4,3e-4,1e-3`.")
        if key.strip() in grid:
            raise BadSetting(f"`{key.strip()}` is given twice. Put all its values behind one `=`.")
        grid[key.strip()] = values
    return grid


def read_grid(given: Mapping[str, Sequence[Any]]) -> Grid:
    """Text as the values it stands for, as `--params` reads it (YAML takes 1e-4 for a word), and each of them once."""
    read = {
        key: [_value(value) if isinstance(value, str) else value for value in values] for key, values in given.items()
    }
    return {key: list({json.dumps(value): value for value in values}.values()) for key, values in read.items()}


def check_grid(grid: Mapping[str, Sequence[Any]], by: str, arms: Collection[str]) -> None:
    """Refuse unknown parameters, values out of range, and what would make a ranking meaningless."""
    for key, values in grid.items():
        section = key.partition(".")[0]
        if section in _NOT_SWEPT:
            raise BadSetting(f"`{key}` cannot be swept: it makes {_NOT_SWEPT[section]}. Set it with --params.")
        if by == "loss" and not same_tokens([key]):
            raise BadSetting(
                f"`{key}` changes what a token is, and losses per token of different tokens cannot be ranked with each "
                "other. Rank by `--by accuracy`."
            )
        if outer := next((other for other in grid if key.startswith(f"{other}.")), None):
            raise BadSetting(f"`{key}` is a part of `{outer}`, which is swept too. Leave one of them out.")
        for value in values:
            check_params(nested({key: value}), "sweep", arms)


def check_effect(grid: Iterable[str], arm: str, own: Mapping[str, Any]) -> None:
    """Refuse to sweep a parameter of fine-tuning that an arm has its ``own`` value of, which would hold throughout."""
    for key in grid:
        if set_here := next((name for name in _names(own, "finetune") if _overlap(name, key)), None):
            raise BadSetting(
                f"`{key}` cannot be swept: `arms.{arm}.{set_here}` is set, and holds whatever `{key}` is. Sweep "
                f"`arms.{arm}.{set_here}`, or remove it from the recipe, --params, or conf."
            )


def _names(values: Mapping[str, Any], above: str) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _names(value, f"{above}.{name}")
        else:
            yield f"{above}.{name}"


def _overlap(first: str, second: str) -> bool:
    return f"{first}.".startswith(f"{second}.") or f"{second}.".startswith(f"{first}.")


def same_tokens(keys: Iterable[str]) -> bool:
    """Whether the losses of all settings are of the same tokens, and can be compared."""
    return not any(key.partition(".")[0] in _OTHER_TOKENS for key in keys)


def combinations(grid: Mapping[str, Sequence[Any]], sample: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """The full grid, or ``sample`` combinations of it, drawn without replacement."""
    full = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if sample is None or sample >= len(full):
        return full
    # Sorted first: the order in which keys and values were typed decides nothing.
    drawn = set(random.Random(seed).sample(sorted(map(_spelled, full)), sample))
    return [combination for combination in full if _spelled(combination) in drawn]


def nested(combination: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as dictionaries in one another."""
    whole: dict[str, Any] = {}
    for key, value in combination.items():
        *above, last = key.split(".")
        part = whole
        for name in above:
            part = part.setdefault(name, {})
        part[last] = value
    return whole


def label(combination: Mapping[str, Any]) -> str:
    """A combination as it would be typed behind `--params`."""
    return ",".join(f"{key}={spelled(value)}" for key, value in combination.items())


def spelled(value: Any) -> str:
    """A value as it would be typed."""
    if isinstance(value, list):
        return f"[{','.join(map(spelled, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def sweep_id(grid: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> str:
    """The name of a sweep's folder: the same grid and settings give the same, in whatever order they were typed."""
    values = {key: sorted(values, key=json.dumps) for key, values in grid.items()}
    return fingerprint("sweep", REVISION, {"grid": values, **settings}, {})


def _value(text: str) -> Any:
    from omegaconf import OmegaConf

    whole: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))
    return whole["value"]


def _spelled(combination: Mapping[str, Any]) -> str:
    return json.dumps(combination, sort_keys=True)
