# SPDX-License-Identifier: Apache-2.0
"""An address that a person wrote, taken apart once: what is checked is what is connected to. Pure.

httpx is imported where it is used: see `exchange`, which a server that fetches nothing never imports.
"""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote

from inglenook.outgoing.errors import BadAddress

MAX_CHARS = 4096
MAX_PORT = 65535
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Attributes:
    scheme: `http` or `https`.
    host: in lower case, ASCII, without brackets or a final dot.
    path: with the query, percent-encoded, from the first slash.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As the `Host` header has it: the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def at(self, address: str) -> str:
        """The URL that leads to this numeric address instead of to whatever the name stands for then."""
        host = f"[{address}]" if ":" in address else address
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    def absolute(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse(url: str) -> Target:
    """Take apart what a person wrote.

    Raises:
        BadAddress: no http or https; a name or password in it; characters that parsers read differently.
    """
    import httpx

    if len(url) > MAX_CHARS:
        raise BadAddress(f"The address has {len(url)} characters; at most {MAX_CHARS} are taken.")
    if any(char <= " " or char in "\\\x7f" for char in url):
        raise BadAddress(
            "The address holds a space, a backslash or a control character.",
            hint="percent-encode it (%20 for a space)",
        )
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise BadAddress(f"That is no address: {error}.") from None
    if parts.scheme not in _PORTS:
        raise BadAddress(
            f"An address must begin with http:// or https://; this one has the scheme {parts.scheme[:20]!r}."
        )
    if parts.userinfo:
        raise BadAddress("The address holds a name or password, which is not sent to anybody.")
    if not 0 <= (parts.port or 0) <= MAX_PORT:
        raise BadAddress(f"There is no port {parts.port}; ports end at {MAX_PORT}.")
    host = parts.raw_host.decode("ascii").rstrip(".").lower()
    if not host:
        raise BadAddress("The address names no host.")
    path = parts.raw_path.decode("ascii")
    return Target(parts.scheme, host, parts.port or _PORTS[parts.scheme], path or "/")


def moved(from_target: Target, location: str) -> Target:
    """Where a redirect leads. Raises BadAddress, also for a step from https down to http."""
    import httpx

    text = quote(location, safe="%/:=&?~#+!$,;'@()*[]")
    try:
        joined = str(httpx.URL(from_target.absolute()).join(text))
    except (httpx.InvalidURL, ValueError) as error:
        raise BadAddress(f"It redirects to what is no address: {error}.") from None
    found = parse(joined)
    if from_target.scheme == "https" and found.scheme == "http":
        raise BadAddress("It redirects from https to http.")
    return found


def is_below(host: str, names: Collection[str]) -> bool:
    """Whether `host` is one of the names, or below one of them."""
    if any(host == name for name in names):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return any(host.endswith(f".{name}") for name in names)
    return False
