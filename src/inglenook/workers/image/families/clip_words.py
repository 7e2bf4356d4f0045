# SPDX-License-Identifier: Apache-2.0
"""CLIP's vocabulary. No tensor library is needed to read it."""

import functools
import gzip

from inglenook.workers.image.families.ldm_scheduler import CONFIGS

START, END = "<|startoftext|>", "<|endoftext|>"
_MERGES = CONFIGS / "clip" / "merges.txt.gz"


@functools.cache
def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Words to their numbers, and the merges in their order."""
    merges = []
    with gzip.open(_MERGES, "rt", encoding="utf-8") as lines:
        for line in lines:
            left, right = line.rstrip("\n").split(" ")
            merges.append((left, right))
    letters = byte_letters()
    words = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *(left + right for left, right in merges),
        START,
        END,
    ]
    return {word: number for number, word in enumerate(words)}, merges


def byte_letters() -> list[str]:
    """One visible letter for each of the 256 bytes, in CLIP's order: printable bytes first, as themselves."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(others)]
