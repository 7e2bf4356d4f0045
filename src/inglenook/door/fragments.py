# SPDX-License-Identifier: Apache-2.0
"""Pieces of pages that JSON routes answer with when HTMX asks: the pages register them, the routes look."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from inglenook.door.caller import Caller

Fragment = Callable[[Request, Caller, Mapping[str, Any]], Awaitable[Response]]
"""What makes the piece: of the request (whose path parameters tell the project), of who asks, and of what the
route would have answered as `data`."""


@dataclass(frozen=True, slots=True)
class Fragments:
    """By the name of a route (`projects.list`, `datasets.images` …)."""

    _made: dict[str, Fragment] = field(default_factory=dict)

    def register(self, route: str, fragment: Fragment) -> None:
        """Raises ValueError: somebody else has."""
        if route in self._made:
            raise ValueError(f"two fragments for {route}")
        self._made[route] = fragment

    def find(self, route: str) -> Fragment | None:
        return self._made.get(route)
