# SPDX-License-Identifier: Apache-2.0
"""Values out of a client's JSON: each with its type and its bounds, and none that nobody reads."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from inglenook.api.bodies import known_only
from inglenook.base.errors import Invalid
from inglenook.door.problem import shown

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,20}")


class Fields:
    """One JSON object. A value that is null counts as one that was not sent, but for who asks with `is_null`.

    Every method that reads raises Invalid with the field's name where the value cannot be accepted.
    """

    def __init__(self, sent: Mapping[str, Any]) -> None:
        self._sent = sent

    def require_known(self, known: Iterable[str]) -> None:
        """Raises Invalid for a field that nobody would read; the hint names the nearest."""
        known_only(self._sent, sorted(known))

    def has(self, name: str) -> bool:
        return self._sent.get(name) is not None

    def is_null(self, name: str) -> bool:
        """Whether it was sent, as null."""
        return name in self._sent and self._sent[name] is None

    def raw(self, name: str) -> Any:
        return self._sent.get(name)

    def text(self, name: str, default: str, *, most: int) -> str:
        value = self._sent.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise Invalid(f"{name} must be a text; got {shown(value)}.", field=name)
        if "\x00" in value:
            raise Invalid(f"{name} holds a NUL character.", field=name)
        if len(value) > most:
            raise Invalid(f"{name} has {len(value)} characters; at most {most} are taken.", field=name)
        return value

    def words(self, name: str, *, most: int = 512) -> str | None:
        """A text, or None where nothing or only white space was sent."""
        return self.text(name, "", most=most).strip() or None

    def truth(self, name: str, default: bool) -> bool:
        value = self._sent.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise Invalid(f"{name} must be true or false; got {shown(value)}.", field=name)
        return value

    def whole(self, name: str, default: int | None, low: int | None, high: int) -> int | None:
        """A whole number, also as a text: the original takes both."""
        value = self._sent.get(name)
        if value is None:
            return default
        number = _whole(value)
        if number is None:
            raise Invalid(f"{name} must be a whole number; got {shown(value)}.", field=name)
        if number > high or (low is not None and number < low):
            takes = f"at most {high}" if low is None else f"{low} to {high}"
            raise Invalid(f"{name} must be {takes}; got {shown(value)}.", field=name)
        return number

    def number(self, name: str, default: float | None, low: float, high: float) -> float | None:
        value = self._sent.get(name)
        if value is None:
            return default
        number = _number(value)
        if number is None:
            raise Invalid(f"{name} must be a number; got {shown(value)}.", field=name)
        if not low <= number <= high:
            raise Invalid(f"{name} must be {low:g} to {high:g}; got {shown(value)}.", field=name)
        return number

    def one_of(self, name: str, default: str | None, known: Iterable[str]) -> str | None:
        value = self._sent.get(name)
        if value is None:
            return default
        names = tuple(known)
        if not isinstance(value, str) or value not in names:
            raise Invalid(f"{name} must be one of {', '.join(names)}; got {shown(value)}.", field=name)
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self._sent.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Invalid(f"{name} must be an object; got {shown(value)}.", field=name)
        return value


def _whole(value: object) -> int | None:
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def uuid_of(value: object) -> str | None:
    """A UUID in its usual spelling; None where it is none."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        return str(UUID(value))
    except ValueError:
        return None
