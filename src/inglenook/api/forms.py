# SPDX-License-Identifier: Apache-2.0
"""Forms with files that go to the disk while they arrive, and are never held whole in memory.

What a form may hold, and where its files go, is said by a subclass of `FormReader`.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from inglenook.api.bodies import media_type
from inglenook.base.errors import Invalid, TooLarge
from inglenook.base.units import MIB, format_bytes
from inglenook.door.problem import shown

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_HEADER_BYTES: Final = 16 * 1024
WRITE_BYTES: Final = MIB
"""So much of a form's files is gathered before it is written."""


class FormReader(ABC):
    """What the parser calls, part by part. What is to be written waits until `flush`.

    Attributes:
        texts: field → its values, in order; a name that ends in `[]` is kept without it.
        name: of the field that is read now.
        ended: whether the form's last line has come.
    """

    def __init__(self, request: Request, *, hint: str, name_bytes: int, text_bytes: int) -> None:
        """Args:
        hint: what to send, for a body that is no form.
        name_bytes: of a field's or a file's name; the rest is cut off.
        text_bytes: what all text fields may have together.

        Raises:
            Invalid: the body is declared as something else.
        """
        self._request = request
        self._boundary = _boundary(request, hint)
        self.texts: dict[str, list[str]] = {}
        self.name = ""
        self.ended = False
        self._name_bytes = name_bytes
        self._text_bytes = text_bytes
        self._text = bytearray()
        self._texts_bytes = 0
        self._is_file = False
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}

    @abstractmethod
    def begin_file(self, original: str) -> None:
        """A file begins in the field `name`. Raises Invalid: there may be none."""

    @abstractmethod
    def take(self, data: bytes) -> None:
        """Some of the file that was begun last. Raises TooLarge."""

    @abstractmethod
    async def flush(self, *, least: int) -> None:
        """Write what has come of files, if it is so much at least. Raises OSError."""

    @abstractmethod
    def begin_part(self) -> None:
        """Another part begins. Raises Invalid: there are too many."""

    @abstractmethod
    def begin_text(self) -> None:
        """A text begins in the field `name`. Raises Invalid: it must be a file."""

    async def read(self) -> None:
        """Read the whole body.

        Raises:
            Invalid: the form is broken, or not one that is wanted. TooLarge.
            OSError: the disk's; a client that leaves is a ClientDisconnect.
        """
        parser = MultipartParser(self._boundary, self._callbacks())
        try:
            async for chunk in self._request.stream():
                if chunk:
                    parser.write(chunk)
                await self.flush(least=WRITE_BYTES)
            parser.finalize()
            await self.flush(least=0)
        except FormParserError as error:
            raise Invalid(f"The form cannot be read: {error}.", code="request.malformed") from None

    def require_end(self) -> None:
        """Raises Invalid."""
        if not self.ended:
            raise Invalid("The form is cut off before its end.", code="request.malformed")

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": lambda data, start, end: _grow(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: _grow(self._value, data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._data(data[start:end]),
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self.begin_part()
        self._headers = {}
        self._text = bytearray()

    def _header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self.name = self._plain(options.get(b"name", b"")).removesuffix("[]")
        self._is_file = b"filename" in options
        if self._is_file:
            self.begin_file(self._plain(options[b"filename"]))
        else:
            self.begin_text()

    def _plain(self, name: bytes) -> str:
        return name[: self._name_bytes].decode("utf-8", "replace")

    def _data(self, data: bytes) -> None:
        if self._is_file:
            self.take(data)
            return
        self._texts_bytes += len(data)
        if self._texts_bytes > self._text_bytes:
            message = f"The text fields may have {format_bytes(self._text_bytes)} together at most."
            raise TooLarge(message, code="request.too_large")
        self._text += data

    def _part_end(self) -> None:
        if self._is_file:
            return
        try:
            text = self._text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Invalid(
                f"{shown(self.name)} is not UTF-8 at byte {error.start}.", field=self.name
            ) from None
        self.texts.setdefault(self.name, []).append(text)

    def _end(self) -> None:
        self.ended = True


def _grow(what: bytearray, data: bytes) -> None:
    what += data
    if len(what) > MAX_HEADER_BYTES:
        raise Invalid("A header of the form is too long.", code="request.malformed")


def _boundary(request: Request, hint: str) -> bytes:
    kind = media_type(request)
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != "multipart/form-data" or not boundary:
        raise Invalid(
            f"The body must be multipart/form-data; it is {shown(kind) if kind else 'of no declared type'}.",
            code="request.media_type",
            hint=hint,
        )
    return boundary
