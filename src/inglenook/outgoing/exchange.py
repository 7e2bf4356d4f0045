# SPDX-License-Identifier: Apache-2.0
"""One request to another machine over one connection. Imported by the first one that is made: httpx, which
brings the parts of its command line along, takes a fifth of a second and 10 MB."""

import asyncio
import hashlib
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

import httpx

from inglenook import __version__
from inglenook.base.errors import InglenookError
from inglenook.base.units import format_bytes
from inglenook.outgoing.errors import NotFetched, TooMuch, Unreachable
from inglenook.outgoing.model import Bounds, Saved
from inglenook.outgoing.target import Target

CONNECT_S: Final = 10.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {
    "user-agent": f"inglenook/{__version__}",
    # Unpacked, so that bounds in bytes are bounds of what arrives. Who packs nevertheless is unpacked below.
    "accept-encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Redirect:
    location: str


@dataclass
class Exchange:
    """One request over one connection, and what the ledger is told of it."""

    target: Target
    address: str
    bounds: Bounds
    file: BinaryIO
    status: int | None = None
    received_bytes: int = 0
    problem: str | None = None

    async def run(self) -> Saved | Redirect:
        """Raises Unreachable, NotFetched, TooMuch."""
        try:
            return await self._request()
        except InglenookError as error:
            self.problem = error.message
            raise
        except httpx.HTTPError as error:
            self.problem = str(error) or type(error).__name__
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise Unreachable(self.problem) from None
            raise NotFetched(f"{self.target.host} broke off: {self.problem}.") from None
        except asyncio.CancelledError:
            self.problem = "it was called off, or took too long"
            raise

    async def _request(self) -> Saved | Redirect:
        timeout = httpx.Timeout(self.bounds.total_s, connect=CONNECT_S)
        async with (
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=timeout) as client,
            client.stream(
                "GET",
                self.target.at(self.address),
                headers={**_HEADERS, "host": self.target.authority},
                # The certificate is checked against the name, although the URL holds the address.
                extensions={"sni_hostname": self.target.host},
            ) as response,
        ):
            self.status = response.status_code
            location = response.headers.get("location")
            if response.status_code in _REDIRECTS and location is not None:
                return Redirect(location)
            media_type = self._check_head(response)
            return await self._body(response, media_type)

    def _check_head(self, response: httpx.Response) -> str:
        """The declared media type. Raises NotFetched and TooMuch on what the headers tell."""
        host = self.target.host
        if response.status_code != httpx.codes.OK:
            raise NotFetched(f"{host} answered {response.status_code}, not 200.", code="outgoing.status")
        media_type: str = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = self.bounds.media_types
        if wanted and not media_type.startswith(wanted):
            said = repr(media_type[:60]) if media_type else "of no declared type"
            raise NotFetched(
                f"What {host} sends is {said}; it must be {' or '.join(f'{one}…' for one in wanted)}.",
                code="outgoing.media_type",
            )
        length = response.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:19]) > self.bounds.max_bytes:
            raise self._too_much()
        return media_type

    async def _body(self, response: httpx.Response, media_type: str) -> Saved:
        unpack = _unpacker(response.headers.get("content-encoding", "identity").strip().lower())
        digest, length = hashlib.sha256(), 0
        async for chunk in response.aiter_raw():
            self.received_bytes += len(chunk)
            if self.received_bytes > self.bounds.max_bytes:
                raise self._too_much()
            data = chunk if unpack is None else _unpacked(unpack, chunk, self.bounds.max_bytes - length)
            length += len(data)
            if length > self.bounds.max_bytes:
                raise self._too_much()
            digest.update(data)
            self.file.write(data)
        if unpack is not None and not unpack.eof:
            raise NotFetched("The answer is cut off.", code="outgoing.encoding")
        return Saved(length, digest.hexdigest(), media_type)

    def _too_much(self) -> TooMuch:
        return TooMuch(f"What {self.target.host} sends is larger than {format_bytes(self.bounds.max_bytes)}.")


def _unpacker(encoding: str) -> "zlib._Decompress | None":
    """None for what comes as it is. Raises NotFetched for packings that cannot be bounded here."""
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return zlib.decompressobj(wbits=31)
    raise NotFetched(
        f"The answer is packed as {encoding[:40]!r}, although it was asked for unpacked.",
        code="outgoing.encoding",
    )


def _unpacked(unpack: "zlib._Decompress", chunk: bytes, room: int) -> bytes:
    """At most one byte more than there is room for, so that a bomb is noticed and never unfolds."""
    try:
        return unpack.decompress(chunk, room + 1)
    except zlib.error as error:
        raise NotFetched(f"The answer cannot be unpacked: {error}.", code="outgoing.encoding") from None
