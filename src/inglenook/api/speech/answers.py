# SPDX-License-Identifier: Apache-2.0
"""A transcript → what OpenAI's clients read: whole, or as a stream of events while it comes."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from inglenook.api.errors import as_error
from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import InglenookError
from inglenook.door.problem import problem_of
from inglenook.door.sse import ServerComment, ServerEvent
from inglenook.speech import formats
from inglenook.speech.model import TextFormat, Transcript
from inglenook.wire.message import Message
from inglenook.wire.speech import Heard, Segment

_MEDIA_TYPES: Mapping[TextFormat, str] = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}


def whole(transcript: Transcript, form: TextFormat, granularities: Collection[str]) -> Response:
    text = formats.written(transcript, form, granularities or ("segment",))
    return Response(text, media_type=_MEDIA_TYPES[form], headers={"cache-control": "no-store"})


Work = Callable[
    [StopToken, Callable[[Mapping[str, Any]], Awaitable[None]], Callable[[Message], Awaitable[None]]],
    Awaitable[Transcript],
]
"""Given when to stop, and whom to tell of a wait and of what was heard."""


class Following:
    """A transcription that runs, and its events. The work begins at once and cleans up after itself, also
    when nobody comes to read."""

    def __init__(self, work: Work) -> None:
        self._news: asyncio.Queue[ServerEvent | ServerComment | None] = asyncio.Queue()
        self._stop = StopToken()
        self._begun = False
        self._task = asyncio.create_task(self._run(work), name="transcription")

    async def gone(self) -> None:
        """The client has left."""
        self._stop.stop(StopReason.CLIENT_GONE)
        await asyncio.wait({self._task})

    async def events(self) -> AsyncGenerator[ServerEvent | ServerComment, None]:
        try:
            while (news := await self._news.get()) is not None:
                yield news
        finally:
            self._stop.stop(StopReason.CLIENT_GONE)  # without effect where all is done

    async def _run(self, work: Work) -> None:
        try:
            transcript = await work(self._stop, self._wait, self._told)
            done = {
                "type": "transcript.text.done",
                "text": transcript.text,
                "languages": [{"code": transcript.language}],
                "duration": round(transcript.duration, 3),
            }
            self._news.put_nowait(_event(done))
        except InglenookError as error:
            self._news.put_nowait(_event({"type": "error", "error": as_error(problem_of(error))}))
        finally:
            self._news.put_nowait(None)

    async def _wait(self, explanation: Mapping[str, Any]) -> None:
        place, reason = explanation.get("position"), explanation.get("reason") or {}
        self._news.put_nowait(ServerComment(f"waiting, place {place}: {reason.get('text', '')}"))

    async def _told(self, message: Message) -> None:
        if isinstance(message, Segment):
            delta = message.text if self._begun else message.text.lstrip()
            self._begun = True
            self._news.put_nowait(_event({"type": "transcript.text.delta", "delta": delta}))
        elif isinstance(message, Heard):
            told = f"{message.seconds:.1f} of {message.duration:.1f} seconds are done"
            self._news.put_nowait(ServerComment(told))


def _event(content: dict[str, Any]) -> ServerEvent:
    return ServerEvent(data=msgspec.json.encode(content).decode(), event=content["type"])
