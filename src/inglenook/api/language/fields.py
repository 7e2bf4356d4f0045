# SPDX-License-Identifier: Apache-2.0
"""The body of a request to a language model: read once, a value only where it is asked for, and changed only
where it must be. What nobody looks at reaches the child as the client wrote it.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request

from inglenook.api import keep_alive
from inglenook.api.bodies import LARGE_BYTES, json_bytes
from inglenook.base.errors import Invalid
from inglenook.door.problem import shown

MAX_MODEL_CHARS: Final = 256

T = TypeVar("T")
_TOP = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Fields:
    """A JSON object whose values are bytes until somebody asks."""

    def __init__(self, body: bytes) -> None:
        """Raises Invalid: no JSON object."""
        try:
            self._values: dict[str, msgspec.Raw] = _TOP.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(
                f"The body must be a JSON object: {_lower(str(error))}.", code="request.not_json"
            ) from None
        except RecursionError:
            raise Invalid("The body is nested too deeply.", code="request.not_json") from None
        self._body: bytes | None = body

    @classmethod
    async def read(cls, request: Request, *, limit_bytes: int, any_type: bool = False) -> "Fields":
        """Args:
        any_type: whatever the declared type, it is read as JSON: some clients declare a form's.

        Raises:
            Invalid: no JSON, or declared as something else.
            TooLarge: over `limit_bytes`, or too many values.
        """
        body = await json_bytes(request, limit_bytes=limit_bytes, any_type=any_type)
        return cls(body) if len(body) < LARGE_BYTES else await asyncio.to_thread(cls, body)

    @property
    def body(self) -> bytes:
        """The object as JSON: the very bytes that were sent where nothing was changed."""
        if self._body is None:
            self._body = msgspec.json.encode(self._values)
        return self._body

    def __contains__(self, name: str) -> bool:
        """Whether the field is there and not null."""
        value = self._values.get(name)
        return value is not None and bytes(value).strip() != b"null"

    def get(self, name: str) -> Any:
        """The decoded value; None where the field is missing or null."""
        value = self._values.get(name)
        return None if value is None else self._decoded(name, value, Any)

    def text(self, name: str, *, most: int | None = None) -> str | None:
        """Raises Invalid: it is no text, or longer than `most` characters."""
        sent = self._values.get(name)
        if sent is not None and bytes(sent).lstrip()[:1] not in (b'"', b"n"):  # a large one stays unread
            raise Invalid(f"{name} must be a text; got {_beginning(bytes(sent))}.", field=name)
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or (most is not None and len(value) > most):
            bound = "" if most is None else f" of at most {most} characters"
            raise Invalid(f"{name} must be a text{bound}; got {shown(value)}.", field=name)
        return value

    def flag(self, name: str) -> bool:
        """Raises Invalid: it is neither true nor false."""
        value = self.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise Invalid(f"{name} must be true or false; got {shown(value)}.", field=name)

    def whole(self, name: str, *, least: int, most: int) -> int | None:
        """Raises Invalid: it is no whole number between the two."""
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Invalid(
                f"{name} must be a whole number from {least} to {most}; got {shown(value)}.", field=name
            )
        return value

    def list(self, name: str) -> list[Any] | None:
        """Raises Invalid: it is no list."""
        value = self.get(name)
        if value is None or isinstance(value, list):
            return value
        raise Invalid(f"{name} must be a list; got {shown(value)}.", field=name)

    def require_some(self, name: str) -> None:
        """Of a list that nobody reads here. Raises Invalid: it is no list, or there is nothing in it."""
        value = self._values.get(name)
        start = b"" if value is None else bytes(memoryview(value)[:60]).lstrip()
        if start[:1] != b"[":
            raise Invalid(f"{name} must be a list; got {_beginning(start) or 'nothing'}.", field=name)
        if start[1:].lstrip()[:1] == b"]":
            raise Invalid(f"{name} is empty.", field=name, hint="at least one is needed")

    def object(self, name: str) -> dict[str, Any] | None:
        """Raises Invalid: it is no object."""
        value = self.get(name)
        if value is None or isinstance(value, dict):
            return value
        raise Invalid(f"{name} must be an object; got {shown(value)}.", field=name)

    def mentions(self, name: str, *words: bytes) -> bool:
        """Whether a field's bytes hold one of `words`: cheap, and never wrong when it says no.

        JSON may write a letter as an escape; no client does so with what it calls its parts, and a field with
        any such escape counts as holding everything.
        """
        value = self._values.get(name)
        if value is None:
            return False
        data = bytes(value)
        return any(word in data for word in words) or b"\\u00" in data

    def put(self, values: Mapping[str, Any]) -> None:
        """Set fields. Those that are new come first; the rest of the body stays as it is."""
        encoded = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in values.items()}
        self._values = encoded | {n: v for n, v in self._values.items() if n not in encoded}
        self._body = None

    def drop(self, *names: str) -> None:
        if any(name in self._values for name in names):
            self._values = {name: value for name, value in self._values.items() if name not in names}
            self._body = None

    def default(self, values: Mapping[str, Any]) -> None:
        """Set those fields that the caller has not sent; a field that is sent as null counts as sent."""
        missing = {name: value for name, value in values.items() if name not in self._values}
        if missing:
            self.put(missing)

    def decoded(self) -> dict[str, Any]:
        """The whole object."""
        return {name: self._decoded(name, value, Any) for name, value in self._values.items()}

    def _decoded(self, name: str, value: msgspec.Raw, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(value, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{name}: {_lower(str(error))}.", field=name, code="request.not_json") from None
        except RecursionError:
            raise Invalid(f"{name} is nested too deeply.", field=name, code="request.not_json") from None


def keep_seconds(request: Request, fields: Fields) -> float | None:
    """The field `keep_alive`, else the header. Raises Invalid."""
    seconds = keep_alive.keep_seconds(fields.get("keep_alive"))
    if seconds is None:
        return keep_alive.keep_seconds(request.headers.get(keep_alive.HEADER), keep_alive.HEADER)
    return seconds


def model_name(fields: Fields) -> str | None:
    """Raises Invalid: `model` is no text, or a very long one."""
    return fields.text("model", most=MAX_MODEL_CHARS)


def _beginning(value: bytes) -> str:
    """Of a JSON value, as it was written."""
    return value[:60].decode("utf-8", "replace") + ("…" if len(value) > 60 else "")


def _lower(text: str) -> str:
    """As it stands behind a colon; what is written in capitals stays."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
