# SPDX-License-Identifier: Apache-2.0
"""A form with one large file, which goes to the disk while it arrives and is never held whole in memory.

The name that the client gave the file is not looked at: it is kept under one of ours.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from inglenook.api.bodies import MAX_FIELDS, media_type
from inglenook.base.errors import Invalid, TooLarge
from inglenook.base.units import MIB, format_bytes
from inglenook.door.problem import shown
from inglenook.store.files import write_error

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD_BYTES: Final = MIB
"""What all the text fields of such a form may have together."""
FORM_BYTES: Final = FIELD_BYTES + 64 * 1024
"""What a form may have beside its file, the lines between its parts included."""
_WRITE_BYTES: Final = MIB
_NAME_BYTES: Final = 512


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
    reader = _Reader(file_field, max_bytes, setting)
    parser = MultipartParser(_boundary(request), reader.callbacks())
    try:
        with await asyncio.to_thread(into.open, "wb") as file:
            async for chunk in request.stream():
                if chunk:
                    parser.write(chunk)
                await reader.flush(file, least=_WRITE_BYTES)
            parser.finalize()
            await reader.flush(file, least=1)
    except FormParserError as error:
        raise Invalid(f"The form cannot be read: {error}.", code="request.malformed") from None
    except OSError as error:  # the disk's: a client that leaves is a ClientDisconnect
        raise write_error(error, into) from error
    return reader.done()


def _boundary(request: Request) -> bytes:
    kind = media_type(request)
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != "multipart/form-data" or not boundary:
        raise Invalid(
            f"The body must be multipart/form-data; it is {shown(kind) if kind else 'of no declared type'}.",
            code="request.media_type",
            hint="send the recording as the file field `file`, and every other value as a text field",
        )
    return boundary


class _Reader:
    """What the parser calls, part by part."""

    def __init__(self, file_field: str, max_bytes: int, setting: str) -> None:
        self._file_field = file_field
        self._max_bytes = max_bytes
        self._setting = setting
        self._upload = Upload()
        self._pending = bytearray()  # of the file, not written yet
        self._text = bytearray()
        self._text_bytes = 0
        self._parts = 0
        self._name = ""
        self._is_file = False
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._ended = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": lambda data, start, end: self._grow(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._grow(self._value, data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._data(data[start:end]),
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    async def flush(self, file: BinaryIO, *, least: int) -> None:
        """Write what has come of the file, if it is so much at least."""
        if len(self._pending) >= least:
            pending, self._pending = self._pending, bytearray()
            await asyncio.to_thread(file.write, pending)

    def done(self) -> Upload:
        if not self._ended:
            raise Invalid("The form is cut off before its end.", code="request.malformed")
        if self._upload.size is None:
            raise Invalid(
                f"{self._file_field} is required.",
                field=self._file_field,
                code="request.missing_field",
                hint="send it as a file",
            )
        return self._upload

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_FIELDS:
            raise Invalid(f"A form may have {MAX_FIELDS} fields at most.", code="request.too_many_fields")
        self._headers = {}
        self._text = bytearray()

    def _grow(self, what: bytearray, data: bytes) -> None:
        what += data
        if len(what) > 16 * 1024:
            raise Invalid("A header of the form is too long.", code="request.malformed")

    def _header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"")[:_NAME_BYTES].decode("utf-8", "replace")
        self._name = name.removesuffix("[]")
        self._is_file = b"filename" in options
        if not self._is_file:
            if self._name == self._file_field:
                raise Invalid(
                    f"{self._file_field} must be a file, not a text.",
                    field=self._file_field,
                    hint="give its part a filename",
                )
            return
        if self._name != self._file_field:
            raise Invalid(f"{shown(self._name)} must be a text, not a file.", field=self._name)
        if self._upload.size is not None:
            raise Invalid(
                f"Two files are given as {self._file_field}; there is one.",
                field=self._file_field,
                code="request.too_many_files",
            )
        self._upload.size = 0

    def _data(self, data: bytes) -> None:
        if not self._is_file:
            self._text_bytes += len(data)
            if self._text_bytes > FIELD_BYTES:
                message = f"The text fields may have {format_bytes(FIELD_BYTES)} together at most."
                raise TooLarge(message, code="request.too_large")
            self._text += data
            return
        assert self._upload.size is not None
        self._upload.size += len(data)
        if self._upload.size > self._max_bytes:
            raise TooLarge(
                f"The file is larger than {format_bytes(self._max_bytes)}.",
                code="request.too_large",
                field=self._file_field,
                hint=f"{self._setting} sets the limit",
            )
        self._pending += data

    def _part_end(self) -> None:
        if not self._is_file:
            try:
                text = self._text.decode("utf-8")
            except UnicodeDecodeError as error:
                raise Invalid(
                    f"{shown(self._name)} is not UTF-8 at byte {error.start}.", field=self._name
                ) from None
            self._upload.texts.setdefault(self._name, []).append(text)

    def _end(self) -> None:
        self._ended = True
