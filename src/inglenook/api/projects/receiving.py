# SPDX-License-Identifier: Apache-2.0
"""A form with many files, each of which goes to the disk while it arrives. None is held whole in memory."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from inglenook.api.bodies import media_type
from inglenook.base.errors import Invalid, TooLarge
from inglenook.base.units import MIB, format_bytes
from inglenook.door.problem import shown
from inglenook.store.files import write_error
from inglenook.studio.imports.service import SentFile

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

TEXT_BYTES: Final = 4 * MIB
"""What all text fields may have together; `paths` may name 20,000 files."""
MAX_HEADER_BYTES: Final = 16 * 1024
_WRITE_BYTES: Final = MIB
_NAME_BYTES: Final = 4096


@dataclass(slots=True)
class Received:
    """`texts`: field → its values, in order; a name ending in `[]` is kept without it. `files`: as sent."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    files: list[SentFile] = field(default_factory=list)


async def receive_files(
    request: Request,
    folder: Path,
    *,
    fields: tuple[str, ...],
    most: int,
    max_bytes: int,
    name: str | None = None,
) -> Received:
    """Read the body; files go into `folder` under names of ours.

    Args:
        fields: those that may be files. most: files that there may be. max_bytes: of all of them.
        name: of the one file, where there is only one; else they are numbered.

    Raises:
        Invalid: no such form, one that is broken or cut off, another file, too many files.
        TooLarge: the texts or the files are too large.
        Failed, Unavailable: the disk is full, or cannot be written to.
    """
    reader = _Reader(folder, fields, most, max_bytes, name)
    parser = MultipartParser(_boundary(request, fields), reader.callbacks())
    try:
        async for chunk in request.stream():
            if chunk:
                parser.write(chunk)
            await reader.flush(least=_WRITE_BYTES)
        parser.finalize()
        await reader.flush(least=0)
    except FormParserError as error:
        raise Invalid(f"The form cannot be read: {error}.", code="request.malformed") from None
    except OSError as error:  # the disk's: a client that leaves is a ClientDisconnect
        raise write_error(error, folder) from error
    finally:
        await asyncio.to_thread(reader.close)
    return reader.done()


def _boundary(request: Request, fields: tuple[str, ...]) -> bytes:
    kind = media_type(request)
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != "multipart/form-data" or not boundary:
        raise Invalid(
            f"The body must be multipart/form-data; it is {shown(kind) if kind else 'of no declared type'}.",
            code="request.media_type",
            hint=f"send the file as the field {fields[0]}, and every other value as a text field",
        )
    return boundary


class _Reader:
    """What the parser calls, part by part. What is to be written waits until `flush`."""

    def __init__(
        self, folder: Path, fields: tuple[str, ...], most: int, max_bytes: int, name: str | None
    ) -> None:
        self._folder = folder
        self._fields = fields
        self._most = most
        self._left_bytes = max_bytes
        self._max_bytes = max_bytes
        self._one_name = name
        self._received = Received()
        self._pending: list[tuple[Path, bytes]] = []
        self._pending_bytes = 0
        self._open: tuple[Path, BinaryIO] | None = None
        self._text = bytearray()
        self._text_bytes = 0
        self._name = ""
        self._file: Path | None = None
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

    async def flush(self, *, least: int) -> None:
        """Write what has come, if it is so much at least."""
        if self._pending and self._pending_bytes >= least:
            pending, self._pending, self._pending_bytes = self._pending, [], 0
            await asyncio.to_thread(self._write, pending)

    def _write(self, pending: list[tuple[Path, bytes]]) -> None:
        for path, data in pending:
            if self._open is None or self._open[0] != path:
                self.close()
                self._open = (path, path.open("wb"))
            self._open[1].write(data)

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def done(self) -> Received:
        if not self._ended:
            raise Invalid("The form is cut off before its end.", code="request.malformed")
        if not self._received.files:
            name = self._fields[0]
            raise Invalid(
                f"{name} is required.", field=name, code="request.missing_field", hint="send it as a file"
            )
        return self._received

    def _part_begin(self) -> None:
        self._headers = {}
        self._text = bytearray()

    def _grow(self, what: bytearray, data: bytes) -> None:
        what += data
        if len(what) > MAX_HEADER_BYTES:
            raise Invalid("A header of the form is too long.", code="request.malformed")

    def _header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"")[:_NAME_BYTES].decode("utf-8", "replace")
        self._name = name.removesuffix("[]")
        self._file = None
        if b"filename" not in options:
            return
        if self._name not in self._fields:
            raise Invalid(f"{shown(self._name)} must be a text, not a file.", field=self._name)
        files = self._received.files
        if len(files) >= self._most:
            raise Invalid(
                f"More than {self._most} files are sent.",
                field=self._name,
                code="request.too_many_files",
                hint="send the rest in another request, or a zip file",
            )
        self._file = self._folder / (self._one_name or f"f{len(files):06d}")
        original = options[b"filename"][:_NAME_BYTES].decode("utf-8", "replace")
        files.append(SentFile(path=self._file, original=original))
        self._pending.append((self._file, b""))  # an empty file is a file too

    def _data(self, data: bytes) -> None:
        if self._file is not None:
            self._pending.append((self._file, data))
            self._pending_bytes += len(data)
            self._left_bytes -= len(data)
            if self._left_bytes < 0:
                raise TooLarge(
                    f"What is sent is larger than {format_bytes(self._max_bytes)}.",
                    code="request.too_large",
                    field=self._fields[0],
                    hint="studio.max_upload_bytes sets the limit",
                )
            return
        self._text_bytes += len(data)
        if self._text_bytes > TEXT_BYTES:
            message = f"The text fields may have {format_bytes(TEXT_BYTES)} together at most."
            raise TooLarge(message, code="request.too_large")
        self._text += data

    def _part_end(self) -> None:
        if self._file is None:
            try:
                text = self._text.decode("utf-8")
            except UnicodeDecodeError as error:
                raise Invalid(
                    f"{shown(self._name)} is not UTF-8 at byte {error.start}.", field=self._name
                ) from None
            self._received.texts.setdefault(self._name, []).append(text)

    def _end(self) -> None:
        self._ended = True
