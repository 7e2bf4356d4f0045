# SPDX-License-Identifier: Apache-2.0
"""The one way out. Nothing else in the server opens a connection to another machine.

    parse → allowed? → resolve → every address public? → write into the ledger → connect to that address
          ↑ a redirect begins again here, at most `Bounds.max_redirects` times

The connection goes to the very address that was checked: the name is never looked up a second time, so it
cannot mean another machine by then. No cookies, no credentials, no proxy from the environment.
"""

import asyncio
import hashlib
import io
import ipaddress
import socket
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

import httpx

from inglenook import __version__
from inglenook.base.errors import InglenookError
from inglenook.base.units import format_bytes, format_seconds
from inglenook.outgoing import target as targets
from inglenook.outgoing.addresses import Address, refusal
from inglenook.outgoing.errors import NotAllowed, NotFetched, TooMuch
from inglenook.outgoing.model import Bounds, Entry, Fetched, Rules, Saved
from inglenook.outgoing.records import OutgoingRecords
from inglenook.outgoing.target import Target

CONNECT_S: Final = 10.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {
    "user-agent": f"inglenook/{__version__}",
    # Unpacked, so that bounds in bytes are bounds of what arrives. Who packs nevertheless is unpacked below.
    "accept-encoding": "identity",
}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) → numeric addresses. Raises OSError."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The system's resolver, which also knows `/etc/hosts` and strange ways to write an IPv4 address."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class OutgoingService:
    """Fetches, and keeps the ledger.

    Args:
        look_up: how names become addresses.
    """

    def __init__(self, *, records: OutgoingRecords, rules: Rules, look_up: Resolve = resolve) -> None:
        self._records = records
        self._rules = rules
        self._look_up = look_up

    @property
    def offline(self) -> bool:
        return self._rules.offline

    async def fetch(self, url: str, *, purpose: str, bounds: Bounds) -> Fetched:
        """Get what is at an address.

        Args:
            purpose: in a few words, for the ledger.

        Raises:
            BadAddress: it is no http or https address, or redirects to what is none.
            NotAllowed: the settings or the kind of address forbid it (`outgoing.offline`,
                `outgoing.not_allowed`, `outgoing.private`, `outgoing.port`).
            NotFetched: no answer in time, another status than 200, another kind of content.
            TooMuch: more bytes than `bounds.max_bytes`.
        """
        self._require_online("send the picture itself instead of its address")
        body = io.BytesIO()
        saved = await self._bounded(url, purpose, bounds, body)
        return Fetched(body.getvalue(), saved.media_type)

    async def save(self, url: str, file: BinaryIO, *, purpose: str, bounds: Bounds) -> Saved:
        """As `fetch`, for what is too large for memory: written to `file` as it comes. What is in the file
        after an error is not to be used."""
        self._require_online("turn it off for this, or bring the file by other means")
        return await self._bounded(url, purpose, bounds, file)

    @contextmanager
    def told(self, *, host: str, purpose: str) -> Iterator[None]:
        """Write down a connection that another program opens for us, such as pip. Blocks.

        Args:
            host: whom it asks, as far as we know: programs have a configuration of their own.

        Raises:
            NotAllowed: nothing may leave (`outgoing.offline`).
        """
        self._require_online("turn it off for this, or bring the files by other means")
        number = self._records.begin(host=host, port=0, address="", purpose=purpose)
        problem: str | None = "it was called off"
        try:
            yield
            problem = None
        except InglenookError as error:
            problem = error.message
            raise
        finally:
            self._records.end(number, status=None, received_bytes=0, problem=problem)

    def _require_online(self, hint: str) -> None:
        if self._rules.offline:
            raise NotAllowed(
                "Nothing is fetched: this server is offline (outgoing.offline).",
                code="outgoing.offline",
                hint=hint,
            )

    async def _bounded(self, url: str, purpose: str, bounds: Bounds, file: BinaryIO) -> Saved:
        try:
            async with asyncio.timeout(bounds.total_s):
                return await self._follow(targets.parse(url), purpose, bounds, file)
        except TimeoutError:
            raise NotFetched(
                f"It was not fetched within {format_seconds(bounds.total_s)}.", code="outgoing.timeout"
            ) from None

    def ledger(self, *, limit: int, before: int | None = None) -> list[Entry]:
        """The newest connections first. Blocks."""
        return self._records.listing(limit=limit, before=before)

    async def _follow(self, target: Target, purpose: str, bounds: Bounds, file: BinaryIO) -> Saved:
        for _ in range(bounds.max_redirects + 1):
            addresses = await self._checked(target)
            answer = await self._ask(target, addresses, purpose, bounds, file)
            if isinstance(answer, Saved):
                return answer
            target = targets.moved(target, answer.location)
        raise NotFetched(f"It redirects more than {bounds.max_redirects} times.", code="outgoing.redirects")

    async def _checked(self, target: Target) -> Sequence[str]:
        """The addresses of the host, every one of them allowed."""
        rules = self._rules
        if rules.allow and not targets.is_below(target.host, rules.allow):
            raise NotAllowed(
                f"{target.host} is not among the hosts that may be asked.",
                hint="outgoing.allow lists them",
            )
        if target.port not in rules.ports:
            raise NotAllowed(
                f"Port {target.port} of {target.host} may not be connected to.",
                code="outgoing.port",
                hint=f"outgoing.ports allows {', '.join(map(str, sorted(rules.ports)))}",
            )
        addresses = await self._addresses(target)
        if target.host not in rules.private_hosts:
            for address in addresses:
                _require_public(target.host, ipaddress.ip_address(address))
        return addresses

    async def _addresses(self, target: Target) -> Sequence[str]:
        try:
            addresses = await self._look_up(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise NotFetched(
                f"The name {target.host} cannot be resolved: {error}.", code="outgoing.name"
            ) from None
        if not addresses:
            raise NotFetched(f"The name {target.host} stands for no address.", code="outgoing.name")
        return addresses

    async def _ask(
        self, target: Target, addresses: Sequence[str], purpose: str, bounds: Bounds, file: BinaryIO
    ) -> "Saved | Redirect":
        """Try the addresses in turn until one can be connected to."""
        for address in addresses:
            try:
                return await self._connected(target, address, purpose, bounds, file)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                reason = str(error) or type(error).__name__
        raise NotFetched(f"{target.host} cannot be reached: {reason}.", code="outgoing.unreachable")

    async def _connected(
        self, target: Target, address: str, purpose: str, bounds: Bounds, file: BinaryIO
    ) -> "Saved | Redirect":
        number = await asyncio.to_thread(
            self._records.begin, host=target.host, port=target.port, address=address, purpose=purpose
        )
        exchange = _Exchange(target=target, address=address, bounds=bounds, file=file)
        try:
            return await exchange.run()
        except InglenookError as error:
            exchange.problem = error.message
            raise
        except httpx.HTTPError as error:
            exchange.problem = str(error) or type(error).__name__
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise
            raise NotFetched(f"{target.host} broke off: {exchange.problem}.") from None
        except asyncio.CancelledError:
            exchange.problem = "it was called off, or took too long"
            raise
        finally:
            # Carried through also when the request is called off: the ledger says what happened.
            await asyncio.shield(asyncio.ensure_future(self._close(number, exchange)))

    async def _close(self, number: int, exchange: "_Exchange") -> None:
        await asyncio.to_thread(
            self._records.end,
            number,
            status=exchange.status,
            received_bytes=exchange.received_bytes,
            problem=exchange.problem,
        )


def _require_public(host: str, address: Address) -> None:
    kind = refusal(address)
    if kind is not None:
        what = f"{host} is" if str(address) == host else f"{host} stands for {address}, which is"
        raise NotAllowed(
            f"{what} {kind}: only the public internet is asked.",
            code="outgoing.private",
            hint="outgoing.private_hosts lists hosts for which this is meant",
        )


@dataclass(frozen=True, slots=True)
class Redirect:
    location: str


@dataclass
class _Exchange:
    """One request over one connection, and what the ledger is told of it."""

    target: Target
    address: str
    bounds: Bounds
    file: BinaryIO
    status: int | None = None
    received_bytes: int = 0
    problem: str | None = None

    async def run(self) -> Saved | Redirect:
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
