# SPDX-License-Identifier: Apache-2.0
"""A form with one large file, which goes to the disk while it arrives and is never held whole in memory.

The name that the client gave the file is not looked at: it is kept under one of ours.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from starlette.requests import Request

from inglenook.api.bodies import MAX_FIELDS
from inglenook.api.forms import FormReader
from inglenook.base.errors import Invalid, TooLarge
from inglenook.base.units import MIB, format_bytes
from inglenook.door.problem import shown
from inglenook.store.files import write_error

FIELD_BYTES: Final = MIB
"""What all the text fields of such a form may have together."""
FORM_BYTES: Final = FIELD_BYTES + 64 * 1024
"""What a form may have beside its file, the lines between its parts included."""
_NAME_BYTES: Final = 512
_HINT: Final = "send the recording as the file field `file`, and every other value as a text field"


@dataclass(slots=True)
class Upload:
    """`texts`: field → its values, in order; a name that ends in `[]` is kept without it.
    `size`: of the file."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    size: int | None = None


async def receive_upload(
    request: Request, into: Path, *, file_field: str, max_bytes: int, setting: str
) -> Upload:
    """Read the body; the file of the field `file_field` is written to `into`.

    Args:
        max_bytes: of the file. setting: which setting says so.

    Raises:
        Invalid: no such form, or one that is broken or cut off; another file; no file.
        TooLarge: as soon as the file has grown too large; the rest is not read.
        Failed, Unavailable: the disk is full, or cannot be written to.
    """
    reader = _Reader(request, file_field, max_bytes, setting)
    try:
        with await asyncio.to_thread(into.open, "wb") as reader.file:
            await reader.read()
    except OSError as error:  # the disk's: a client that leaves is a ClientDisconnect
        raise write_error(error, into) from error
    return reader.done()


class _Reader(FormReader):
    """One file, in `file_field`.

    Attributes:
        file: where it is written; set before `read`.
    """

    file: BinaryIO

    def __init__(self, request: Request, file_field: str, max_bytes: int, setting: str) -> None:
        super().__init__(request, hint=_HINT, name_bytes=_NAME_BYTES, text_bytes=FIELD_BYTES)
        self._file_field = file_field
        self._max_bytes = max_bytes
        self._setting = setting
        self._size: int | None = None
        self._pending = bytearray()  # of the file, not written yet
        self._parts = 0

    async def flush(self, *, least: int) -> None:
        if self._pending and len(self._pending) >= least:
            pending, self._pending = self._pending, bytearray()
            await asyncio.to_thread(self.file.write, pending)

    def done(self) -> Upload:
        self.require_end()
        if self._size is None:
            raise Invalid(
                f"{self._file_field} is required.",
                field=self._file_field,
                code="request.missing_field",
                hint="send it as a file",
            )
        return Upload(self.texts, self._size)

    def begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_FIELDS:
            raise Invalid(f"A form may have {MAX_FIELDS} fields at most.", code="request.too_many_fields")

    def begin_text(self) -> None:
        if self.name == self._file_field:
            raise Invalid(
                f"{self._file_field} must be a file, not a text.",
                field=self._file_field,
                hint="give its part a filename",
            )

    def begin_file(self, original: str) -> None:  # noqa: ARG002 - the file gets a name of ours
        if self.name != self._file_field:
            raise Invalid(f"{shown(self.name)} must be a text, not a file.", field=self.name)
        if self._size is not None:
            raise Invalid(
                f"Two files are given as {self._file_field}; there is one.",
                field=self._file_field,
                code="request.too_many_files",
            )
        self._size = 0

    def take(self, data: bytes) -> None:
        assert self._size is not None
        self._size += len(data)
        if self._size > self._max_bytes:
            raise TooLarge(
                f"The file is larger than {format_bytes(self._max_bytes)}.",
                code="request.too_large",
                field=self._file_field,
                hint=f"{self._setting} sets the limit",
            )
        self._pending += data
