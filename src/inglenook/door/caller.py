# SPDX-License-Identifier: Apache-2.0
"""Who is calling. Every route depends on `caller`; what does not is written down in `OPEN_PATHS`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection

from inglenook.base.ids import OWNER, PersonId


@dataclass(frozen=True, slots=True)
class Caller:
    """The person behind a request."""

    person: PersonId


class Identity(Protocol):
    """Finds out who is calling; accounts bring another implementation."""

    async def identify(self, connection: HTTPConnection) -> Caller:
        """Raises `Denied` when nobody may be let in on what the connection shows."""
        ...


class MachineOwner:
    """Everybody who can reach the server is the machine's owner. Safe only because the server listens on
    loopback alone as long as there are no accounts (`settings.server.host`), and `guard` refuses the rest."""

    async def identify(self, connection: HTTPConnection) -> Caller:  # noqa: ARG002 - the protocol's signature
        return Caller(OWNER)


async def caller(connection: HTTPConnection) -> Caller:
    """The dependency of every route. `frame` puts the application's `Identity` where it is looked for."""
    identity: Identity = connection.app.state.identity
    return await identity.identify(connection)


FromCaller = Annotated[Caller, Depends(caller)]

OPEN_PATHS: frozenset[str] = frozenset(
    {"/livez", "/readyz", "/health", "/api/health", "/static", "/images/{name}"}
)
"""Reachable without a caller: what watches over the server, files that are the same for everybody, and
pictures by an address whose signature says that it was given away on purpose."""


def open_routes(app: FastAPI) -> list[str]:
    """Paths of all routes and mounts of `app` that do not depend on `caller`."""
    found = []
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        if dependant is None or not any(call is caller for call in _calls(dependant)):
            found.append(route.path or f"a {type(route.original_route).__name__} without a path")
    return found


def require_closed(app: FastAPI) -> None:
    """Raise `RuntimeError` when a route is open that is not meant to be: such a server does not start."""
    unexpected = sorted(set(open_routes(app)) - OPEN_PATHS)
    if unexpected:
        raise RuntimeError(f"these routes do not ask who is calling: {', '.join(unexpected)}")


def _calls(dependant: Dependant) -> Iterator[object]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)
