"""The words of a text in any script, for counting: no tokenizer, no stop words, no stems.

Where words are written with spaces between them, a word is a run of letters, marks and digits, in lower case. Scripts
without spaces are cut into pairs of neighbouring characters, the usual makeshift of search engines.
"""

from collections.abc import Sequence

import regex

from winnow.records.shapes import Message

_WITHOUT_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\u30FC\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_RUNS = regex.compile(rf"(?V1)([{_WITHOUT_SPACES}]+)|[[\p{{L}}\p{{M}}\p{{N}}_]--[{_WITHOUT_SPACES}]]+")


def words(text: str) -> list[str]:
    """The words of ``text``, in its order."""
    found: list[str] = []
    for run in _RUNS.finditer(text.lower()):
        if run[1] is None:
            found.append(run[0])
        else:
            found += [run[0][place : place + 2] for place in range(max(1, len(run[0]) - 1))]
    return found


def words_of(messages: Sequence[Message]) -> list[str]:
    """The words of all that is said in a conversation: questions and answers alike."""
    return [word for message in messages for word in words(message["content"] or "")]
