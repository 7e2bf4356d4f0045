# SPDX-License-Identifier: Apache-2.0
"""The base of every message, its encoding, and the messages that every worker has in common.

A line is one JSON object with a `kind`. An unknown kind, an unknown field or a wrong type is a
`WireError` that names it; nothing is ever guessed and nothing is ever unpickled. Pictures and tensors
do not travel in lines: they are files in the child's spool folder, named in a message.
"""

import math

import msgspec

from inglenook.base.errors import Failed

PROTOCOL = 1
"""Raised with every change that an older peer would misread; a worker of another number is refused."""

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Longest line accepted. A 100,000-character prompt in UTF-8 takes a tenth of it."""

SHOWN = 200
"""So much of a line, in bytes, is shown in an error."""


class WireError(Failed):
    """The other side said something that this protocol does not know."""

    default_code = "wire.malformed"


class Message(msgspec.Struct, frozen=True, tag_field="kind", forbid_unknown_fields=True):
    """One line. Subclasses set `tag`, which becomes the field `kind`."""


class OutOfMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence that memory ran out: only ever filled from an allocator's own error, never guessed.

    Bytes; None where the allocator did not say.
    """

    requested_bytes: int | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """The worker's first line. `token` is the secret the server gave it in its environment."""

    protocol: int
    worker: str
    pid: int
    token: str


class Loaded(Message, frozen=True, kw_only=True, tag="loaded"):
    """The model is in memory and the next request may be sent.

    `seconds` from the load message to now; `weights_bytes` of the parameters on the device.
    """

    seconds: float
    weights_bytes: int


class LoadFailed(Message, frozen=True, kw_only=True, tag="load_failed"):
    """The model could not be loaded.

    `code` is stable: `load.out_of_memory`, `load.corrupt`, `load.unsupported`, `load.failed`.
    """

    code: str
    message: str
    out_of_memory: OutOfMemory | None = None


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    """Stop the named job at the next step. A job that is not running is ignored."""

    job: str


class Shutdown(Message, frozen=True, kw_only=True, tag="shutdown"):
    """Finish nothing more, free the device and exit with status 0."""


def encode(message: Message) -> bytes:
    """One line with its newline.

    Raises:
        WireError: the message holds what JSON cannot: half a character, or a number that is not finite
            (which would arrive as null).
    """
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise WireError(f"{type(message).__name__}.{name} is {value}, which is not a finite number.")
    try:
        return msgspec.json.encode(message) + b"\n"
    except UnicodeEncodeError as error:
        raise WireError(
            f"{type(message).__name__} holds text that is not Unicode: {error.reason}."
        ) from error


class Decoder:
    """Reads lines of one union of message types.

    Args:
        union: a message class or a `|` union of them.
    """

    def __init__(self, union: object) -> None:
        self._decoder = msgspec.json.Decoder(union)

    def decode(self, line: bytes) -> Message:
        """Raises `WireError` with the reason when the line is no such message."""
        try:
            message = self._decoder.decode(line)
        except msgspec.MsgspecError as error:
            shown = line[:SHOWN].decode("utf-8", "replace")
            raise WireError(
                f"A line on the wire is not a message of protocol {PROTOCOL}: {str(error)[:SHOWN]}: {shown}"
            ) from error
        assert isinstance(message, Message)
        return message
