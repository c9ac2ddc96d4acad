"""Fonts for labels in any script: matplotlib draws an empty box where none of its fonts has a character."""

import warnings
from collections.abc import Iterable
from functools import cache

# Families with Chinese, Japanese, Korean or emoji glyphs, in the order of preference; others are looked for as well.
PREFERRED = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC", "Symbola")
# It has a box for every character, and a colour font has pictures that matplotlib cannot scale.
UNUSABLE = ("Last Resort", "Color Emoji")


def families_for(labels: Iterable[str]) -> list[str]:
    """Families that together have all characters of ``labels``, and a warning about those that no font has."""
    chosen = ["DejaVu Sans"]
    missing = {character for label in labels for character in label if character.isprintable()} - _characters(chosen[0])
    for family in _installed() if missing else ():
        found = missing & _characters(family)
        if found:
            chosen.append(family)
            missing -= found
    if missing:
        _warn_once("".join(sorted(missing)))
    return chosen


@cache
def _installed() -> tuple[str, ...]:
    from matplotlib import font_manager

    names = {font.name for font in font_manager.fontManager.ttflist}
    usable = sorted(name for name in names if not any(part in name for part in UNUSABLE))
    return (*(name for name in PREFERRED if name in names), *(name for name in usable if name not in PREFERRED))


@cache
def _characters(family: str) -> frozenset[str]:
    from matplotlib import font_manager

    try:
        font = font_manager.get_font(font_manager.findfont(family, fallback_to_default=False))
    except (ValueError, RuntimeError):
        return frozenset()
    return frozenset(map(chr, font.get_charmap()))


@cache
def _warn_once(characters: str) -> None:
    warnings.warn(
        f"No installed font draws {characters[:20]!r}; figures show boxes there. Install one, for example "
        "`apt-get install fonts-noto-cjk fonts-symbola`, and delete matplotlib's font cache.",
        stacklevel=4,
    )
