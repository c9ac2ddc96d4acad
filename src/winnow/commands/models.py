"""What MODEL means on the command line: an arm, a folder, or a hub id; and the base model that belongs to it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.errors import BadInput, BadSetting, MissingResource
from winnow.records.chat_template import FILE, NAMED, template_checksum, template_text
from winnow.stages import Finished, FinishedParts
from winnow.stages.finished import RECORD

ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER = "tokenizer_config.json"


@dataclass(frozen=True)
class Named:
    """A model: its base, the folder that training left (None: the base itself), and the template it was trained with.

    Without a ``template`` the tokenizer's own is meant.
    """

    name: str
    base: Finished
    folder: Path | None = None
    template: str | None = None

    @property
    def is_adapter(self) -> bool:
        """Whether the folder holds an adapter and no whole model."""
        return self.folder is not None and (self.folder / ADAPTER_CONFIG).exists()


def find_model(what: str, base: str | None = None, seed: int | None = None, env: str | None = None) -> Named:
    """The model that ``what`` means; ``base`` overrules which model it was trained on."""
    from pipelines.arms import ARMS

    folder = Path(what).expanduser()
    if folder.is_dir():
        found = _in_folder(folder.resolve(), base)
    elif what in ARMS:
        found = _of_arm(what, base, seed, env)
    elif folder.is_absolute() or what.startswith((".", "~")) or what.count("/") != 1:
        raise BadSetting(
            f"{what!r} is no folder, no arm (they are {', '.join(sorted(ARMS))}), and no hub id such as "
            "`Qwen/Qwen2.5-0.5B`."
        )
    else:
        found = Named(what.split("/")[1], _outside(what))
    if base and found.folder is None:
        raise BadSetting(f"--base is {base!r}, but {what!r} is a whole model and needs none. Leave it out.")
    return found


def _of_arm(arm: str, base: str | None, seed: int | None, env: str | None) -> Named:
    from kedro.framework.session import KedroSession

    name = "base_model" if arm == "base" else f"{arm}.model"
    with KedroSession.create(env=env) as session:
        catalog: Any = session.load_context().catalog
        if not catalog.exists(name):
            raise MissingResource(f"The arm {arm!r} has no model yet. Make it with `kedro run --pipeline {arm}` first.")
        if arm == "base":
            tokens = catalog.load("tokens").path if catalog.exists("tokens") else None
            return Named(arm, catalog.load(name), template=_template_of(tokens) if tokens else None)
        parts: FinishedParts = catalog.load(name)
    chosen = "0" if seed is None else str(seed)
    if chosen not in parts.parts:
        raise BadSetting(f"The arm {arm!r} has no model of seed {chosen}. It has: {', '.join(parts.parts)}.")
    part = parts.parts[chosen]
    return _recorded(f"{arm}-seed{chosen}", part, part.path, base)


def _in_folder(folder: Path, base: str | None) -> Named:
    is_checkpoint = folder.name.startswith("checkpoint-")
    name = f"{folder.parent.name}-{folder.name}" if is_checkpoint else folder.name
    for place in (folder, folder.parent) if is_checkpoint else (folder,):
        if (place / RECORD).exists() and "base_model" in (finished := Finished.open(place)).inputs:
            return _recorded(name, finished, folder, base)
    if (folder / ADAPTER_CONFIG).exists():
        return Named(name, _outside(base or _base_of_adapter(folder)), folder, _text_of(folder))
    if not (folder / "config.json").exists():
        raise BadInput(f"{folder} holds no model: it has neither config.json nor {ADAPTER_CONFIG}.")
    if (folder / TOKENIZER).exists():
        # A fabricated model's record says how its tokenizer is read.
        whole = Finished.open(folder) if (folder / RECORD).exists() else _outside(str(folder))
        return Named(name, whole)
    if base is None:
        raise BadInput(f"{folder} holds a model without its tokenizer. Name the model it was trained from as --base.")
    return Named(name, _outside(base), folder)


def _recorded(name: str, trained: Finished, folder: Path, base: str | None) -> Named:
    """A training's record names by fingerprint what it was trained on."""
    data_root = trained.path.parents[2]
    tokens = data_root / "02_intermediate" / "tokens" / trained.inputs.get("tokens", "-")
    return Named(name, _outside(base) if base else base_of(trained, data_root), folder, _template_of(tokens))


def base_of(trained: Finished, data_root: Path) -> Finished:
    """The base model that a training, or tokens, name among their inputs."""
    wanted = trained.inputs["base_model"]
    if record := next(data_root.glob(f"06_models/*/{wanted}/{RECORD}"), None):
        return Finished.open(record.parent)
    raise MissingResource(
        f"The base model of {trained.path} ({wanted}) is no longer in {data_root / '06_models'}. Name it as --base, or "
        "run the pipeline that trained it again."
    )


def _template_of(tokens: Path) -> str | None:
    """What tokens were rendered with; those made before templates were kept with them have its checksum."""
    if (tokens / FILE).exists() or not (tokens / RECORD).exists():
        return _text_of(tokens)
    checksum = Finished.open(tokens).parameters.get("template")
    texts = {template_checksum(name): template_text(name) for name in NAMED}
    if checksum not in {None, *texts}:
        raise MissingResource(
            f"The chat template that {tokens} was rendered with is not kept there. Copy the file of "
            f"`tokenize.template` to {tokens / FILE}."
        )
    return texts.get(checksum)


def _text_of(folder: Path) -> str | None:
    file = folder / FILE
    return file.read_text(encoding="utf-8") if file.exists() else None


def _base_of_adapter(folder: Path) -> str:
    try:
        name = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{folder / ADAPTER_CONFIG} cannot be read: {error}.") from None
    if not name:
        raise BadInput(f"The adapter in {folder} does not say which model it was trained on. Name it as --base.")
    return str(name)


def _outside(name: str) -> Finished:
    """A model that no stage recorded: a folder or a hub id."""
    folder = Path(name).expanduser()
    pretrained = str(folder.resolve()) if folder.is_dir() else name
    if not folder.is_dir() and (folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1):
        raise MissingResource(
            f"The base model {name!r} looks like a folder, but there is none. Name a folder or a hub id as --base; "
            "`hf download ID` gets a model, `kedro fetch RECIPE` those of a recipe."
        )
    return Finished("pretrained", "", folder, summary={"pretrained": pretrained})
