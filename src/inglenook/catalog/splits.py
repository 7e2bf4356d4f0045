# SPDX-License-Identifier: Apache-2.0
"""Models that llama.cpp's tools have split into several files: `big-00001-of-00003.gguf` …

Names serve to find the parts; what they are is said by their headers (`split.no`, from 0, and `split.count`).
"""

import re
from pathlib import Path
from typing import NamedTuple

_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.(?i:gguf))")
MAX_PARTS = 1000


class Part(NamedTuple):
    """`number` from 1 of `total`; `stem`: what the model is called."""

    stem: str
    number: int
    total: int


def part_of(path: Path) -> Part | None:
    """What the name says, or None where it is no part's."""
    match = _SPLIT.fullmatch(path.name)
    if match is None:
        return None
    part = Part(match["stem"], int(match["number"]), int(match["count"]))
    return part if 0 < part.number <= part.total <= MAX_PARTS else None


def parts_of(path: Path) -> list[Path]:
    """Where all parts would be, in order; the path alone where its name is no part's."""
    match, part = _SPLIT.fullmatch(path.name), part_of(path)
    if match is None or part is None:
        return [path]
    return [
        path.with_name(f"{part.stem}-{number:05}-of-{part.total:05}{match['suffix']}")
        for number in range(1, part.total + 1)
    ]


def whole_stem(path: Path) -> str:
    """The file's name without suffix, and without the part's number."""
    part = part_of(path)
    return path.stem if part is None else part.stem
