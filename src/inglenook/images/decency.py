# SPDX-License-Identifier: Apache-2.0
"""Whether a prompt says plainly that a pornographic picture is wanted. Pure but for reading its word list.

Words count only where they stand alone, so that no town, tool or animal is caught for letters inside its
name. Letters written as digits (p0rn) are read back only in words that mix the two, where no innocent word
can be hit. What a prompt does *not* want, its negative side, is never looked at.
"""

import re
import unicodedata
from functools import cache
from pathlib import Path

WORDS = Path(__file__).with_name("indecent.txt")

_DIGITS = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s"})
_TOKEN = re.compile(r"[\w@$]+")
_BETWEEN = re.compile(r"[\s_\-]+")


def indecent_word(prompt: str) -> str | None:
    """The first word or phrase of the list that stands in the prompt; None where there is none."""
    text = _BETWEEN.sub(" ", unicodedata.normalize("NFKC", prompt).casefold())
    match = _pattern().search(text) or _pattern().search(_TOKEN.sub(_letters, text))
    return None if match is None else match[0]


def _letters(word: re.Match[str]) -> str:
    mixed = any(map(str.isalpha, word[0])) and not word[0].isalpha()
    return word[0].translate(_DIGITS) if mixed else word[0]


@cache
def _pattern() -> re.Pattern[str]:
    lines = (line.strip() for line in WORDS.read_text(encoding="utf-8").splitlines())
    words = sorted((line for line in lines if line and not line.startswith("#")), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")
