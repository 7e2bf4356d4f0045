# SPDX-License-Identifier: Apache-2.0
"""How long a model stays loaded after an answer: Ollama's `keep_alive`, and our header for everybody else."""

import math
import re
from collections.abc import Mapping
from typing import Final

from inglenook.base.errors import Invalid
from inglenook.door.problem import shown

HEADER: Final = "x-inglenook-keep-alive"
FOR_EVER: Final = -1.0
_LONGEST_S: Final = 10 * 365 * 86400.0
_UNITS_S: Final[Mapping[str, float]] = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0,
}  # fmt: skip
_PART = re.compile(r"(\d{1,12}(?:\.\d{0,9})?)(ns|us|µs|ms|s|m|h|d)")
_DURATION = re.compile(rf"([+-]?)((?:{_PART.pattern})+)")
_NUMBER = re.compile(r"[+-]?\d{1,12}(?:\.\d{0,9})?")


def keep_seconds(value: object, field: str = "keep_alive") -> float | None:
    """Seconds; `FOR_EVER` for anything below 0; None where nothing is said (null, or an empty text).

    A number is seconds, also as a text; a text may be a duration as Go writes it: `5m`, `1h30m`, `-1m`.

    Raises:
        Invalid: it is neither.
    """
    if value is None or value == "":
        return None
    seconds = None
    if isinstance(value, str):
        seconds = _of_text(value.strip())
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        seconds = float(value)
    if seconds is None or seconds > _LONGEST_S:
        raise Invalid(
            f"{field} must be seconds, or a duration like 5m or 1h30m, or -1 for ever; got {shown(value)}.",
            field=field,
        )
    return FOR_EVER if seconds < 0 else seconds


def _of_text(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(match[2]))
    return -seconds if match[1] == "-" else seconds
