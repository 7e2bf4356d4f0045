# SPDX-License-Identifier: Apache-2.0
"""Speech to text for whoever asks: a recording and a request → a lease → segments → a transcript.

No job is made of it. OpenAI's interface answers on the connection that asks, so the work lives as long as
that: whoever hangs up has stopped it, and nothing that was said stays here.
"""

import asyncio
import math
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Cancelled
from inglenook.base.ids import PersonId, new_id
from inglenook.base.threads import to_its_end
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.service import AUTO, CatalogService
from inglenook.engines.whisper import SpeechChild
from inglenook.runtime.contracts import Lease, Request
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.waiting import Hear, acquire_told
from inglenook.speech.errors import BadRecording, CannotHear, TranscriptionFailed
from inglenook.speech.languages import NAMES, code_of, listed
from inglenook.speech.model import Recorded, SpeechLimits, SpeechRequest, Transcript
from inglenook.speech.planning import load_plan
from inglenook.store.files import write_error
from inglenook.wire.message import Message
from inglenook.wire.speech import (
    ComputeType,
    Heard,
    Segment,
    Transcribe,
    TranscribeCancelled,
    Transcribed,
    TranscribeFailed,
)

MIN_DECODE_S: Final = 60.0
DECODE_SHARE: Final = 0.25
"""Reading a file may take this part of the longest recording's own length."""

OPENAI_NAMES: Final = frozenset(
    {"whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"}
)
"""Models of OpenAI's that clients ask for when nobody told them another; they get the default one."""

Tell = Callable[[Message], Awaitable[None]]


class SpeechService:
    """Args:
    uploads: a folder for recordings while they are received; made when it is needed.
    default_model: what "auto" means: an id, or "auto" for the first usable one.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        catalog: CatalogService,
        clock: Clock,
        uploads: Path,
        limits: SpeechLimits,
        default_model: str,
        compute_type: ComputeType,
        pinned: frozenset[str],
    ) -> None:
        self._scheduler = scheduler
        self._catalog = catalog
        self._clock = clock
        self._uploads = uploads
        self._default_model = default_model
        self._compute_type = compute_type
        self._pinned = pinned
        self.limits = limits

    def resolve(self, name: str | None) -> ModelRecord:
        """The model that a client means. Blocks.

        Raises:
            ModelNotFound, ModelAmbiguous, ModelUnusable: as `CatalogService.resolve`.
        """
        wanted = AUTO if name is None or name in ("", AUTO) or name in OPENAI_NAMES else name
        if wanted == AUTO:
            wanted = self._default_model
        return self._catalog.resolve(wanted, kind=ModelKind.SPEECH)

    @contextmanager
    def receive(self) -> Iterator[Path]:
        """A new empty file of our own for a recording, gone when the context ends. Blocks.

        Raises Failed, Unavailable: the disk is full, or cannot be written to.
        """
        try:
            self._uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix="recording-", dir=self._uploads)
        except OSError as error:
            raise write_error(error, self._uploads) from error
        os.close(descriptor)
        path = Path(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def check(self, request: SpeechRequest, model: ModelRecord) -> SpeechRequest:
        """`request` with codes for languages.

        Raises:
            CannotHear: the model knows the language not, or cannot translate.
        """
        known = (
            model.speech.languages if model.speech is not None and model.speech.languages else tuple(NAMES)
        )
        if request.task == "translate" and known == ("en",):
            raise CannotHear(
                f"Model {model.id} hears English only, so there is nothing that it could translate.",
                code="speech.no_translation",
                field="model",
                hint="take a multilingual model, or /v1/audio/transcriptions",
            )
        if request.language is None and not request.languages:
            return request
        codes = tuple(_code(text, known, model, "languages") for text in request.languages)
        language = None if request.language is None else _code(request.language, known, model, "language")
        return _with(request, language=language, languages=codes)

    async def transcribe(
        self,
        request: SpeechRequest,
        recorded: Recorded,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        hear: Hear | None = None,
        tell: Tell | None = None,
    ) -> Transcript:
        """Write down a recording. Its file is moved, and gone when this returns.

        Args:
            hear: told while the request waits, at most once a second: place, reason, estimate.
            tell: gets every `Heard` and `Segment` as it comes.

        Raises:
            BadRecording: the recording is at fault.
            CannotHear: the model cannot do it.
            TranscriptionFailed: the work failed.
            ChildFailed, Invalid, LeaseStopped, Unavailable: as `Scheduler.acquire`.
            Cancelled: `stop` was set.
        """
        asked = self.check(request, model)
        plan = load_plan(model, compute_type=self._compute_type, pinned=model.id in self._pinned)
        scheduled = self._scheduler.request(
            person=person,
            work_class=WorkClass.INTERACTIVE,
            plan=plan,
            label=f"{'translation' if asked.task == 'translate' else 'transcription'} for {person}",
        )
        async with self._leased(scheduled, stop, hear) as lease:
            return await self._work(asked, recorded, lease, stop, tell)

    async def preload(self, model: ModelRecord, *, person: PersonId, stop: StopToken) -> None:
        """Load a model that nobody asks anything yet, and return when it is ready.

        Raises as `Scheduler.acquire`.
        """
        plan = load_plan(model, compute_type=self._compute_type, pinned=model.id in self._pinned)
        request = self._scheduler.request(
            person=person,
            work_class=WorkClass.INTERACTIVE,
            plan=plan,
            label=f"loading {model.id} for {person}",
        )
        (await self._scheduler.acquire(request, stop)).release()

    @asynccontextmanager
    async def _leased(self, request: Request, stop: StopToken, hear: Hear | None) -> AsyncIterator[Lease]:
        lease = await acquire_told(self._scheduler, request, stop, hear)
        try:
            yield lease
        finally:
            lease.release()

    async def _work(
        self, asked: SpeechRequest, recorded: Recorded, lease: Lease, stop: StopToken, tell: Tell | None
    ) -> Transcript:
        child = lease.child
        assert isinstance(child, SpeechChild)
        job = new_id("speech", self._clock.now())
        given = child.spool / f"{job}.{recorded.container}"
        segments: list[Segment] = []

        async def told(message: Message) -> None:
            if isinstance(message, Segment):
                segments.append(message)
            elif isinstance(message, Heard):
                done, whole = int(message.seconds), math.ceil(message.duration)
                self._scheduler.note(lease, f"{done} of {whole} seconds heard")
            if tell is not None:
                await tell(message)

        try:
            await to_its_end(recorded.path.replace, given)
            message = self._message(job, asked, given.name, recorded)
            last = await child.transcribe(message, stop=stop, tell=told)
        finally:
            await asyncio.shield(asyncio.to_thread(given.unlink, missing_ok=True))
        if isinstance(last, Transcribed):
            return Transcript(asked.task, last.language, last.duration, last.seconds, tuple(segments))
        raise _why(last, stop)

    def _message(self, job: str, asked: SpeechRequest, file: str, recorded: Recorded) -> Transcribe:
        return Transcribe(
            job=job,
            file=file,
            container=recorded.container,
            task=asked.task,
            language=asked.language,
            languages=asked.languages,
            prompt=asked.prompt,
            keywords=asked.keywords,
            temperature=asked.temperature,
            words=asked.words,
            voice_activity=asked.voice_activity,
            max_seconds=self.limits.max_duration_s,
            decode_timeout_s=max(MIN_DECODE_S, DECODE_SHARE * self.limits.max_duration_s),
        )


def _code(text: str, known: tuple[str, ...], model: ModelRecord, field: str) -> str:
    code = code_of(text)
    if code in known:
        assert code is not None
        return code
    if known == ("en",):
        raise CannotHear(
            f"Model {model.id} hears English only; {field} is {text[:40]!r}.",
            code="speech.english_only",
            field=field,
            hint="leave it out, or take a multilingual model",
        )
    fact = "which is no language known here" if code is None else f"which model {model.id} does not know"
    raise CannotHear(
        f"{field} is {text[:40]!r}, {fact}.",
        code="speech.unknown_language",
        field=field,
        hint=f"known are {listed(known)}",
    )


def _with(request: SpeechRequest, *, language: str | None, languages: tuple[str, ...]) -> SpeechRequest:
    only = languages[0] if language is None and len(languages) == 1 else language
    return replace(request, language=only, languages=languages)


def _why(last: TranscribeFailed | TranscribeCancelled, stop: StopToken) -> Exception:
    if isinstance(last, TranscribeCancelled):
        reason = "asked to stop" if stop.reason is None else stop.reason.value
        heard = "" if last.heard < 0 else f" after {last.heard:.1f} s of the recording"
        return Cancelled(f"The transcription was stopped{heard}: {reason}.", code="transcribe.cancelled")
    if last.code.startswith("audio."):
        return BadRecording(last.message, code=last.code, hint=last.hint, field="file")
    return TranscriptionFailed(last.message, code=last.code, hint=last.hint)
