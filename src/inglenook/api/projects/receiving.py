# SPDX-License-Identifier: Apache-2.0
"""A form with many files, each of which goes to the disk while it arrives. None is held whole in memory."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from starlette.requests import Request

from inglenook.api.forms import FormReader
from inglenook.base.errors import Invalid, TooLarge
from inglenook.base.units import MIB, format_bytes
from inglenook.door.problem import shown
from inglenook.store.files import write_error
from inglenook.studio.imports.service import SentFile

TEXT_BYTES: Final = 4 * MIB
"""What all text fields may have together; `paths` may name 20,000 files."""
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
    reader = _Reader(request, folder, fields, most, max_bytes, name)
    try:
        await reader.read()
    except OSError as error:  # the disk's: a client that leaves is a ClientDisconnect
        raise write_error(error, folder) from error
    finally:
        await asyncio.to_thread(reader.close)
    return reader.done()


class _Reader(FormReader):
    """Any number of files, in `fields`; one is open at a time."""

    def __init__(
        self,
        request: Request,
        folder: Path,
        fields: tuple[str, ...],
        most: int,
        max_bytes: int,
        name: str | None,
    ) -> None:
        hint = f"send the file as the field {fields[0]}, and every other value as a text field"
        super().__init__(request, hint=hint, name_bytes=_NAME_BYTES, text_bytes=TEXT_BYTES)
        self._folder = folder
        self._fields = fields
        self._most = most
        self._left_bytes = max_bytes
        self._max_bytes = max_bytes
        self._one_name = name
        self._files: list[SentFile] = []
        self._pending: list[tuple[Path, bytes]] = []
        self._pending_bytes = 0
        self._open: tuple[Path, BinaryIO] | None = None

    async def flush(self, *, least: int) -> None:
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
        self.require_end()
        if not self._files:
            name = self._fields[0]
            raise Invalid(
                f"{name} is required.", field=name, code="request.missing_field", hint="send it as a file"
            )
        return Received(self.texts, self._files)

    def begin_part(self) -> None:
        """As many as there may be bytes."""

    def begin_text(self) -> None:
        """In any field."""

    def begin_file(self, original: str) -> None:
        if self.name not in self._fields:
            raise Invalid(f"{shown(self.name)} must be a text, not a file.", field=self.name)
        if len(self._files) >= self._most:
            raise Invalid(
                f"More than {self._most} files are sent.",
                field=self.name,
                code="request.too_many_files",
                hint="send the rest in another request, or a zip file",
            )
        path = self._folder / (self._one_name or f"f{len(self._files):06d}")
        self._files.append(SentFile(path=path, original=original))
        self._pending.append((path, b""))  # an empty file is a file too

    def take(self, data: bytes) -> None:
        self._pending.append((self._files[-1].path, data))
        self._pending_bytes += len(data)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise TooLarge(
                f"What is sent is larger than {format_bytes(self._max_bytes)}.",
                code="request.too_large",
                field=self._fields[0],
                hint="studio.max_upload_bytes sets the limit",
            )
