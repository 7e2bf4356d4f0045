# SPDX-License-Identifier: Apache-2.0
"""One llama.cpp server: ready or not, what it is asked, what it answers, how it ended."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.base.units import format_seconds
from inglenook.engines.llamacpp import words
from inglenook.engines.llamacpp.http import Address, Lost, Talk, open_talk
from inglenook.engines.llamacpp.watching import Watch
from inglenook.runtime.contracts import ChildFailed, Failure, StopReceipt
from inglenook.runtime.exits import SHOWN_LINES, KernelOomCounter, classify
from inglenook.runtime.process import ChildProcess
from inglenook.wire.llama import Launch, Mode

POLL_S: Final = 0.02
ANSWER_TIMEOUT_S: Final = 5.0
"""For a question that a healthy child answers at once."""
LOADING: Final = "while it was being loaded"
IDLE: Final = "while it was idle"
AT_WORK: Final = "while it answered"
SHOWN: Final[tuple[str, ...]] = ("content-type", "cache-control", "retry-after")
"""Headers of the child's that a client may see."""

FIRST_WORD: Final[Mapping[Mode, tuple[str, Mapping[str, Any]]]] = {
    "chat": ("/completion", {"prompt": "a", "n_predict": 1, "cache_prompt": False}),
    "embedding": ("/embeddings", {"content": "a"}),
    "rerank": ("/v1/rerank", {"query": "a", "documents": ["a"]}),
}
"""By mode: what a child answers first, before anybody waits for it."""


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


class Content:
    """The body of an answer, part by part as it comes. Raises `ChildFailed` when it has no proper end."""

    def __init__(self, talk: Talk, cut_short: Callable[[Talk], Awaitable[Failure]]) -> None:
        self._talk = talk
        self._cut_short = cut_short

    def __aiter__(self) -> "Content":
        return self

    async def __anext__(self) -> bytes:
        try:
            part = await self._talk.part()
        except Lost:
            raise ChildFailed(await self._cut_short(self._talk)) from None
        if part is None:
            raise StopAsyncIteration
        return part


class LlamaChild:
    """A child of `LlamaEngine`. Serves as many requests at once as it has slots.

    Args:
        spool: its working folder. folders: removed by `discard`, that one among them.
        stop_grace_s: how long it may take to end after it has closed a connection in mid-answer or hangs.
        hang_after_s: see `watching`.
    """

    def __init__(
        self,
        process: ChildProcess,
        launch: Launch,
        *,
        model: str,
        spool: Path,
        folders: tuple[Path, ...],
        start_timeout_s: float,
        stop_grace_s: float,
        hang_after_s: float,
    ) -> None:
        self._process = process
        self._load = launch.load
        self._address = Address(launch.socket, launch.port, launch.key)
        self._model = model
        self._spool = spool
        self._folders = folders
        self._start_timeout_s = start_timeout_s
        self._stop_grace_s = stop_grace_s
        self._oom = KernelOomCounter()
        self._ooms_before = self._oom.read()
        self._asked_to_go = False
        self._ready = False
        self._told: Failure | None = None
        self._talks: set[Talk] = set()
        self._watch = Watch(
            talks=self._talks, probe=self._probe, pids=lambda: self.pids, hang_after_s=hang_after_s
        )

    @property
    def pids(self) -> frozenset[int]:
        return frozenset() if self._process.pid is None else frozenset({self._process.pid})

    @property
    def alive(self) -> bool:
        """False once its end is known, and never true again: the scheduler then gives it up for good. One
        that has only broken off an answer may live on, and serves others meanwhile; should it end after all,
        what they ask is asked once more on a new one."""
        return self._process.alive and self._told is None

    @property
    def spool(self) -> Path:
        """Its working folder."""
        return self._spool

    def log(self) -> tuple[str, ...]:
        return self._process.log()

    # -- getting ready -------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Return when it is healthy and has given its first token (embedding, score).

        Raises:
            ChildFailed: it ended before that, has refused the model, or was ended after the time-out.
        """
        coming = asyncio.ensure_future(self._come_up())
        end = asyncio.ensure_future(self._process.exited())
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await asyncio.wait({coming, end}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    raise ChildFailed(await self._failure(LOADING))
                await coming
        except TimeoutError:
            raise ChildFailed(await self._never_ready()) from None
        except Lost:
            raise ChildFailed(await self._failure(LOADING)) from None
        finally:
            coming.cancel()
            end.cancel()
        self._ready = True

    async def _come_up(self) -> None:
        while not await self._healthy():  # noqa: ASYNC110 - nothing tells us that another process listens now
            await asyncio.sleep(POLL_S)
        path, body = FIRST_WORD[self._load.mode]
        status, answer = await self._ask("POST", path, msgspec.json.encode(body))
        if status != 200:
            text = answer[:200].decode("utf-8", "replace")
            self._told = self._told or Failure(
                "load.no_first_token",
                f"{self._model} was loaded and could not answer: {status} {text}",
                "look at its last lines in the log; another file of this model may work",
                last_lines=self.log()[-SHOWN_LINES:],
            )
            raise ChildFailed(self._told)

    async def _healthy(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return (await self._ask("GET", "/health"))[0] == 200
        except (Lost, TimeoutError):
            return False

    async def _never_ready(self) -> Failure:
        limit = format_seconds(self._start_timeout_s)
        text = f"{self._model} was not ready after {limit}: it was ended."
        hint = "raise runtime.start_timeout_s, or look at the last lines in `GET /v1/runtime`"
        self._told = self._told or Failure(
            "child.never_ready", text, hint, last_lines=self.log()[-SHOWN_LINES:]
        )
        await self._process.stop(self._stop_grace_s)
        return self._told

    # -- at work -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Reply]:
        """Ask the child. Leaving the context before the end of the answer stops the generation in it at once.

        Raises:
            ChildFailed: it is gone, or goes before it has answered; `Reply.content` raises it in mid-answer.
        """
        try:
            talk = await open_talk(self._address)
        except Lost:
            raise ChildFailed(await self._failure(AT_WORK)) from None
        self._talks.add(talk)
        self._watch.look(self._hangs)
        try:
            talk.send(method, path, self._headers(headers), body)
            try:
                await talk.head()
            except Lost:
                raise ChildFailed(await self._failure(AT_WORK)) from None
            shown = {name: talk.headers[name] for name in SHOWN if name in talk.headers}
            yield Reply(talk.status, shown, Content(talk, self._cut_short))
        finally:
            talk.close()
            self._talks.discard(talk)

    def _headers(self, given: Mapping[str, str] | None) -> dict[str, str]:
        headers = {"content-type": "application/json", **(given or {})}
        if self._address.key is not None:
            headers["authorization"] = f"Bearer {self._address.key}"
        return headers

    async def _cut_short(self, talk: Talk) -> Failure:
        """Why an answer has no end."""
        if talk.closed:
            return Failure("child.left", f"The answer of {self._model} was left before its end.")
        return await self._failure(AT_WORK)

    async def _ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """A question of our own. Raises `Lost`."""
        talk = await open_talk(self._address)
        try:
            talk.send(method, path, self._headers(None), body)
            await talk.head()
            parts = []
            while (part := await talk.part()) is not None:
                parts.append(part)
            return talk.status, b"".join(parts)
        finally:
            talk.close()

    async def _probe(self) -> bool:
        """Whether the thread that computes has answered: `/slots` goes through its queue."""
        try:
            await self._ask("GET", "/slots")
        except Lost:
            return False
        return True

    async def _hangs(self, silent_s: float) -> None:
        limit = format_seconds(silent_s)
        text = f"{self._model} showed no sign of life {AT_WORK} for {limit}: it was ended."
        self._told = self._told or Failure(
            "child.hung", text, "try again; if it recurs, look at its last lines in the log",
            last_lines=self.log()[-SHOWN_LINES:],
        )  # fmt: skip
        await self._process.stop(self._stop_grace_s)

    # -- the end -------------------------------------------------------------------------------------

    async def exited(self) -> Failure | None:
        await self._process.exited()
        if self._asked_to_go:
            return None
        return await self._failure(AT_WORK if self._talks else IDLE if self._ready else LOADING)

    async def _failure(self, doing: str) -> Failure:
        """Why it is gone, the same for everybody who asks; or why it has cut off this answer."""
        if self._asked_to_go:
            return Failure("child.stopped", f"{self._model} was stopped {doing}.", "try again")
        if self._told is not None:
            return self._told
        exited = asyncio.ensure_future(self._process.exited())
        try:
            await asyncio.wait({exited}, timeout=self._stop_grace_s)
            if not exited.done():
                return await self._not_gone(doing)
        finally:
            exited.cancel()
        if self._told is None:
            self._told = await self._found_out(doing)
        return self._told

    async def _not_gone(self, doing: str) -> Failure:
        """It has closed a connection in mid-answer and lives. Healthy: only that answer is lost."""
        lines = self.log()[-SHOWN_LINES:]
        if await self._healthy():
            text = f"{self._model} broke off its answer {doing}."
            return Failure("child.cut_off", text, "try again", last_lines=lines)
        if self._told is None:
            limit = format_seconds(self._stop_grace_s)
            text = (
                f"{self._model} closed its connections {doing} and did not end within {limit}: it was ended."
            )
            self._told = Failure("child.hung", text, "try again", last_lines=lines)
        await self._process.stop(self._stop_grace_s)
        return self._told

    async def _found_out(self, doing: str) -> Failure:
        end = await self._process.exited()
        if self._asked_to_go:
            return Failure("child.stopped", f"{self._model} was stopped {doing}.", "try again")
        now = self._oom.read()
        kills = None if now is None or self._ooms_before is None else now - self._ooms_before
        failure = classify(end, name=self._model, doing=doing, log=self.log(), oom_kills=kills)
        return words.told(failure, self.log(), model=self._model, doing=doing, loading=doing == LOADING)

    async def stop(self, grace_s: float) -> StopReceipt:
        if self._told is None and self._process.alive:
            self._asked_to_go = True
        return await self._process.stop(grace_s)

    async def discard(self) -> None:
        self._watch.close()
        for folder in self._folders:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
