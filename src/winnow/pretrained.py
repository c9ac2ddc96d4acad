"""A base model that somebody else trained: a hub id or a folder, recorded so that it can be fingerprinted."""

import hashlib
from pathlib import Path

from winnow.errors import BadSetting, MissingResource
from winnow.params import ModelParams
from winnow.stages import Finished, file_checksum, filled, locate

REVISION = 1
SAMPLE_BYTES = 1 << 20
SMALL_BYTES = 64 << 20


def record_pretrained(params: ModelParams, root: Path, name: str = "model.base") -> Finished:
    """Record the model of ``params.base``, a parameter called ``name``; its files stay where they are."""
    if params.base is None:
        raise BadSetting(f"`{name}` is null, which means the fabricated model; give a hub id or a folder here.")
    folder = Path(params.base).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and (folder.is_absolute() or params.base.startswith((".", "~"))):
        raise MissingResource(
            f"`{name}` is {params.base!r}, which looks like a folder, but there is none. Give the folder with "
            "config.json and *.safetensors, or a hub id such as `Qwen/Qwen2.5-0.5B`."
        )
    content = folder_fingerprint(folder) if is_folder else f"{params.base}@{params.revision or 'main'}"
    settings = {"trust_remote_code": params.trust_remote_code}
    place = locate(root, "pretrained", REVISION, settings, {"model": content})
    known = {
        "pretrained": folder.resolve().as_posix() if is_folder else params.base,
        "revision": params.revision,
        "trust_remote_code": params.trust_remote_code,
    }
    return filled(place, lambda work: known)


def folder_fingerprint(folder: Path) -> str:
    """Hash of a model folder; of weights too large to read each time, the size and a sample from both ends."""
    digest = hashlib.sha256()
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not any(path.suffix == ".safetensors" for path in files):
        raise MissingResource(
            f"{folder} holds no *.safetensors file. Pickled weights are not loaded; convert them with `safetensors`."
        )
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        digest.update(file_checksum(path).encode() if size <= SMALL_BYTES else _sample(path, size))
    return digest.hexdigest()


def _sample(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
        file.seek(size - SAMPLE_BYTES)
        return hashlib.sha256(head + file.read()).digest()
