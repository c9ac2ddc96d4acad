"""Fonts for labels in any script: matplotlib draws an empty box where none of its fonts has a character."""

import warnings
from collections.abc import Iterable
from functools import cache

# Families with Chinese, Japanese, Korean or emoji glyphs, in the order of preference; others are looked for as well.
PREFERRED = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC", "Symbola")
# The first has a box for every character, and a colour font has pictures that matplotlib cannot scale.
UNUSABLE = ("Last Resort", "Color Emoji")
FIRST = "DejaVu Sans"


def drawable(labels: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Families that have the characters of ``labels``, and each label as it can be drawn.

    A character that no installed font has is written as its code, so that labels stay different from each other, and
    a warning says once what to install.
    """
    texts = list(labels)
    families = [FIRST]
    missing = {character for text in texts for character in text if character.isprintable()} - _characters(FIRST)
    for family in _installed() if missing else ():
        found = missing & _characters(family)
        if found:
            families.append(family)
            missing -= found
    if missing:
        _warn_once("".join(sorted(missing)))
    return families, {text: "".join(_code(c) if c in missing else c for c in text) for text in texts}


def _code(character: str) -> str:
    return f"\\u{ord(character):04x}"


def _installed() -> tuple[str, ...]:
    from matplotlib import font_manager

    names = {font.name for font in font_manager.fontManager.ttflist}
    usable = sorted(name for name in names if not any(part in name for part in UNUSABLE))
    return (*(name for name in PREFERRED if name in names), *(name for name in usable if name not in PREFERRED))


@cache
def _characters(family: str) -> frozenset[str]:
    from matplotlib import font_manager

    entry = next(font for font in font_manager.fontManager.ttflist if font.name == family)
    try:
        font = font_manager.get_font(font_manager.FontPath(entry.fname, entry.index))
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(map(chr, font.get_charmap()))


@cache
def _warn_once(characters: str) -> None:
    warnings.warn(
        f"No installed font draws {characters[:20]!r}: figures show the characters' codes. Install one, for example "
        "`apt-get install fonts-noto-cjk fonts-symbola`, and delete matplotlib's font cache.",
        stacklevel=2,
    )
