# SPDX-License-Identifier: Apache-2.0
"""Small services for the routes: what the real ones promise, in memory; the test chooses how a job ends."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from tests.unit.api.relayed import ScriptedLanguage

from inglenook.api.alice import alice_router
from inglenook.api.anthropic import messages_router, render_anthropic
from inglenook.api.completions import completions_router
from inglenook.api.completions.chat import LanguageChat
from inglenook.api.completions.drawing import Drawing
from inglenook.api.description import description_router
from inglenook.api.errors import render_json
from inglenook.api.health import health_router, metrics_router
from inglenook.api.language.desk import Desk
from inglenook.api.language.pictures import Pictures
from inglenook.api.metrics import MeasureRequests, Metrics
from inglenook.api.openai import openai_router
from inglenook.api.relay import Relay
from inglenook.api.studio import studio_router
from inglenook.base.cancel import StopReason
from inglenook.base.errors import Conflict, NotFound
from inglenook.base.ids import OWNER, BlobId, JobId, ModelId, PersonId, PictureId, ResidentId, new_id
from inglenook.base.journal import Journal
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.chat.model import Counters
from inglenook.door.caller import Identity, MachineOwner
from inglenook.door.frame import frame
from inglenook.door.routes import add_routes
from inglenook.gallery.links import PictureLinks
from inglenook.gallery.model import Picture
from inglenook.images.model import ImageRequest
from inglenook.jobs.model import EventType, Job, JobError, JobEvent, JobState, Json, Receipt, as_json
from inglenook.outgoing.errors import NotFetched
from inglenook.outgoing.model import Bounds, Entry, Fetched
from inglenook.testing.clock import FakeClock

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n picture "


class Gallery:
    def __init__(self) -> None:
        self.pictures: dict[PictureId, Picture] = {}
        self.files: dict[PictureId, Path | bytes] = {}

    def add(
        self, data: bytes, *, job: JobId | None = None, seed: int = 1, media_type: str = "image/png"
    ) -> Picture:
        picture = Picture(
            id=PictureId(new_id("pic", NOW)),
            owner=OWNER,
            job=job,
            blob=BlobId(hashlib.sha256(data).hexdigest()),
            media_type=media_type,
            width=64,
            height=48,
            size_bytes=len(data),
            model=ModelId("starter"),
            prompt="a red fox",
            seed=seed,
            parameters={"steps": 4},
            created_at=NOW,
        )
        self.pictures[picture.id] = picture
        self.files[picture.id] = data
        return picture

    def get(self, picture: PictureId, *, caller: PersonId, trashed: bool = False) -> Picture:
        found = self.pictures.get(picture)
        if found is None or found.owner != caller:
            raise NotFound(f"There is no picture {picture!r}.", code="picture.not_found")
        return found

    def list(
        self, caller: PersonId, *, limit: int, before: PictureId | None = None, **_: Any
    ) -> list[Picture]:
        mine = [picture for picture in reversed(self.pictures.values()) if picture.owner == caller]
        if before is not None:
            mine = mine[mine.index(self.get(before, caller=caller)) + 1 :]
        return mine[:limit]

    def file(
        self, picture: PictureId, *, caller: PersonId, trashed: bool = False
    ) -> tuple[Path | bytes, str]:
        found = self.get(picture, caller=caller)
        return self.files[picture], found.media_type

    def linked(self, picture: PictureId) -> Picture:
        return self.get(picture, caller=OWNER)

    def delete(self, picture: PictureId, *, caller: PersonId) -> None:
        del self.pictures[self.get(picture, caller=caller).id]

    def trash(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Sequence[PictureId]:
        for picture in pictures:
            self.delete(picture, caller=caller)
        return pictures


class Jobs:
    def __init__(self) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.events: dict[JobId, list[JobEvent]] = {}
        self.news: dict[JobId, asyncio.Event] = {}
        self.cancelled: list[tuple[JobId, StopReason]] = []

    def add(self, payload: Json, *, owner: PersonId = OWNER, key: str | None = None) -> Job:
        job = Job(
            id=JobId(new_id("job", NOW)),
            kind="image",
            owner=owner,
            state=JobState.QUEUED,
            work_class=WorkClass.INTERACTIVE,
            title="a picture",
            payload=payload,
            created_at=NOW,
            idempotency_key=key,
        )
        self.jobs[job.id], self.events[job.id], self.news[job.id] = job, [], asyncio.Event()
        return job

    def tell(self, job: JobId, kind: EventType, data: Json) -> None:
        seq = self.jobs[job].event_seq + 1
        self.jobs[job] = replace(self.jobs[job], event_seq=seq)
        self.events[job].append(JobEvent(job, seq, kind, data))
        self.news[job].set()
        self.news[job] = asyncio.Event()

    def end(self, job: JobId, state: JobState, **fields: Any) -> None:
        self.jobs[job] = replace(self.jobs[job], state=state, finished_at=NOW, **fields)
        self.tell(job, EventType.STATE, as_json(self.jobs[job]))

    async def get(self, job: JobId, caller: PersonId) -> Job:
        found = self.jobs.get(job)
        if found is None or found.owner != caller:
            raise NotFound(f"There is no job {job!r}.", code="job.not_found")
        return found

    async def list(
        self,
        caller: PersonId,
        *,
        states: Iterable[JobState] | None = None,
        kind: str | None = None,
        limit: int = 50,
        before: JobId | None = None,
    ) -> list[Job]:
        mine = [job for job in reversed(self.jobs.values()) if job.owner == caller]
        if before is not None:
            mine = mine[mine.index(await self.get(before, caller)) + 1 :]
        wanted = [job for job in mine if states is None or job.state in set(states)]
        return [job for job in wanted if kind is None or job.kind == kind][:limit]

    async def wait(self, job: JobId) -> Job:
        while not self.jobs[job].is_final:
            await self.news[job].wait()
        return self.jobs[job]

    async def cancel(self, job: JobId, *, caller: PersonId, reason: StopReason = StopReason.CANCELLED) -> Job:
        if (await self.get(job, caller)).is_final:
            raise Conflict("It is over.", code="job.final")
        self.cancelled.append((job, reason))
        self.end(job, JobState.CANCELLED, receipt=Receipt(how="stopped", stopped_at=NOW, seconds=0.1))
        return self.jobs[job]

    async def retry(self, job: JobId, *, caller: PersonId) -> Job:
        found = await self.get(job, caller)
        if found.state is JobState.SUCCEEDED or not found.is_final:
            raise Conflict("Nothing to do again.", code="job.not_retryable")
        return self.add(found.payload)

    async def subscribe(self, job: JobId, last_event_id: int | None = None) -> AsyncGenerator[JobEvent, None]:
        seq = last_event_id
        if seq is None:
            seq = self.jobs[job].event_seq
            yield JobEvent(job, seq, EventType.STATE, as_json(self.jobs[job]))
        while True:
            for event in [event for event in self.events[job] if event.seq > seq]:
                yield event
                seq = event.seq
            if self.jobs[job].is_final and seq >= self.jobs[job].event_seq:
                return
            await self.news[job].wait()

    def describe(self, job: Job) -> Json:
        return as_json(job)

    async def counts(self, kind: str | None = None) -> Mapping[JobState, int]:
        states = [job.state for job in self.jobs.values() if kind in (None, job.kind)]
        return {state: states.count(state) for state in JobState}


class Images:
    """`plan` decides what becomes of a job; by default it succeeds at once. `matted_by`: what cuts the
    background away where that is asked for; None where it cannot."""

    matted_by: str | None = "u2netp"

    def __init__(self, jobs: Jobs, gallery: Gallery) -> None:
        self.jobs = jobs
        self.gallery = gallery
        self.requests: list[ImageRequest] = []
        self.classes: list[WorkClass] = []
        self.inputs: list[bytes] = []
        self.masks: list[bytes] = []
        self.plan: Callable[[Job, ImageRequest], None] = self.succeed

    async def submit(
        self,
        request: ImageRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job:
        self.requests.append(request)
        self.classes.append(work_class)
        job = self.jobs.add(request.as_json(), owner=owner, key=idempotency_key)
        self.plan(job, request)
        return job

    async def keep_input(self, data: bytes) -> BlobId:
        self.inputs.append(data)
        return BlobId(hashlib.sha256(data).hexdigest())

    async def keep_marked(self, data: bytes, markup: bytes) -> BlobId:
        return await self.keep_input(data + b" under " + markup)

    async def keep_mask(self, data: bytes) -> BlobId:
        self.masks.append(data)
        return BlobId(hashlib.sha256(data).hexdigest())

    async def keep_own_mask(self, data: bytes) -> BlobId | None:
        return await self.keep_mask(b"holes of " + data) if data.startswith(b"holed") else None

    def draw(self, job: Job, request: ImageRequest, count: int) -> None:
        """Previews and finished pictures, `count` of them; not the end."""
        for index in range(count):
            for step in range(request.previews):
                data = {"picture": index, "step": step, "media_type": "image/png", "b64": _b64(b"view")}
                self.jobs.tell(job.id, EventType.PREVIEW, data)
            picture = self.gallery.add(PNG + str(index).encode(), job=job.id, seed=10 + index)
            part = {
                "picture_id": picture.id,
                "index": index,
                "seed": picture.seed,
                "width": 64,
                "height": 48,
                "media_type": "image/png",
                "size_bytes": picture.size_bytes,
                "url": f"/v1/pictures/{picture.id}/file",
                "engine": "torch",
                "model": request.model,
                "matted_by": self.matted_by if request.transparent else None,
                "notes": [],
            }
            now = self.jobs.jobs[job.id]
            self.jobs.jobs[job.id] = replace(now, result={"parts": [*now.result.get("parts", []), part]})
            self.jobs.tell(job.id, EventType.RESULT, part)

    def succeed(self, job: Job, request: ImageRequest) -> None:
        self.draw(job, request, request.n)
        now = self.jobs.jobs[job.id]
        self.jobs.jobs[job.id] = replace(
            now, result={**now.result, "engine": "torch", "model": request.model}
        )
        self.jobs.end(job.id, JobState.SUCCEEDED)

    def fail(self, job: Job, request: ImageRequest) -> None:
        self.draw(job, request, request.n - 1)
        error = JobError(
            "draw.out_of_memory", "failed", "The device has 4 GiB; 6 GiB were needed.", "draw smaller"
        )
        self.jobs.end(job.id, JobState.FAILED, error=error)

    def hang(self, job: Job, request: ImageRequest) -> None:
        """It runs, and never ends by itself."""


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def model(model_id: str, **fields: Any) -> ModelRecord:
    return ModelRecord(
        id=ModelId(model_id),
        kind=fields.pop("kind", ModelKind.IMAGE),
        family="sd1",
        path=Path("unused"),
        layout="folder",
        weights_bytes=1000,
        parameters=500,
        dtype="float16",
        digest="0" * 64,
        root=Path(),
        image=ImageDefaults(
            native_px=64, multiple=8, width=64, height=48, steps=20, guidance_scale=3.0, fixed=((64, 48),)
        ),
        **fields,
    )


class Catalog:
    def __init__(self) -> None:
        self.refreshed = 0
        self.records = [
            model("starter", builtin=True, created=1.0),
            model("family/with/slashes"),
            model("broken", problem="its header is cut off"),
            model("a-lora", kind=ModelKind.LORA),
            model("loras/Water_Colour v2", kind=ModelKind.LORA),
            model("a-llama", kind=ModelKind.LANGUAGE, problem="cannot be run yet"),
        ]

    def list(self, kind: ModelKind | None = None) -> list[ModelRecord]:
        return [record for record in self.records if kind in (None, record.kind)]

    def refresh(self) -> None:
        self.refreshed += 1

    def get(self, model_id: ModelId) -> ModelRecord:
        for record in self.records:
            if record.id in (model_id, model_id.removeprefix("sd/")):
                return record
        raise NotFound(
            f"There is no model {model_id!r}.", code="model.not_found", hint="nearest: starter", field="model"
        )

    def resolve(self, name: str) -> ModelRecord:
        return self.records[0] if name == "auto" else self.get(ModelId(name))

    find = resolve

    def resolve_part(self, name: str, kind: ModelKind) -> ModelRecord:
        wanted = name.removeprefix("lora/")
        for record in self.list(kind):
            if wanted in (record.id, record.id.rpartition("/")[2]):
                return record
        raise NotFound(f"There is no {kind} {name!r}.", code="model.not_found", hint="nearest: a-lora")


class Runtime:
    def __init__(self) -> None:
        self.devices: list[dict[str, Any]] = [
            {"id": "cpu", "total_bytes": 100, "budget_bytes": 80, "reserved_bytes": 30, "used_bytes": 40}
        ]
        self.residents: list[dict[str, Any]] = [{"id": "res_1", "model": "starter", "state": "ready"}]
        self.leases: list[dict[str, Any]] = []

    def snapshot(self) -> Mapping[str, Any]:
        return {
            "devices": self.devices,
            "residents": self.residents,
            "leases": self.leases,
            "queue": [{"reason": {"kind": "memory", "text": "no room"}}],
            "recent": [],
        }

    async def unload(self, resident: ResidentId) -> bool:
        """Those that are at work stay."""
        held = {lease["resident"] for lease in self.leases}
        before = len(self.residents)
        self.residents = [one for one in self.residents if one["id"] != resident or one["id"] in held]
        return len(self.residents) < before


class Nothing:
    """What no test in this folder asks for: `tests/integration/test_gallery_doors.py` has the real ones."""


class Outgoing:
    """`pages` holds what is at each address; everything else cannot be reached."""

    def __init__(self) -> None:
        self.offline = False
        self.pages: dict[str, bytes] = {}
        self.entries: list[Entry] = []

    async def fetch(self, url: str, *, purpose: str, bounds: Bounds) -> Fetched:
        number = len(self.entries) + 1
        self.entries.append(Entry(number, NOW, "example.org", 443, "192.0.2.1", purpose, 200, 5, None))
        if url not in self.pages:
            raise NotFetched("example.org answered 404, not 200.", code="outgoing.status")
        return Fetched(self.pages[url], "image/png")

    def ledger(self, *, limit: int, before: int | None = None) -> list[Entry]:
        return [one for one in reversed(self.entries) if before is None or one.number < before][:limit]


class Workshop:
    """The whole application over these services."""

    def __init__(
        self,
        *,
        max_body_bytes: int = 1 << 20,
        identity: Identity | None = None,
        own_models: Path = Path("nowhere"),
    ) -> None:
        self.clock = FakeClock(NOW)
        self.gallery = Gallery()
        self.jobs = Jobs()
        self.images = Images(self.jobs, self.gallery)
        self.catalog = Catalog()
        self.parts: dict[str, str | None] = {"database": None}
        self.journal = Journal()
        self.metrics = Metrics(registry=CollectorRegistry())
        self.counters: dict[ModelId, Counters] = {}
        self.app = FastAPI(title="test", docs_url=None, redoc_url=None, openapi_url=None)
        self.runtime = runtime = Runtime()
        self.outgoing = Outgoing()
        self.links = PictureLinks(secret=b"s" * 32, lifetime_s=None, clock=self.clock)
        self.language = ScriptedLanguage(lambda _: (500, b"{}"), *self.catalog.records)
        relay = Relay(language=self.language)
        desk = Desk(language=self.language, relay=relay, max_body_bytes=max_body_bytes)
        pictures = Pictures(
            gallery=self.gallery,
            links=self.links,
            outgoing=self.outgoing,
            clock=self.clock,
            max_bytes=max_body_bytes,
            max_pixels=1 << 20,
        )
        drawing = Drawing(
            relay=relay,
            images=self.images,
            jobs=self.jobs,
            catalog=self.catalog,
            links=self.links,
            pictures=pictures,
        )
        for router in (
            alice_router(
                images=self.images,
                jobs=self.jobs,
                gallery=self.gallery,
                catalog=self.catalog,
                runtime=runtime,
                links=self.links,
                outgoing=self.outgoing,
                clock=self.clock,
                max_body_bytes=max_body_bytes,
                own_models=own_models,
                find=self.find,
                language=LanguageChat(desk=desk, pictures=pictures, drawing=drawing),
            ),
            openai_router(
                images=self.images,
                jobs=self.jobs,
                gallery=self.gallery,
                catalog=self.catalog,
                runtime=runtime,
                clock=self.clock,
                language=self.language,
                sprites=Nothing(),
                palettes=Nothing(),
            ),
            completions_router(desk=desk, pictures=pictures),
            messages_router(desk=desk, pictures=pictures),
            studio_router(
                jobs=self.jobs,
                gallery=self.gallery,
                thumbnails=Nothing(),
                importer=Nothing(),
                runtime=runtime,
                catalog=self.catalog,
                journal=self.journal,
                outgoing=self.outgoing,
                public_hours=168,
            ),
            health_router(version="1.2.3", parts=lambda: self.parts, runtime=runtime, clock=self.clock),
            metrics_router(
                metrics=self.metrics, jobs=self.jobs, runtime=runtime, counters=lambda: self.counters
            ),
            description_router(),
        ):
            add_routes(self.app, router)
        frame(
            self.app,
            identity=MachineOwner() if identity is None else identity,
            renderers={"": render_json, "/v1/messages": render_anthropic},
            allowed_hosts=["inglenook.example"],
            max_body_bytes=max_body_bytes,
            clock=self.clock,
        )
        self.app.add_middleware(MeasureRequests, metrics=self.metrics, clock=self.clock)

    async def find(self, name: str) -> ModelRecord:
        """Language models and aliases first, then the pictures' own ways of naming."""
        try:
            return self.language.find(name)
        except NotFound:
            return self.catalog.find(name)
