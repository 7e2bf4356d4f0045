# SPDX-License-Identifier: Apache-2.0
"""One llama.cpp server: ready or not, what it is asked, what it answers, how it ended."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from inglenook.base.units import format_seconds
from inglenook.runtime.contracts import ChildFailed, Failure, StopReceipt
from inglenook.runtime.exits import KernelOomCounter, classify
from inglenook.runtime.process import ChildProcess
from inglenook.wire.llama import Launch

POLL_S: Final = 0.05
LOADING: Final = "while it was being loaded"
AT_WORK: Final = "while it answered"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the child answers. `content` ends by `ChildFailed` when the child dies before its answer's end.

    Attributes:
        headers: with lower-case names; only those that a client may see.
    """

    status: int
    headers: Mapping[str, str]
    content: AsyncIterator[bytes]

    async def read(self) -> bytes:
        return b"".join([part async for part in self.content])


class LlamaChild:
    """A child of `LlamaEngine`. Serves as many requests at once as it has slots."""

    def __init__(
        self,
        process: ChildProcess,
        launch: Launch,
        *,
        model: str,
        folders: tuple[Path, ...],
        start_timeout_s: float,
    ) -> None:
        self._process = process
        self._launch = launch
        self._model = model
        self._folders = folders
        self._start_timeout_s = start_timeout_s
        self._oom = KernelOomCounter()
        self._ooms_before = self._oom.read()
        self._asked_to_go = False
        self._ready = False
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=launch.socket, limits=httpx.Limits(max_connections=None, max_keepalive_connections=64)
            ),
            base_url="http://llama.cpp",
            timeout=httpx.Timeout(None),  # an answer may take its time
        )

    @property
    def pids(self) -> frozenset[int]:
        return frozenset() if self._process.pid is None else frozenset({self._process.pid})

    @property
    def alive(self) -> bool:
        return self._process.alive

    def log(self) -> tuple[str, ...]:
        return self._process.log()

    async def ready(self) -> None:
        end = asyncio.ensure_future(self._process.exited())
        try:
            async with asyncio.timeout(self._start_timeout_s):
                while not await self._healthy():
                    await asyncio.wait({end}, timeout=POLL_S)
                    if end.done():
                        raise ChildFailed(await self._failure(LOADING))
        except TimeoutError:
            limit = format_seconds(self._start_timeout_s)
            text = f"{self._model} was not ready after {limit}."
            hint = "raise runtime.start_timeout_s, or look at the last lines in `GET /v1/runtime`"
            raise ChildFailed(Failure("child.never_ready", text, hint, last_lines=self.log()[-5:])) from None
        finally:
            end.cancel()
        self._ready = True

    async def _healthy(self) -> bool:
        try:
            return (await self._http.get("/health")).status_code == 200
        except httpx.TransportError:
            return False

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Reply]:
        """Ask the child. Leaving the context before the end of the answer stops the generation in it at once.

        Raises:
            ChildFailed: it is gone, or goes before it has answered.
        """
        asked = self._http.build_request(
            method, path, content=body, headers={"content-type": "application/json", **(headers or {})}
        )
        try:
            answer = await self._http.send(asked, stream=True)
        except httpx.TransportError as error:
            raise ChildFailed(await self._failure(AT_WORK)) from error
        try:
            yield Reply(
                answer.status_code,
                {"content-type": answer.headers.get("content-type", "application/json")},
                self._content(answer),
            )
        finally:
            await answer.aclose()

    async def _content(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for part in answer.aiter_raw():
                yield part
        except httpx.TransportError as error:
            raise ChildFailed(await self._failure(AT_WORK)) from error

    async def exited(self) -> Failure | None:
        await self._process.exited()
        return None if self._asked_to_go else await self._failure(AT_WORK if self._ready else LOADING)

    async def _failure(self, doing: str) -> Failure:
        if self._asked_to_go:
            return Failure("child.stopped", f"{self._model} was stopped {doing}.", "try again")
        end = await self._process.exited()
        now = self._oom.read()
        kills = None if now is None or self._ooms_before is None else now - self._ooms_before
        return classify(end, name=self._model, doing=doing, log=self.log(), oom_kills=kills)

    async def stop(self, grace_s: float) -> StopReceipt:
        self._asked_to_go = True
        return await self._process.stop(grace_s)

    async def discard(self) -> None:
        with contextlib.suppress(RuntimeError):
            await self._http.aclose()
        for folder in self._folders:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
