# SPDX-License-Identifier: Apache-2.0
"""One of our own workers: a child process, its spool folder, and the wire to it."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from inglenook.base.units import format_seconds
from inglenook.runtime.contracts import ChildFailed, Failure, StopReceipt
from inglenook.runtime.exits import SHOWN_LINES, KernelOomCounter, classify
from inglenook.runtime.process import ChildProcess, clean_environment
from inglenook.wire.channel import Channel, Listener, PeerGone
from inglenook.wire.message import Message, WireError

T = TypeVar("T")


class WorkerProcess:
    """A child that was started with `python -m <module>`; every wait on it also watches its end.

    Args:
        module: import name of the worker.
        name: what people read in messages and logs.
        union: the messages that the worker may send.
        spool_root: the worker gets a folder of its own below it.
        extra: more environment for the child.
        grace_s: time to end by itself when the server is gone, or when it has closed its wire.
    """

    spool: Path

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
        self._spool_root = spool_root
        self._extra = extra
        self._grace_s = grace_s
        self._oom = KernelOomCounter()
        self._ooms_before = self._oom.read()
        self._asked_to_go = False
        self._broken = False
        self._told: Failure | None = None
        self._listener: Listener | None = None
        self._process: ChildProcess | None = None
        self._channel: Channel | None = None

    async def start(self) -> None:
        """Make the spool folder, listen, and start the process; `connect` waits for it.

        Raises:
            ChildFailed: it could not be begun; nothing is left of the attempt.
        """
        try:
            self.spool = await asyncio.to_thread(_make_spool, self._spool_root)
        except OSError as error:
            raise self._no_room(error) from error
        try:
            await self._begin()
        except OSError as error:
            raise self._no_room(error) from error
        finally:
            if self._process is None:
                await self.discard()

    async def _begin(self) -> None:
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

    def _no_room(self, error: OSError) -> ChildFailed:
        text = f"{self._name} could not be started: {error.strerror} ({self._spool_root})."
        return ChildFailed(Failure("child.not_started", text, "look at the data folder's disk and its owner"))

    @property
    def pids(self) -> frozenset[int]:
        pid = None if self._process is None else self._process.pid
        return frozenset() if pid is None else frozenset({pid})

    @property
    def alive(self) -> bool:
        """False from the moment at which its end is known or asked for, also when only its wire has ended."""
        return self._process is not None and self._process.alive and not self._broken

    def log(self) -> tuple[str, ...]:
        return () if self._process is None else self._process.log()

    async def connect(self, doing: str) -> None:
        """Wait for the worker's first word.

        Raises:
            ChildFailed: it ended before that, or speaks another protocol.
        """
        assert self._listener is not None
        try:
            self._channel = await self.watched(self._listener.accept(), doing)
        except WireError as error:
            raise ChildFailed(await self._misunderstood(error, doing)) from error
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
            ChildFailed: the worker is gone, or has said what is no message and was ended for it.
        """
        assert self._channel is not None
        try:
            return await self._channel.receive()
        except PeerGone:
            raise ChildFailed(await self._failure(doing)) from None
        except WireError as error:
            raise ChildFailed(await self._misunderstood(error, doing)) from error

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

    async def gone(self, doing: Callable[[], str]) -> Failure | None:
        """Wait for its end; None when it was asked to go. `doing` is asked when it ends."""
        assert self._process is not None
        await self._process.exited()
        return None if self._asked_to_go else await self._failure(doing())

    async def discard(self) -> None:
        """Close the wire and remove the spool folder. For after its end. Idempotent."""
        if self._channel is not None:
            await self._channel.close()
        if self._listener is not None:
            await self._listener.close()
        await asyncio.to_thread(shutil.rmtree, self.spool, ignore_errors=True)

    async def stop(self, grace_s: float) -> StopReceipt:
        assert self._process is not None
        self._asked_to_go = True
        return await self._process.stop(grace_s)

    async def _failure(self, doing: str) -> Failure:
        """Why it is gone: the same for everybody who asks. A worker that has closed its wire and does not
        end is ended."""
        self._broken = True
        if self._told is None:
            told = await self._find_out(doing)
            self._told = told if self._told is None else self._told
        return self._told

    async def _find_out(self, doing: str) -> Failure:
        assert self._process is not None
        if self._asked_to_go:
            return Failure("child.stopped", f"{self._name} was stopped {doing}.", "try again")
        exited = asyncio.ensure_future(self._process.exited())
        await asyncio.wait({exited}, timeout=self._grace_s)
        if not exited.done():
            await self._process.stop(self._grace_s)
            limit = format_seconds(self._grace_s)
            text = f"{self._name} closed its wire {doing} and did not end within {limit}: it was ended."
            return Failure("child.wire_closed", text, "try again", last_lines=self.log()[-SHOWN_LINES:])
        now = self._oom.read()
        kills = None if now is None or self._ooms_before is None else now - self._ooms_before
        return classify(await exited, name=self._name, doing=doing, log=self.log(), oom_kills=kills)

    async def _misunderstood(self, error: WireError, doing: str) -> Failure:
        """It has said what we do not understand: nothing after that can be trusted, so it is ended."""
        assert self._process is not None
        self._broken = True
        if self._told is None:
            text = f"{self._name} was ended {doing}: {error.message}"
            self._told = Failure(error.code, text, error.hint, last_lines=self.log()[-SHOWN_LINES:])
        await self._process.stop(self._grace_s)
        return self._told


def _make_spool(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="worker-", dir=root))
