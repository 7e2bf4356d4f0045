# SPDX-License-Identifier: Apache-2.0
"""Tool calls that hold, the reading: what the model wrote within the schema of `tools.schema`. Pure."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from inglenook.api.language.tools import ANSWER, ARGUMENTS, CALLS, TOOL

_ESCAPES: Final[Mapping[str, str]] = {
    '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip
_SPACE: Final = " \t\r\n"
_HEX: Final = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `arguments`: an object as JSON, as OpenAI's clients expect it."""

    id: str
    name: str
    arguments: str

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer is: words, or calls."""

    words: str | None
    calls: tuple[Call, ...] = ()


def new_call(name: str, arguments: object) -> Call:
    return Call(f"call_{secrets.token_hex(12)}", name, msgspec.json.encode(arguments).decode())


def read(text: str) -> Said | None:
    """None where `text` is not whole: the model was cut off, or did not follow the schema."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    if not isinstance(value, dict):
        return None
    if ANSWER in value:
        words = value[ANSWER]
        return Said(words if isinstance(words, str) else msgspec.json.encode(words).decode())
    sent: Sequence[Any] = value.get(CALLS, [value])
    calls = tuple(
        new_call(one[TOOL], one[ARGUMENTS])
        for one in sent
        if isinstance(one, dict) and isinstance(one.get(TOOL), str) and isinstance(one.get(ARGUMENTS), dict)
    )
    return Said(None, calls) if calls and len(calls) == len(sent) else None


class Words:
    """The text of `{"answer": "…"}` while it is being written; nothing of anything else."""

    def __init__(self) -> None:
        self._text = (
            ""  # all of it: what stands before the words is short, and a call is read whole at the end
        )
        self._at: int | None = None  # where the words go on; None until they have begun
        self._closed = False

    @property
    def text(self) -> str:
        """All that was written, as it stands there."""
        return self._text

    @property
    def begun(self) -> bool:
        """Whether these are words, and not a call."""
        return self._at is not None

    def feed(self, piece: str) -> str:
        """What `piece` adds to the words."""
        self._text += piece
        if self._at is None:
            self._at = _begin(self._text)
        return "" if self._at is None or self._closed else self._decode()

    def _decode(self) -> str:
        assert self._at is not None
        text, at, out = self._text, self._at, []
        while at < len(text):
            char = text[at]
            if char == '"':
                self._closed = True
                break
            if char != "\\":
                out.append(char)
                at += 1
                continue
            unescaped = _unescape(text, at)
            if unescaped is None:  # the rest of the escape is still to come
                break
            out.append(unescaped[0])
            at = unescaped[1]
        self._at = at
        return "".join(out)


def _begin(text: str) -> int | None:
    """Where the words begin in `{"answer": "`; None where that is not written yet, or something else is."""
    at = 0
    for token in ("{", f'"{ANSWER}"', ":", '"'):
        while at < len(text) and text[at] in _SPACE:
            at += 1
        if not text.startswith(token, at):
            return None
        at += len(token)
    return at


def _unescape(text: str, at: int) -> tuple[str, int] | None:
    """The character at the backslash `at`, and where the text goes on; None where it is not whole yet."""
    if at + 1 >= len(text):
        return None
    kind = text[at + 1]
    if kind != "u":
        return _ESCAPES.get(kind, kind), at + 2
    unit = _unit(text, at)
    if unit is None:
        return None
    if not 0xD800 <= unit < 0xDC00:
        return ("\ufffd" if 0xDC00 <= unit < 0xE000 else chr(unit)), at + 6
    if len(text) < at + 8:
        return None
    if text[at + 6 : at + 8] != "\\u":
        return "\ufffd", at + 6
    low = _unit(text, at + 6)
    if low is None:
        return None
    if not 0xDC00 <= low < 0xE000:
        return "\ufffd", at + 6
    return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)), at + 12


def _unit(text: str, at: int) -> int | None:
    digits = text[at + 2 : at + 6]
    return int(digits, 16) if len(digits) == 4 and _HEX.issuperset(digits) else None
