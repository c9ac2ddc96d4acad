"""A model's tensors as they lie in its files, read one at a time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils import cached_file

from winnow.errors import BadInput, StaleOutput
from winnow.records.tokenizer import model_name
from winnow.stages import Finished

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MODEL_CONFIG = "config.json"
# What belongs to a model beside its tensors and its configuration.
COMPANIONS = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class Header:
    """Where a tensor lies, and its shape."""

    file: Path
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(torch.Size(self.shape).numel())


class Checkpoint:
    """The tensors of safetensors files: those of a model's folder, or files that are named."""

    def __init__(self, folder: Path, files: list[str] | None = None) -> None:
        self.folder = folder
        self.headers: dict[str, Header] = {}
        # Opened once: to read where thousands of tensors lie takes longer than to read one of them.
        self._opened: dict[Path, Any] = {}
        for path in (folder / file for file in files or files_of(folder)):
            with _whole(path):
                content: Any = safe_open(path, framework="pt")
                self._opened[path] = content
                for name in content.keys():  # noqa: SIM118 - no mapping, though it has keys
                    self.headers[name] = Header(path, tuple(content.get_slice(name).get_shape()))

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor."""
        with _whole(self.headers[name].file):
            return self._opened[self.headers[name].file].get_tensor(name)


def base_checkpoint(base: Finished) -> Checkpoint:
    """The files of a base model that has been loaded before, so that they are here even if they came from a hub."""
    return Checkpoint(_found(base, MODEL_CONFIG).parent)


def companions(base: Finished) -> list[Path]:
    """The files of a base model's tokenizer, of its generation, and of its own code."""
    config = _found(base, MODEL_CONFIG)
    # They need not be there; what is not in the cache may not be found without a network either.
    options: dict[str, Any] = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    found = [
        cached_file(model_name(base), name, revision=base.summary.get("revision"), **options) for name in COMPANIONS
    ]
    code = sorted(config.parent.glob("*.py")) if base.summary.get("trust_remote_code") else []
    return [Path(path) for path in found if path] + code


def files_of(folder: Path) -> list[str]:
    """The files that transformers would read the model's tensors from."""
    if (folder / SINGLE).exists():
        return [SINGLE]
    if not (folder / INDEX).exists():
        raise StaleOutput(
            f"{folder} holds neither {SINGLE} nor {INDEX}: it is no model, or not all of one. "
            "Delete it, and make it again."
        )
    return sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StaleOutput(f"{path} cannot be read: {error}. Delete its folder, and make it again.") from None
    if not isinstance(content, dict):
        raise StaleOutput(f"{path} holds no JSON object. Delete its folder, and make it again.")
    return content


def gate_names(model: Any, routers: list[str], files: Checkpoint) -> dict[str, str]:
    """The name that each router's gate has in files, where modules may be called otherwise than in memory."""
    names = {}
    for router in routers:
        own = f"{router}.weight"
        (converted,) = revert_weight_conversion(model, {own: torch.empty(0)})
        names[router] = converted if converted in files.headers else own
        if names[router] not in files.headers:
            raise BadInput(
                f"The files in {files.folder} have no tensor {converted!r}, which should be the gate of "
                f"{router!r}. Load the model with transformers, save it anew with `save_pretrained`, and name that "
                "folder."
            )
    return names


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors are the same to the last bit, NaN and signed zeros included."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8))


def _found(base: Finished, name: str) -> Path:
    return Path(cached_file(model_name(base), name, revision=base.summary.get("revision")))


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StaleOutput(
            f"{path} cannot be read: {str(error).splitlines()[0]}. It is missing, cut short or damaged: delete "
            "its folder, and make it again."
        ) from None
