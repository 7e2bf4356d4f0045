# SPDX-License-Identifier: Apache-2.0
"""Values of outgoing requests. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Rules:
    """What may leave (settings `outgoing.*`).

    Attributes:
        offline: nothing at all.
        allow: hosts that may be asked, with all below them (`example.org` covers `cdn.example.org`); empty
            allows every public one.
        private_hosts: hosts that may be asked although their address is a private one.
        ports: that may be connected to.
    """

    offline: bool = False
    allow: Collection[str] = ()
    private_hosts: Collection[str] = ()
    ports: Collection[int] = (80, 443)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request may take.

    Attributes:
        max_bytes: of the answer, as sent and as unpacked.
        media_types: beginnings of the media types that are wanted, such as `image/`; empty takes all.
        total_s: seconds for everything together, redirects included.
        max_redirects: that are followed; each is checked like the first address.
    """

    max_bytes: int
    media_types: tuple[str, ...] = ()
    total_s: float = 30.0
    max_redirects: int = 5


@dataclass(frozen=True, slots=True)
class Fetched:
    """`media_type` in lower case without parameters, as the other side declares it: sniff the content."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written to a file: its length, SHA-256 in hexadecimal, and media type as in `Fetched`."""

    bytes: int
    sha256: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One connection in the ledger, written before it is opened.

    Attributes:
        number: rises with time.
        host, port: as the address named them. No path and no query stands here: they may hold secrets. Where
            another program connects for us, whom it asks, in words, and port 0.
        address: the numeric address that was connected to; "" where another program connects for us.
        purpose: in a few words, for a person.
        status: of the HTTP answer; None when there was none (yet).
        received_bytes: of its body, as they came over the wire.
        problem: what went wrong, or None.
    """

    number: int
    at: datetime
    host: str
    port: int
    address: str
    purpose: str
    status: int | None
    received_bytes: int
    problem: str | None
