"""Function calls in the one form that trainers read: `name` and `arguments`."""

import json
from collections.abc import Mapping
from typing import Any

from winnow.records.shapes import Unusable


def read_calls(text: str) -> list[dict[str, Any]]:
    """The calls of a message: one or a list, in OpenAI's form (with `function` around it) or without."""
    try:
        value = json.loads(text)
    except ValueError:
        raise Unusable("a function call is not JSON") from None
    calls = value if isinstance(value, list) else [value]
    if not calls:
        raise Unusable("a function call is an empty list")
    return [_plain(call) for call in calls]


def _plain(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise Unusable("a function call lacks `name`")
    if (arguments := _parsed(function.get("arguments"))) is None:
        raise Unusable("a function call lacks `arguments`")
    return {"name": function["name"], "arguments": arguments}


def _parsed(arguments: Any) -> Any:
    """OpenAI keeps arguments as JSON within JSON."""
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
