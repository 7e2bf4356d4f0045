# SPDX-License-Identifier: Apache-2.0
"""The dialect at the root of a port of its own, for clients that know no address but the original's."""

from collections.abc import Container

from starlette.types import ASGIApp, Receive, Scope, Send


class AtRoot:
    """ASGI middleware around the whole application: what comes in by one of `ports` is asked below `prefix`.

    Everything that guards the application guards these requests as well; nothing else of it is there.
    """

    def __init__(self, app: ASGIApp, *, ports: Container[int], prefix: str) -> None:
        self._app = app
        self._ports = ports
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        if scope["type"] in ("http", "websocket") and server is not None and server[1] in self._ports:
            raw = scope.get("raw_path")
            scope = {
                **scope,
                "path": self._prefix + scope["path"],
                "raw_path": None if raw is None else self._prefix.encode() + raw,
            }
        await self._app(scope, receive, send)
