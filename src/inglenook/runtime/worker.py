# SPDX-License-Identifier: Apache-2.0
"""One of our own workers: a child process, its spool folder, and the wire to it."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import TypeVar

from inglenook.runtime.contracts import ChildFailed, Failure, StopReceipt
from inglenook.runtime.exits import KernelOomCounter, classify
from inglenook.runtime.process import ChildProcess, clean_environment
from inglenook.wire.channel import Channel, Listener, PeerGone
from inglenook.wire.message import Message

T = TypeVar("T")


class WorkerProcess:
    """A child that was started with `python -m <module>`; every wait on it also watches its end.

    Args:
        module: import name of the worker.
        name: what people read in messages and logs.
        union: the messages that the worker may send.
        spool_root: an existing folder; the worker gets one of its own below it.
        extra: more environment for the child.
        grace_s: time to end by itself when the server is gone.
    """

    def __init__(
        self,
        *,
        module: str,
        name: str,
        union: object,
        spool_root: Path,
        extra: Mapping[str, str],
        grace_s: float,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self._module = module
        self._arguments = arguments
        self._name = name
        self._union = union
        self._extra = extra
        self._grace_s = grace_s
        self._oom = KernelOomCounter()
        self._ooms_before = self._oom.read()
        self._asked_to_go = False
        self._listener: Listener | None = None
        self._process: ChildProcess | None = None
        self._channel: Channel | None = None
        self.spool = Path(tempfile.mkdtemp(prefix="worker-", dir=spool_root))

    async def start(self) -> None:
        """Listen, and start the process; `connect` waits for it. Raises `ChildFailed`."""
        self._listener = Listener(self.spool, self._union)
        await self._listener.open()
        environ = clean_environment(os.environ, self._listener.environment() | dict(self._extra))
        self._process = await ChildProcess.start(
            [sys.executable, "-m", self._module, *self._arguments],
            name=self._name,
            environ=environ,
            cwd=self.spool,
            grace_s=self._grace_s,
        )

    @property
    def pids(self) -> frozenset[int]:
        pid = None if self._process is None else self._process.pid
        return frozenset() if pid is None else frozenset({pid})

    def log(self) -> tuple[str, ...]:
        return () if self._process is None else self._process.log()

    async def connect(self, doing: str) -> None:
        """Wait for the worker's first word. Raises `ChildFailed` when it ends before that."""
        assert self._listener is not None
        self._channel = await self.watched(self._listener.accept(), doing)
        await self._listener.close()

    async def send(self, message: Message, doing: str) -> None:
        """Raises `ChildFailed` when the worker is gone."""
        assert self._channel is not None
        try:
            await self._channel.send(message)
        except PeerGone:
            raise ChildFailed(await self._failure(doing)) from None

    async def receive(self, doing: str) -> Message:
        """The next message.

        Raises:
            ChildFailed: the worker is gone.
            WireError: it said what is no message.
        """
        assert self._channel is not None
        try:
            return await self._channel.receive()
        except PeerGone:
            raise ChildFailed(await self._failure(doing)) from None

    async def watched(self, waiting: Awaitable[T], doing: str) -> T:
        """The result of `waiting`, or `ChildFailed` if the process ends first."""
        assert self._process is not None
        wanted = asyncio.ensure_future(waiting)
        end = asyncio.ensure_future(self._process.exited())
        try:
            await asyncio.wait({wanted, end}, return_when=asyncio.FIRST_COMPLETED)
            if wanted.done():
                return wanted.result()
            raise ChildFailed(await self._failure(doing))
        finally:
            wanted.cancel()
            end.cancel()

    async def gone(self, doing: str) -> Failure | None:
        """Wait for its end; None when it was asked to go. Its spool folder is removed."""
        assert self._process is not None
        await self._process.exited()
        failure = None if self._asked_to_go else await self._failure(doing)
        if self._channel is not None:
            await self._channel.close()
        if self._listener is not None:
            await self._listener.close()
        await asyncio.to_thread(shutil.rmtree, self.spool, ignore_errors=True)
        return failure

    async def stop(self, grace_s: float) -> StopReceipt:
        self._asked_to_go = True
        assert self._process is not None
        return await self._process.stop(grace_s)

    async def _failure(self, doing: str) -> Failure:
        """Why it is gone. A worker that has closed its wire and does not end is ended."""
        assert self._process is not None
        if self._asked_to_go:
            return Failure("child.stopped", f"{self._name} was stopped {doing}.", "try again")
        exited = asyncio.ensure_future(self._process.exited())
        await asyncio.wait({exited}, timeout=self._grace_s)
        if not exited.done():
            await self._process.stop(self._grace_s)
        end = await exited
        now = self._oom.read()
        kills = None if now is None or self._ooms_before is None else now - self._ooms_before
        return classify(end, name=self._name, doing=doing, log=self.log(), oom_kills=kills)
