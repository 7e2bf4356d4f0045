# SPDX-License-Identifier: Apache-2.0
"""/ws/logs and /ws/status: the log, and the state of the machine, live.

A socket is refused before it is accepted: by the guard where another site's page opens it (`Origin`), by
`door.administrator` where a password is set and nothing valid is shown. Text `ping` is answered; silence is
broken every so often, so that nobody takes a quiet connection for a dead one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from inglenook.api.cyber.machine import Machine, moment, resources
from inglenook.base.journal import Journal, Line
from inglenook.door.administrator import administrator
from inglenook.door.caller import caller

STATUS_EVERY_S: Final = 2.0
KEEPALIVE_AFTER_S: Final = 30.0
_PING: Final = "ping"
_PONG: Final = {"type": "pong"}
_KEEPALIVE: Final = {"type": "keepalive"}

Source = Callable[[], AsyncIterator[dict[str, Any]]]


def socket_routes(
    machine: Machine,
    *,
    journal: Journal,
    status_every_s: float = STATUS_EVERY_S,
    keepalive_after_s: float = KEEPALIVE_AFTER_S,
) -> APIRouter:
    router = APIRouter(dependencies=[Depends(caller), Depends(administrator)])

    async def lines() -> AsyncIterator[dict[str, Any]]:
        async with aclosing(journal.follow(level="info")) as followed:
            async for line in followed:
                yield _line(line)

    async def states() -> AsyncIterator[dict[str, Any]]:
        known: set[str] | None = None
        while True:
            loaded = machine.loaded()
            for event in _events(known, set(loaded)):
                yield {"timestamp": moment(machine.clock.now()), **event}
            known = set(loaded)
            yield {
                "type": "status_update",
                "timestamp": moment(machine.clock.now()),
                "resources": await run_in_threadpool(resources, machine.runtime.snapshot()),
                "models": {"loaded": loaded, "count": len(loaded)},
            }
            await asyncio.sleep(status_every_s)

    @router.websocket("/ws/logs")
    async def logs(socket: WebSocket) -> None:
        await Talk(socket, keepalive_after_s).run(lines)

    @router.websocket("/ws/status")
    async def status(socket: WebSocket) -> None:
        await Talk(socket, keepalive_after_s).run(states)

    return router


def _events(known: set[str] | None, loaded: set[str]) -> list[dict[str, Any]]:
    """What has become of models since the last look; nothing at the first."""
    if known is None:
        return []
    return [
        *({"type": "model_loaded", "model": model} for model in sorted(loaded - known)),
        *({"type": "model_unloaded", "model": model} for model in sorted(known - loaded)),
    ]


def _line(line: Line) -> dict[str, Any]:
    return {
        "timestamp": moment(line.when),
        "level": line.level.upper(),
        "module": line.source,
        "message": line.text,
    }


class Talk:
    """One open socket: what `source` yields goes out, `ping` is answered, silence is broken."""

    def __init__(self, socket: WebSocket, keepalive_after_s: float) -> None:
        self._socket = socket
        self._keepalive_after_s = keepalive_after_s
        self._sending = asyncio.Lock()
        self._said = asyncio.Event()

    async def run(self, source: Source) -> None:
        await self._socket.accept()
        tasks = [
            asyncio.create_task(work) for work in (self._tell(source), self._listen(), self._keep_alive())
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            gone = (asyncio.CancelledError, WebSocketDisconnect, OSError)
            if isinstance(error, BaseException) and not isinstance(error, gone):
                raise error

    async def _tell(self, source: Source) -> None:
        async for message in source():
            await self._send(message)

    async def _listen(self) -> None:
        """Ends with `WebSocketDisconnect` when the client goes."""
        while True:
            if await self._socket.receive_text() == _PING:
                await self._send(_PONG)

    async def _keep_alive(self) -> None:
        while True:
            self._said.clear()
            try:
                await asyncio.wait_for(self._said.wait(), self._keepalive_after_s)
            except TimeoutError:
                await self._send(_KEEPALIVE)

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._sending:
            await self._socket.send_json(message)
        self._said.set()
