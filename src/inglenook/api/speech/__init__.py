# SPDX-License-Identifier: Apache-2.0
"""Speech to text as OpenAI's clients ask for it: POST /v1/audio/{transcriptions,translations}.

fields.py       what a request may hold, and words for what is wrong with it
answers.py      a transcript → its answer, whole or streamed
description.py  the same for /openapi.json
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.speech.answers import Following, whole
from inglenook.api.speech.description import TRANSCRIPTIONS, TRANSLATIONS
from inglenook.api.speech.fields import TranscriptionFields, TranslationFields, read
from inglenook.api.uploads import FORM_BYTES, receive_upload
from inglenook.base.cancel import StopReason, StopToken
from inglenook.catalog.model import ModelRecord
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.services import Speech
from inglenook.door.sse import EventStream
from inglenook.speech.model import Recorded, SpeechRequest, Transcript
from inglenook.speech.sniff import HEAD_BYTES, container_of
from inglenook.wire.message import Message
from inglenook.wire.speech import Container

__all__ = ["FORM_BYTES", "speech_router"]

F = TypeVar("F", bound=TranslationFields)


def speech_router(*, speech: Speech) -> APIRouter:
    router = APIRouter(tags=["speech"], dependencies=[Depends(caller)])

    @router.post("/v1/audio/transcriptions", **TRANSCRIPTIONS)
    async def transcribe(request: Request, who: FromCaller) -> Response:
        return await _serve(speech, request, who, TranscriptionFields)

    @router.post("/v1/audio/translations", **TRANSLATIONS)
    async def translate(request: Request, who: FromCaller) -> Response:
        return await _serve(speech, request, who, TranslationFields)

    return router


async def _serve(speech: Speech, request: Request, who: Caller, kind: type[F]) -> Response:
    kept = ExitStack()  # holds the file of ours for the recording
    try:
        path = await asyncio.to_thread(kept.enter_context, speech.receive())
        upload = await receive_upload(
            request,
            path,
            file_field="file",
            max_bytes=speech.limits.max_upload_bytes,
            setting="speech.max_upload_bytes",
        )
        fields = read(kind, upload.texts)
        model = await asyncio.to_thread(speech.resolve, fields.model)
        asked = speech.check(fields.request(), model)
        recorded = Recorded(path, await asyncio.to_thread(_sniffed, path))
        work = _Work(speech, asked, recorded, model, who, kept.pop_all())
    finally:
        await asyncio.to_thread(kept.close)
    if isinstance(fields, TranscriptionFields) and fields.stream:
        following = Following(work)
        return EventStream(following.events(), on_gone=following.gone)
    stop = StopToken()

    async def gone() -> None:
        stop.stop(StopReason.CLIENT_GONE)

    transcript = await while_connected(request.receive, work(stop), on_gone=gone)
    granularities = fields.timestamp_granularities if isinstance(fields, TranscriptionFields) else []
    return whole(transcript, fields.response_format, granularities)


def _sniffed(path: Path) -> Container:
    with path.open("rb") as file:
        return container_of(file.read(HEAD_BYTES))


class _Work:
    """One transcription, with its file, which is gone when it has ended, however it ended."""

    def __init__(
        self,
        speech: Speech,
        asked: SpeechRequest,
        recorded: Recorded,
        model: ModelRecord,
        who: Caller,
        kept: AbstractContextManager[object],
    ) -> None:
        self._speech = speech
        self._asked = asked
        self._recorded = recorded
        self._model = model
        self._who = who
        self._kept = kept

    async def __call__(
        self,
        stop: StopToken,
        hear: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None,
        tell: Callable[[Message], Awaitable[None]] | None = None,
    ) -> Transcript:
        with self._kept:
            return await self._speech.transcribe(
                self._asked,
                self._recorded,
                self._model,
                person=self._who.person,
                stop=stop,
                hear=hear,
                tell=tell,
            )
