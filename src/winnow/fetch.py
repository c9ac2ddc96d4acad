"""What a recipe needs from elsewhere: its models and, under the key `fetch`, its data; where each goes, and how.

Repositories come through huggingface_hub or ModelScope's package, which show progress and resume. Pickled weights are
left where they are.
"""

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from winnow.errors import BadSetting, MissingResource
from winnow.paths import located

Source = Literal["hub", "modelscope"]
# Weights that are pickled, or in formats of other frameworks, and Meta's own next to the converted ones.
IGNORED = ("*.bin", "*.pth", "*.pt", "*.ckpt", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.onnx", "original/*")


class DataSource(BaseModel):
    """An entry of a recipe's `fetch`: files of a dataset repository, or one at a url, and their folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    url: str | None = Field(default=None, pattern=r"^https?://.+/[^/?#]+")
    files: list[str] = Field(default=[], description="globs; none: all files of the repository")
    to: Path = Field(description="folder in data/01_raw")
    revision: str | None = None
    source: Source = "hub"

    @model_validator(mode="after")
    def _one_place_and_a_folder_here(self) -> Self:
        if (self.repo is None) == (self.url is None):
            raise ValueError("an entry of fetch has either repo or url")
        if self.url and (self.files or self.revision):
            raise ValueError(f"url is {self.url!r}, one file: files and revision belong to repo")
        if self.to.is_absolute() or ".." in self.to.parts or not self.to.parts:
            raise ValueError(f"to is {str(self.to)!r}: it should be a folder in data/01_raw")
        return self


@dataclass(frozen=True)
class Item:
    """One thing to fetch; ``to`` is None for a model that goes into the cache of Hugging Face."""

    kind: Literal["model", "dataset", "url"]
    name: str
    to: Path | None
    source: Source = "hub"
    revision: str | None = None
    files: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The same by hand, on a machine with a network."""
        if self.kind == "url":
            file = f"{self.shown}/{self._file.name}"
            return shlex.join(["curl", "--location", "--create-dirs", "--output", file, self.name])
        left = IGNORED if self.kind == "model" else ()
        revision = ["--revision", self.revision] if self.revision else []
        if self.source == "modelscope":
            # It takes the last of several --include alone.
            groups = (("--include", self.files), ("--exclude", left))
            globs = [word for option, chosen in groups if chosen for word in (option, *chosen)]
            words = ["modelscope", "download", f"--{self.kind}", self.name, *revision, "--local_dir", self.shown]
        else:
            globs = [word for glob in self.files for word in ("--include", glob)]
            globs += [word for glob in left for word in ("--exclude", glob)]
            kind = ["--repo-type", "dataset"] if self.kind == "dataset" else []
            words = ["hf", "download", self.name, *kind, *revision, *(["--local-dir", self.shown] if self.to else [])]
        return shlex.join([*words, *globs])

    @property
    def shown(self) -> str:
        """Where it goes, as seen from here."""
        return os.path.relpath(self.to) if self.to and self.to.is_relative_to(Path.cwd()) else str(self.to or "")

    @property
    def _file(self) -> Path:
        assert self.to is not None
        return self.to / PurePosixPath(urlsplit(self.name).path).name

    def fetch(self) -> Path:
        """Get it; what is here already is not fetched again. Returns its folder, or file."""
        if self.kind == "url":
            return _fetch_url(self.name, self._file)
        folder = _from_modelscope(self) if self.source == "modelscope" else _from_hub(self)
        if self.kind == "model" and not any(folder.glob("*.safetensors")):
            raise MissingResource(
                f"{self.name} has no *.safetensors file. Pickled weights are neither fetched nor loaded: take a "
                "revision or a copy that has safetensors."
            )
        return folder


def models_in(params: Mapping[str, Any], models: Path, source: Source | None = None) -> list[Item]:
    """The hub ids that a recipe's parameters name; ModelScope's go to a folder of their own in ``models``."""
    found = {(name, revision): None for name, revision in _bases(params) if not _is_folder(name)}
    chosen = source or "hub"
    return [
        Item("model", name, models / name if chosen == "modelscope" else None, chosen, revision)
        for name, revision in found
    ]


def data_in(entries: list[DataSource], data_root: Path, source: Source | None = None) -> list[Item]:
    """The items of a recipe's `fetch`; whoever wrote the recipe, and wherever links lead, they are raw data."""
    items, raw = [], (data_root / "01_raw").resolve()
    for entry in entries:
        to = located(entry.to, data_root).resolve()
        if raw not in to.parents:
            raise BadSetting(
                f"`fetch.to` is {str(entry.to)!r}, which leads to {to}. It should be a folder in data/01_raw ({raw})."
            )
        if entry.url:
            items.append(Item("url", entry.url, to))
        else:
            name = str(entry.repo)
            items.append(Item("dataset", name, to, source or entry.source, entry.revision, tuple(entry.files)))
    return items


def _bases(params: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    model, warmups = params.get("model") or {}, params.get("warmup") or {}
    named = [(model.get("base"), model.get("revision"))]
    named += [(warmup.get("base"), None) for warmup in warmups.values() if warmup]
    named += [((params.get("select_moe") or {}).get("base"), None)]
    return ((name, revision) for name, revision in named if name)


def _is_folder(name: str) -> bool:
    return Path(name).expanduser().is_dir() or name.startswith(("/", ".", "~")) or name.count("/") > 1


def _from_hub(item: Item) -> Path:
    from huggingface_hub import HfApi, is_offline_mode, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if is_offline_mode():
        raise MissingResource("HF_HUB_OFFLINE is set.")
    # False: no token that an earlier login left on this machine.
    token = os.environ.get("HF_TOKEN") or False
    kind: dict[str, Any] = {"repo_type": item.kind, "token": token}
    try:
        # Asked first: without a network snapshot_download takes whatever lies in the folder for the whole.
        commit = HfApi().repo_info(item.name, revision=item.revision, **kind).sha
        ignored = list(IGNORED) if item.kind == "model" else None
        return Path(
            snapshot_download(
                item.name,
                # In the cache the name of the revision has to be kept, for it is asked for by name.
                revision=commit if item.to else item.revision,
                local_dir=item.to,
                allow_patterns=list(item.files) or None,
                ignore_patterns=ignored,
                **kind,
            )
        )
    except GatedRepoError:
        page = f"https://huggingface.co/{item.name}"
        raise MissingResource(
            f"{item.name} is gated: accept its terms at {page}, and set HF_TOKEN to a token of yours."
        ) from None
    except RevisionNotFoundError:
        raise MissingResource(f"{item.name} has no revision {item.revision!r}.") from None
    except RepositoryNotFoundError:
        raise MissingResource(
            f"There is no {item.kind} {item.name!r} at the hub, or it is private: then set HF_TOKEN."
        ) from None
    except Exception as error:
        # The hub's client lets the errors of the layers below it through, which change with its version.
        raise MissingResource(f"{item.name} cannot be fetched: {_first_line(error)}.") from error


def _from_modelscope(item: Item) -> Path:
    try:
        modelscope = import_module("modelscope.hub.snapshot_download")
    except ImportError:
        raise MissingResource(
            "ModelScope's package is not installed. Get it with `.venv/bin/python -m pip install modelscope`."
        ) from None
    download = modelscope.snapshot_download if item.kind == "model" else modelscope.dataset_snapshot_download
    ignored = list(IGNORED) if item.kind == "model" else None
    try:
        return Path(
            download(
                item.name,
                revision=item.revision,
                local_dir=str(item.to),
                allow_patterns=list(item.files) or None,
                ignore_patterns=ignored,
            )
        )
    except Exception as error:
        raise MissingResource(f"{item.name} cannot be fetched from ModelScope: {_first_line(error)}") from error


def _fetch_url(url: str, file: Path) -> Path:
    from huggingface_hub.file_download import http_get

    if file.exists():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.partial")
    try:
        with scratch.open("wb") as target:
            http_get(url, target)
    except Exception as error:
        raise MissingResource(f"{url} cannot be fetched: {_first_line(error)}") from error
    return scratch.replace(file)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[0]
