"""Which chat template a conversation is rendered with: one that is named, one in a file, or the tokenizer's own.

Base models often have none of their own; those get the default, which needs no token that a tokenizer may lack.
"""

from functools import cache
from pathlib import Path
from typing import Any

from winnow.errors import BadSetting
from winnow.stages import file_checksum

NAMED = {path.stem: path for path in sorted((Path(__file__).parent / "templates").glob("*.jinja"))}
# Results are named after the template that was asked for, so what stands under these names must not change.
DEFAULT = "tulu"
# The file beside tokens, and beside models, that says which one was used.
FILE = "chat_template.jinja"


def template_file(given: str | Path | None) -> Path | None:
    """The file of a template that is given by name or as a file."""
    if given is None:
        return None
    file = NAMED.get(str(given), Path(given))
    if not file.is_file():
        raise BadSetting(
            f"`tokenize.template` is {str(given)!r}, and there is no such file. Give a Jinja file, or one of the names "
            f"{', '.join(NAMED)}, or null for the tokenizer's own."
        )
    return file


def template_text(given: str | Path | None) -> str | None:
    """The template itself; None stands for the tokenizer's own."""
    file = template_file(given)
    return file.read_text(encoding="utf-8") if file else None


def template_checksum(given: str | Path | None) -> str | None:
    """What a fingerprint knows of the template: its content, wherever it comes from."""
    file = template_file(given)
    return file_checksum(file) if file else None


def chat_template(template: str | None, tokenizer: Any) -> str:
    """The text that is used: the one given, else the tokenizer's own, else the default."""
    if template:
        return template
    if not tokenizer.chat_template:
        return _default()
    try:
        return str(tokenizer.get_chat_template())
    except ValueError:
        names = ", ".join(sorted(tokenizer.chat_template))
        raise BadSetting(
            f"The tokenizer has several chat templates ({names}), none of them its default: give one as "
            "`tokenize.template`."
        ) from None


def describe_template(template: str | None, tokenizer: Any) -> str:
    """Which one is used, in words."""
    if not template:
        return "the tokenizer's own" if tokenizer.chat_template else f"{DEFAULT} (the tokenizer has none)"
    texts = {file.read_text(encoding="utf-8"): name for name, file in NAMED.items()}
    return texts.get(template, "of a file")


@cache
def _default() -> str:
    return NAMED[DEFAULT].read_text(encoding="utf-8")
