# SPDX-License-Identifier: Apache-2.0
"""From a client through the queue to a language model's process and back: the same for every dialect.

    relay = Relay(language=…)
    ask = Ask(model, person, "/v1/chat/completions", body)

    whole = await relay.whole(request.receive, ask)  # to the end; a client that goes away stops it
    return relay.passed(ask, manner)                 # the bytes as they come, for a client that streams
    return RelayedStream(parts, manner=manner)       # bytes that are made of one or more answers:

    async def parts(wait: Wait) -> AsyncGenerator[bytes, None]:
        async with relay.ask(ask, wait) as reply:
            async for part in reply.content:
                yield translated(part)

Errors are raised before the answer has begun, and keep their status; after that `manner.failed` writes them.
Leaving `Relay.ask`, however it is left, stops the generation in the child.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inglenook.api.refusals import refusal
from inglenook.base.cancel import StopToken
from inglenook.base.errors import Failed, InglenookError
from inglenook.base.ids import PersonId
from inglenook.base.units import format_seconds
from inglenook.base.work import WorkClass
from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.chat.service import Exchange, Usage
from inglenook.door.disconnect import ClientGone, drop, hung_up, while_connected
from inglenook.door.problem import Problem, problem_of
from inglenook.door.services import Language
from inglenook.engines.llamacpp.child import Reply

BEGIN_AFTER_S: Final = 2.0
"""How long a client that streams waits in silence: until then an error can still have a status of its own."""
TELL_EVERY_S: Final = 4.0
"""Then it is told every so often why it waits; proxies close what stays quiet."""
DONE: Final = b"[DONE]"
"""How OpenAI's streams end."""
_SPLIT_BYTES: Final = 64
"""Of the part before the last: what ends a stream may arrive in two."""
_BAD_REQUEST: Final = 400
_KNOWN_PROPS: Final = 256
_BEGIN_BYTES: Final = 4096
_LAST_PARTS: Final = 4
"""Of an answer: in the last of them its cost stands."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a language model's process, in llama.cpp's own words.

    Attributes:
        keep_s, context, task: as `ChatService.exchange` takes them.
    """

    model: ModelRecord
    person: PersonId
    path: str = ""
    body: bytes = b""
    method: str = "POST"
    keep_s: float | None = None
    context: int | None = None
    work_class: WorkClass = WorkClass.INTERACTIVE
    task: LanguageTask | None = None


class Wait:
    """What a request waits for now, for whoever tells its client.

    Attributes:
        words: one line: place, reason, estimate; or what is done since the wait is over.
        headers: what the answer's headers say so far.
    """

    def __init__(self) -> None:
        self.words = "waiting"
        self.headers: dict[str, str] = {}
        self._heard = False
        self._loading_from_s: float | None = None

    async def hear(self, explanation: Mapping[str, Any]) -> None:
        self.words = words_of(explanation)
        if self._loading_from_s is None and explanation["reason"].get("kind") == "loading":
            # What was being loaded when it was first asked about has been so from the beginning.
            self._loading_from_s = float(explanation.get("waited_s") or 0.0) if self._heard else 0.0
        self._heard = True

    def begins(self, model: ModelRecord) -> None:
        # What an answer is made of may be several models' work: the first one named is the one asked for.
        self.headers.setdefault("x-inglenook-model", quote(str(model.id), safe="/ :@+,()[]"))

    def served(self, exchange: Exchange) -> None:
        self.words = f"{exchange.model.id} reads what was asked"
        waited_s = exchange.lease.waited_s
        loading_s = 0.0 if self._loading_from_s is None else max(0.0, waited_s - self._loading_from_s)
        self.headers.setdefault("x-inglenook-waited-s", f"{waited_s:.3f}")
        self.headers.setdefault("x-inglenook-load-s", f"{loading_s:.3f}")


def words_of(explanation: Mapping[str, Any]) -> str:
    """One line of why a request waits, from `runtime.scheduler.snapshot.explanation_json`."""
    place = f"waiting, place {explanation['position']} of {explanation['waiting']}: "
    text = " ".join(str(explanation["reason"]["text"]).split())
    estimate = explanation.get("estimate_s")
    return place + text + ("" if estimate is None else f"; about {format_seconds(estimate)} left")


class Manner(Protocol):
    """How a dialect writes a stream.

    Attributes:
        end: what every event ends with: a blank line for server-sent events, a line feed for lines of JSON.
    """

    media_type: str
    end: bytes

    def waiting(self, words: str) -> bytes | None:
        """What a reader of the dialect skips, with `words` (one line) for people; None where there is no such
        thing: then the answer begins with the child's."""
        ...

    def failed(self, problem: Problem) -> bytes:
        """The end of a stream that has begun and cannot go on. Never what ends a whole answer."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer, read to its end. `headers`: lower-case names, for the client."""

    body: bytes
    headers: Mapping[str, str]

    def response(self, body: bytes | None = None, **more: str) -> Response:
        """As it is, or with another body. `more`: further headers, `_` for `-`."""
        further = {name.replace("_", "-"): value for name, value in more.items()}
        headers = {"content-type": "application/json", "cache-control": "no-store", **self.headers, **further}
        return Response(self.body if body is None else body, headers=headers)


@dataclass(frozen=True, slots=True)
class Props:
    """What a loaded model can do, by its process's own word.

    Attributes:
        tools: its template shows tools to it.
        pictures: it has a projector.
        context: tokens of one conversation; 0 where it does not say.
    """

    tools: bool
    pictures: bool
    context: int


class Held:
    """A loaded model with a free place, as long as the context of `Relay.hold` lasts."""

    def __init__(self, exchange: Exchange, known: "dict[str, Props]") -> None:
        self.model = exchange.model
        self._exchange = exchange
        self._known = known

    @asynccontextmanager
    async def request(self, path: str, body: bytes = b"", *, method: str = "POST") -> AsyncIterator[Reply]:
        """Raises `ChildFailed`, and what the child refuses (`api.refusals`)."""
        async with self._exchange.request(method, path, body=body) as reply:
            if reply.status >= _BAD_REQUEST:
                raise refusal(self.model, reply.status, await reply.read())
            yield Reply(reply.status, reply.headers, self._counted(reply.content))

    async def _counted(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same, and what it says of its cost goes to the model's counters."""
        first, last = b"", deque[bytes](maxlen=_LAST_PARTS)
        async for part in content:
            yield part
            first = first or part[:_BEGIN_BYTES]
            last.append(part)
        used = usage_of(b"".join(last), first)
        if used is not None:
            self._exchange.used(used)

    async def read(self, path: str, body: bytes = b"", *, method: str = "POST") -> bytes:
        """The whole answer. Raises as `request`."""
        async with self.request(path, body, method=method) as reply:
            return await reply.read()

    @property
    def mode(self) -> str:
        """What the process answers: `chat`, `embedding` or `rerank`."""
        return self._exchange.mode

    async def props(self) -> Props:
        """Asked once of each process. Raises as `request`."""
        resident = str(self._exchange.lease.resident)
        if resident not in self._known:
            if len(self._known) >= _KNOWN_PROPS:
                self._known.clear()
            self._known[resident] = _props(await self.read("/props", method="GET"))
        return self._known[resident]


def _props(body: bytes) -> Props:
    told = msgspec.json.decode(body)
    template = told.get("chat_template_caps") or {}
    modalities = told.get("modalities") or {}
    settings = told.get("default_generation_settings") or {}
    return Props(
        tools=bool(template.get("supports_tools")),
        pictures=bool(modalities.get("vision")),
        context=int(settings.get("n_ctx") or 0),
    )


_TIMINGS = re.compile(rb'"timings":\s*(\{[^{}]*\})')
_USAGE = re.compile(rb'"usage":\s*(\{(?:[^{}]|\{[^{}]*\})*\})')


def usage_of(end: bytes, begin: bytes = b"") -> Usage | None:
    """What the end of an answer says of its cost, in any of the dialects that llama.cpp speaks; in streams of
    Anthropic's the prompt's stands in the beginning."""
    timings = _last(_TIMINGS, end)
    if timings:
        return Usage(
            prompt_tokens=int(timings.get("prompt_n") or 0) + int(timings.get("cache_n") or 0),
            completion_tokens=int(timings.get("predicted_n") or 0),
            seconds=float(timings.get("predicted_ms") or 0.0) / 1000,
        )
    usage = {**(_last(_USAGE, begin) or {}), **(_last(_USAGE, end) or {})}
    if not usage:
        return None
    read = int(usage.get("input_tokens") or 0) + int(usage.get("cache_read_input_tokens") or 0)
    return Usage(
        prompt_tokens=int(usage.get("prompt_tokens") or read),
        completion_tokens=int(usage.get("completion_tokens") or usage.get("output_tokens") or 0),
    )


def _last(pattern: "re.Pattern[bytes]", end: bytes) -> Mapping[str, Any] | None:
    found = None
    for found in pattern.finditer(end):  # noqa: B007 - the last one
        pass
    return None if found is None else msgspec.json.decode(found[1], type=dict[str, Any])


class Relay:
    def __init__(self, *, language: Language) -> None:
        self._language = language
        self._known: dict[str, Props] = {}

    @asynccontextmanager
    async def hold(self, ask: Ask, wait: Wait) -> AsyncIterator[Held]:
        """Wait for the model of `ask`, whose path and body are left alone, and hold it.

        Raises:
            InglenookError: as `ChatService.exchange`.
        """
        wait.begins(ask.model)
        async with self._language.exchange(
            ask.model,
            person=ask.person,
            stop=StopToken(),  # whoever goes away cancels the task instead
            work_class=ask.work_class,
            keep_s=ask.keep_s,
            context=ask.context,
            hear=wait.hear,
            task=ask.task,
        ) as exchange:
            wait.served(exchange)
            yield Held(exchange, self._known)

    @asynccontextmanager
    async def ask(self, ask: Ask, wait: Wait) -> AsyncIterator[Reply]:
        """Wait for the model, ask it, and hold both as long as the context lasts.

        Raises:
            InglenookError: as `ChatService.exchange`; `ChildFailed`; what the child refuses (`api.refusals`).
        """
        async with (
            self.hold(ask, wait) as held,
            held.request(ask.path, ask.body, method=ask.method) as reply,
        ):
            yield reply

    async def answer(self, ask: Ask, wait: Wait | None = None) -> Whole:
        """The whole answer. Cancelling the call stops the generation. Raises as `ask`."""
        wait = Wait() if wait is None else wait
        async with self.ask(ask, wait) as reply:
            body = await reply.read()
            return Whole(body, {**wait.headers, **reply.headers})

    async def whole(self, receive: Receive, ask: Ask) -> Whole:
        """The whole answer, as long as its client is there. Raises as `ask`, and `ClientGone`."""
        return await while_connected(receive, self.answer(ask), on_gone=nothing)

    def passed(
        self,
        ask: Ask,
        manner: Manner,
        *,
        headers: Mapping[str, str] | None = None,
        done: bytes | None = DONE,
    ) -> Response:
        """The child's own stream, byte for byte. `done`: as `whole_events` takes it."""

        async def parts(wait: Wait) -> AsyncGenerator[bytes, None]:
            async with self.ask(ask, wait) as reply:
                async for part in whole_events(reply.content, manner.end, done=done):
                    yield part

        return RelayedStream(parts, manner=manner, headers=headers)


async def whole_events(
    content: AsyncIterator[bytes], end: bytes, *, done: bytes | None = None
) -> AsyncIterator[bytes]:
    """The same bytes, cut only where an event ends: half an event before an error would hide the error.

    Args:
        done: what the last event says; None where that is not looked at.

    Raises:
        Failed: the bytes ended without it, and without an error of the child's own.
    """
    rest = last = b""
    async for part in content:
        last = last[-_SPLIT_BYTES:] + part
        if not rest and part.endswith(end):
            yield part
            continue
        rest += part
        whole, found, rest = rest.rpartition(end)
        if found:
            yield whole + found
    if rest:
        yield rest
    if done is not None and done not in last and b'"error"' not in last:
        raise Failed("The answer was cut off.", code="child.cut_off", hint="ask again")


async def nothing() -> None:
    """The work is cancelled, which is all there is to do."""


Parts = Callable[[Wait], AsyncGenerator[bytes, None]]
"""Makes the bytes of a stream; tells `Wait` what it waits for."""


class RelayedStream(Response):
    """Send what `parts` yields. When the client goes, `parts` is closed at once, wherever it stands.

    The answer begins with the first bytes; or after `begin_after_s` with a line that tells why there are none
    yet, and again after every `tell_every_s` without any.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        manner: Manner,
        headers: Mapping[str, str] | None = None,
        begin_after_s: float = BEGIN_AFTER_S,
        tell_every_s: float = TELL_EVERY_S,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._parts = parts
        self._manner = manner
        self._more = dict(headers or {})
        self._begin_after_s = begin_after_s
        self._tell_every_s = tell_every_s
        self._wait = Wait()
        self._began = False
        self._quiet = True  # nothing was sent since it was last looked at
        self._between = True  # what was sent last ended an event
        self._sending = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        pump = asyncio.create_task(self._pump(send))  # first: it is the one that is waited for
        gone = asyncio.create_task(hung_up(receive))
        try:
            if not await self._watch(send, pump, gone) and not self._began:
                raise ClientGone
        except OSError:  # how newer servers say that the client has left
            return
        finally:
            await drop(pump, gone)

    async def _watch(self, send: Send, pump: "asyncio.Task[None]", gone: "asyncio.Task[None]") -> bool:
        """Until the end; return whether the client was there."""
        timeout_s = self._begin_after_s
        while True:
            await asyncio.wait({pump, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
                return True
            if gone.done():
                return False
            timeout_s = self._tell_every_s
            await self._tell(send)

    async def _tell(self, send: Send) -> None:
        line = self._manner.waiting(self._wait.words)
        quiet, self._quiet = self._quiet, True
        if line and quiet and self._between:
            await self._out(send, line, ours=True)

    async def _pump(self, send: Send) -> None:
        parts = self._parts(self._wait)
        try:
            async for part in parts:
                if part:
                    await self._out(send, part)
        except InglenookError as error:
            if not self._began:
                raise
            await self._out(send, self._end_of_event() + self._manner.failed(problem_of(error)))
        finally:
            await parts.aclose()
        await self._out(send, b"", more=False)

    def _end_of_event(self) -> bytes:
        """What was cut off in its middle must not swallow what comes after it."""
        return b"" if self._between else self._manner.end

    async def _out(self, send: Send, body: bytes, *, more: bool = True, ours: bool = False) -> None:
        async with self._sending:
            if not self._began:
                self._began = True
                self.init_headers(self._all_headers())
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            self._quiet = ours
            if body:
                self._between = body.endswith(self._manner.end)
            await send({"type": "http.response.body", "body": body, "more_body": more})

    def _all_headers(self) -> dict[str, str]:
        fixed = {
            "content-type": self._manner.media_type,
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
        return fixed | self._wait.headers | self._more
