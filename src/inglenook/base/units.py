# SPDX-License-Identifier: Apache-2.0
"""Bytes and seconds, as people write and read them."""

import re

from inglenook.base.errors import Invalid

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

_FACTORS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": KIB,
    "mib": MIB,
    "gib": GIB,
    "tib": TIB,
}
_MOST_DIGITS = 20  # 2**64 has as many
_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


def parse_bytes(text: str | int) -> int:
    """Return the number of bytes in ``"12 GiB"``, ``"800MB"``, ``"1024"`` or ``1024``.

    Raises:
        Invalid: not a number with one of the units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB.
    """
    match = _BYTES.fullmatch(str(text))
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None or len(match[1]) > _MOST_DIGITS:
        raise Invalid(f"{text!r} is not an amount of memory.", hint="write it like 12 GiB or 800 MB")
    whole, _, fraction = match[1].partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole + fraction) * factor // scale


def format_bytes(count: int) -> str:
    """``1536`` → ``"1.5 KiB"``; three significant digits, exact below one KiB."""
    if abs(count) < KIB:
        return f"{count} B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= KIB
        if abs(size) < KIB or unit == "TiB":
            break
    return f"{size:.0f} {unit}" if abs(size) >= 999.5 else f"{size:.3g} {unit}"


def format_seconds(seconds: float) -> str:
    """``0.42`` → ``"0.4 s"``, ``75`` → ``"1 min 15 s"``, ``7300`` → ``"2 h 2 min"``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"
