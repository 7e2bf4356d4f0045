# SPDX-License-Identifier: Apache-2.0
"""The one error tree. Features add leaves with a code of their own; nothing here knows of HTTP.

    InglenookError
    ├── NotFound       the thing named does not exist                      (door: 404)
    ├── Invalid        a value cannot be accepted; `field` names it        (door: 400)
    ├── TooLarge       more bytes, pixels or items than allowed            (door: 413)
    ├── Conflict       the thing is in a state that does not allow it      (door: 409)
    ├── Unidentified   who is calling has not been shown                   (door: 401)
    ├── Denied         the caller may not                                  (door: 403)
    ├── Busy           no room now; `retry_after_s` says when to come back (door: 429)
    ├── Unavailable    a part that is needed is missing or is starting     (door: 503)
    ├── Cancelled      somebody asked for it to stop                       (door: 499)
    ├── NotOffered     a client asks for what this program does not do     (door: 501)
    └── Failed         we tried, and it did not work                       (door: 500)

A message gives the fact and the value; `hint` says what to do next. Neither guesses.
"""

from typing import ClassVar


class InglenookError(Exception):
    """Base of every error that a person may read.

    Args:
        message: what happened, with the value. One or two sentences.
        code: stable and machine-readable, ``<feature>.<what>``; defaults to the class's own.
        hint: what to do next, or None when there is nothing.
        field: the request field that is wrong, where there is one.
        retry_after_s: seconds after which the same request may succeed, where that is known.
    """

    kind: ClassVar[str] = "failed"
    default_code: ClassVar[str] = "failed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.hint = hint
        self.field = field
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class NotFound(InglenookError):
    kind = "not_found"
    default_code = "not_found"


class Invalid(InglenookError):
    kind = "invalid"
    default_code = "invalid"


class TooLarge(InglenookError):
    kind = "too_large"
    default_code = "too_large"


class Conflict(InglenookError):
    kind = "conflict"
    default_code = "conflict"


class Unidentified(InglenookError):
    kind = "unidentified"
    default_code = "unidentified"


class Denied(InglenookError):
    kind = "denied"
    default_code = "denied"


class Busy(InglenookError):
    kind = "busy"
    default_code = "busy"


class Unavailable(InglenookError):
    kind = "unavailable"
    default_code = "unavailable"


class Cancelled(InglenookError):
    kind = "cancelled"
    default_code = "cancelled"


class NotOffered(InglenookError):
    kind = "not_offered"
    default_code = "not_offered"


class Failed(InglenookError):
    kind = "failed"
    default_code = "failed"


def in_one_line(message: str, hint: str | None) -> str:
    """The fact and what to do next, for whoever shows one line only; each ends with one mark."""
    message = message.rstrip()
    return message if hint is None else f"{_closed(message)} Hint: {_closed(hint)}"


def begun(text: str) -> str:
    """As a sentence begins: with a capital, unless its first word has a dot or an underscore in it: the name
    of a file or of a setting stays as it is.
    """
    first = text.partition(" ")[0].rstrip(".,:;!?")
    return text if "." in first or "_" in first else text[:1].upper() + text[1:]


def _closed(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
