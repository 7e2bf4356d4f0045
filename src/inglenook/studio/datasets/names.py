# SPDX-License-Identifier: Apache-2.0
"""Names of files that are safe on every system, whatever a picture was called where it came from. Pure."""

import re
import unicodedata
from collections.abc import MutableSet
from pathlib import PurePosixPath

MAX_BYTES = 180
"""Of a name in UTF-8: file systems take 255, and thumbnails and unfinished files add to it."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)  # Windows' devices
_FORBIDDEN = frozenset('<>:"/\\|?*')


def safe_name(original: str) -> str:
    """The last part of a path as a file's name: no separator, no control character, not hidden, its ending in
    lower case. `#`, `&`, spaces and every script stay.
    """
    base = re.split(r"[/\\]", original)[-1]
    text = "".join(
        "_" if it in _FORBIDDEN or unicodedata.category(it) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else it
        for it in unicodedata.normalize("NFC", base)
    ).strip(" .")
    path = PurePosixPath(text or "_")
    stem, ending = path.stem.rstrip(" .") or "_", path.suffix.lower()
    if _RESERVED.fullmatch(stem.split(".")[0]):
        stem = f"_{stem}"
    return _cut(stem, MAX_BYTES - len(ending.encode())) + ending


def free_name(original: str, taken: MutableSet[str]) -> str:
    """A safe name that is not among `taken` (names in `fold`), and is from now on: `cat.png`, `cat_1.png`
    …
    """
    name = safe_name(original)
    path = PurePosixPath(name)
    count = 0
    while fold(name) in taken:
        count += 1
        tail = f"_{count}{path.suffix}"
        name = _cut(path.stem, MAX_BYTES - len(tail.encode())) + tail
    taken.add(fold(name))
    return name


def fold(name: str) -> str:
    """Names that some file system takes for one and the same have the same fold."""
    return unicodedata.normalize("NFC", name).casefold()


def _cut(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")
