# SPDX-License-Identifier: Apache-2.0
"""`/mcp`: the tools over streamable HTTP.

The protocol's library keeps sessions in tasks of its own, which need a place to live: `McpDoor` is that
place. Nothing of it is loaded or started before the first request. The caller is asked for as at every other
door; `Host`, `Origin` and the size of bodies are the guard's business.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inglenook.api.mcp.tools import Tools
from inglenook.base.errors import Unavailable
from inglenook.base.ids import PersonId
from inglenook.door.caller import FromCaller, caller
from inglenook.door.services import Catalog, Gallery, Images, Jobs

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

MAX_SESSIONS: Final = 64
IDLE_S: Final = 1800.0


class McpDoor:
    """Args:
    max_body_bytes: of one message; input pictures travel in it as base64.
    """

    def __init__(
        self, *, images: Images, jobs: Jobs, gallery: Gallery, catalog: Catalog, max_body_bytes: int
    ) -> None:
        self.tools = Tools(images=images, jobs=jobs, gallery=gallery, catalog=catalog)
        self._max_body_bytes = max_body_bytes
        self._life: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._end = asyncio.Event()

    async def sessions(self) -> "StreamableHTTPSessionManager":
        """The library's manager, started with the first call. Raises Unavailable while the server stops."""
        if self._end.is_set():
            raise Unavailable("The server is stopping.", code="server.stopping")
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._life = asyncio.create_task(self._live(self._ready), name="mcp")
        return await asyncio.shield(self._ready)

    async def close(self) -> None:
        """End all sessions."""
        self._end.set()
        if self._life is not None:
            with suppress(asyncio.CancelledError):
                await self._life

    async def _live(self, ready: "asyncio.Future[StreamableHTTPSessionManager]") -> None:
        try:
            manager = await asyncio.to_thread(self._manager)
            async with manager.run():
                ready.set_result(manager)
                await self._end.wait()
        finally:
            if not ready.done():
                ready.cancel()

    def _manager(self) -> "StreamableHTTPSessionManager":
        """Blocks: the library takes a second or two to import."""
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from mcp.server.transport_security import TransportSecuritySettings

        from inglenook.api.mcp.protocol import mcp_server

        return StreamableHTTPSessionManager(
            mcp_server(self.tools.call, _person_of),
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            session_idle_timeout=IDLE_S,
            max_request_body_size=self._max_body_bytes,
            max_sessions=MAX_SESSIONS,
        )


async def _person_of(request: Any) -> PersonId:
    """Whom the route has found behind the request that carried this message."""
    person: PersonId = request.scope["state"]["mcp_person"]
    return person


def mcp_router(door: McpDoor) -> APIRouter:
    router = APIRouter(tags=["mcp"], dependencies=[Depends(caller)], include_in_schema=False)

    @router.api_route("/mcp", methods=["GET", "POST", "DELETE"])
    async def mcp(request: Request, who: FromCaller) -> Response:
        request.scope.setdefault("state", {})["mcp_person"] = who.person
        return _Passed(await door.sessions())

    return router


class _Passed(Response):
    """The answer is the library's: it gets the request as it came."""

    def __init__(self, manager: "StreamableHTTPSessionManager") -> None:
        super().__init__()
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)
