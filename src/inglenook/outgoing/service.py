# SPDX-License-Identifier: Apache-2.0
"""The one way out. Nothing else in the server opens a connection to another machine.

    parse → allowed? → resolve → every address public? → write into the ledger → connect to that address
          ↑ a redirect begins again here, at most `Bounds.max_redirects` times

The connection goes to the very address that was checked: the name is never looked up a second time, so it
cannot mean another machine by then. No cookies, no credentials, no proxy from the environment.
"""

import asyncio
import importlib
import io
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from inglenook.base.errors import InglenookError
from inglenook.base.units import format_seconds
from inglenook.outgoing import target as targets
from inglenook.outgoing.addresses import Address, refusal
from inglenook.outgoing.errors import NotAllowed, NotFetched, Unreachable
from inglenook.outgoing.model import Bounds, Entry, Fetched, Rules, Saved
from inglenook.outgoing.records import OutgoingRecords
from inglenook.outgoing.target import Target

if TYPE_CHECKING:
    from inglenook.outgoing.exchange import Exchange, Redirect

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
        # For those who fetch only, and beside the loop: it imports httpx.
        await asyncio.to_thread(importlib.import_module, "inglenook.outgoing.exchange")
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
            except Unreachable as error:
                reason = error.message
        raise Unreachable(f"{target.host} cannot be reached: {reason}.")

    async def _connected(
        self, target: Target, address: str, purpose: str, bounds: Bounds, file: BinaryIO
    ) -> "Saved | Redirect":
        number = await asyncio.to_thread(
            self._records.begin, host=target.host, port=target.port, address=address, purpose=purpose
        )
        from inglenook.outgoing.exchange import Exchange

        exchange = Exchange(target=target, address=address, bounds=bounds, file=file)
        try:
            return await exchange.run()
        finally:
            # Carried through also when the request is called off: the ledger says what happened.
            await asyncio.shield(asyncio.ensure_future(self._close(number, exchange)))

    async def _close(self, number: int, exchange: "Exchange") -> None:
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
