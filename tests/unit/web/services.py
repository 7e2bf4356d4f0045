# SPDX-License-Identifier: Apache-2.0
"""Small services for the page: what the real ones promise, in memory; the test says what happens to a job."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from inglenook.base.errors import Conflict, InglenookError, Invalid, NotFound
from inglenook.base.ids import OWNER, BlobId, JobId, ModelId, PersonId, PictureId
from inglenook.base.work import WorkClass
from inglenook.catalog.errors import ModelNotFound
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.door.routes import add_routes
from inglenook.gallery.model import Picture
from inglenook.images.canvas import Extended, Margins, Rectangle
from inglenook.images.errors import BadRequest
from inglenook.images.model import ImageRequest
from inglenook.images.request import Found, Limits, plan
from inglenook.jobs.model import FINAL, EventType, Job, JobEvent, JobState, Json, Receipt, as_json
from inglenook.testing.clock import FakeClock
from inglenook.web.pages import web_router
from inglenook.web.templating import STATIC, render_problem

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LIMITS = Limits(max_side_px=2048, max_pixels=2048 * 2048, max_pictures=8, max_steps=150)
SDXL = ImageDefaults(
    native_px=1024, multiple=8, width=1024, height=1024, steps=25, guidance_scale=6.0, min_px=256
)
STARTER = ImageDefaults(
    native_px=32,
    multiple=4,
    width=512,
    height=512,
    steps=14,
    guidance_scale=3.0,
    min_px=32,
    fixed=((32, 32),),
)


def model(model_id: str, defaults: ImageDefaults | None = STARTER, **fields: Any) -> ModelRecord:
    record = ModelRecord(
        id=ModelId(model_id),
        kind=ModelKind.IMAGE,
        family="sd1",
        path=Path("/models") / model_id,
        layout="folder",
        weights_bytes=400_000_000,
        parameters=200_000_000,
        dtype="float16",
        digest="0" * 64,
        root=Path("/models"),
        title=model_id.capitalize(),
        image=defaults,
    )
    return replace(record, **fields)


def picture(number: int, *, prompt: str = "a red fox", **parameters: Any) -> Picture:
    """The picture with this number; higher ones were made later."""
    kept = {"prompt": prompt, "model": "starter", "mode": "text", "steps": 14, "guidance_scale": 3.0}
    return Picture(
        id=PictureId(f"pic_{number:04}"),
        owner=OWNER,
        job=None,
        blob=BlobId("0" * 64),
        media_type="image/png",
        width=512,
        height=512,
        size_bytes=7000,
        model=ModelId("starter"),
        prompt=prompt,
        seed=number,
        parameters=kept | {"seed": number, "width": 512, "height": 512} | parameters,
        created_at=NOW,
    )


class Gallery:
    def __init__(self) -> None:
        self.pictures: dict[PictureId, Picture] = {}
        self.trashed: dict[PictureId, Picture] = {}

    def add(self, made: Picture) -> Picture:
        self.pictures[made.id] = made
        return made

    def get(self, picture: PictureId, *, caller: PersonId) -> Picture:
        found = self.pictures.get(picture)
        if found is None or found.owner != caller:
            raise NotFound(f"There is no picture {picture!r}.", code="picture.not_found")
        return found

    def list(self, caller: PersonId, *, limit: int, before: PictureId | None = None) -> list[Picture]:
        if before is not None:
            self.get(before, caller=caller)
        newest_first = sorted(self.pictures.values(), key=lambda one: one.id, reverse=True)
        return [one for one in newest_first if before is None or one.id < before][:limit]

    def file(self, picture: PictureId, *, caller: PersonId) -> tuple[bytes, str]:
        found = self.get(picture, caller=caller)
        return f"\x89PNG of {found.id}".encode("latin-1"), found.media_type

    def trash(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Sequence[PictureId]:
        for picture in pictures:
            self.trashed[picture] = self.pictures.pop(self.get(picture, caller=caller).id)
        return pictures


class Jobs:
    """`tell` moves a job on and lets every reader know."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.explanations: dict[JobId, Mapping[str, Any]] = {}
        self.cancelled: list[JobId] = []
        self._readers: set[asyncio.Queue[JobEvent]] = set()

    def add(self, number: int, state: JobState = JobState.RUNNING, **fields: Any) -> Job:
        payload = fields.pop("payload", {"prompt": "a red fox", "model": "starter", "seeds": [7]})
        job = Job(
            id=JobId(f"job_{number:04}"),
            kind="image",
            owner=OWNER,
            state=state,
            work_class=WorkClass.INTERACTIVE,
            title="a red fox",
            payload=payload,
            created_at=NOW,
            event_seq=1,
        )
        self.jobs[job.id] = replace(job, **fields)
        return self.jobs[job.id]

    def tell(self, job: JobId, kind: EventType, data: Json | None = None, **fields: Any) -> None:
        now = replace(self.jobs[job], **fields, event_seq=self.jobs[job].event_seq + 1)
        self.jobs[job] = now
        event = JobEvent(job, now.event_seq, kind, self.describe(now) if data is None else data)
        for reader in self._readers:
            reader.put_nowait(event)

    @property
    def readers(self) -> int:
        return len(self._readers)

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
        wanted = set(JobState if states is None else states)
        newest_first = sorted(self.jobs.values(), key=lambda one: one.id, reverse=True)
        return [job for job in newest_first if job.state in wanted and job.kind == (kind or job.kind)][:limit]

    def describe(self, job: Job) -> Json:
        return as_json(job, self.explanations.get(job.id))

    async def cancel(self, job: JobId, *, caller: PersonId) -> Job:
        found = await self.get(job, caller)
        if found.is_final:
            raise Conflict(f"The job is {found.state}; there is nothing to stop.", code="job.final")
        self.cancelled.append(job)
        receipt = Receipt("stopped before step 3 of 14", NOW, 0.2, 2 * 1024**3, 1024**3)
        self.tell(job, EventType.STATE, state=JobState.CANCELLED, receipt=receipt)
        return self.jobs[job]

    async def retry(self, job: JobId, *, caller: PersonId) -> Job:
        found = await self.get(job, caller)
        return self.add(len(self.jobs) + 1, JobState.QUEUED, payload=found.payload)

    async def subscribe(self, job: JobId, last_event_id: int | None = None) -> AsyncGenerator[JobEvent, None]:
        async for event in self._listen():
            if event.job == job:
                yield event
                if event.type is EventType.STATE and self.jobs[job].is_final:
                    return

    async def subscribe_all(self, owner: PersonId) -> AsyncGenerator[JobEvent, None]:
        for job in list(self.jobs.values()):
            if job.state not in FINAL:
                yield JobEvent(job.id, job.event_seq, EventType.STATE, self.describe(job))
        async for event in self._listen():
            if event.type in (EventType.STATE, EventType.PROGRESS, EventType.WAIT):
                yield event

    async def _listen(self) -> AsyncGenerator[JobEvent, None]:
        mine: asyncio.Queue[JobEvent] = asyncio.Queue()
        self._readers.add(mine)
        try:
            while True:
                yield await mine.get()
        finally:
            self._readers.discard(mine)


class Images:
    """Checks as the real service does (`images.request.plan`), then keeps a job that waits."""

    limits = LIMITS

    def __init__(self, jobs: Jobs, catalog: "Catalog") -> None:
        self._jobs = jobs
        self._catalog = catalog
        self._by_key: dict[str, Job] = {}
        self.requests: list[ImageRequest] = []
        self.inputs: dict[BlobId, bytes] = {}
        self.extended: list[tuple[BlobId, Margins, BlobId | None]] = []
        self.rectangles: list[tuple[BlobId, Rectangle]] = []
        self.refuse: InglenookError | None = None

    async def submit(
        self,
        request: ImageRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job:
        if self.refuse is not None:
            raise self.refuse
        size = None if request.image is None else (64, 64)
        record = self._catalog.resolve(request.model)
        drawing = plan(request, record, limits=LIMITS, seed=7, image_size=size, found=self._found(request))
        assert idempotency_key is not None
        if idempotency_key not in self._by_key:
            self.requests.append(request)
            number = len(self._jobs.jobs) + 1
            payload = drawing.as_json()
            self._by_key[idempotency_key] = self._jobs.add(number, JobState.QUEUED, payload=payload)
        return self._by_key[idempotency_key]

    def _found(self, request: ImageRequest) -> Found | None:
        """None where the request names nothing, as `plan` has it."""
        if not request.loras and request.vae is None:
            return None
        vae = None if request.vae is None else self._catalog.part(request.vae)
        loras = tuple((self._catalog.part(one.model), one.weight) for one in request.loras)
        return Found(request.prompt, request.negative_prompt, loras, (), vae)

    async def keep_input(self, data: bytes) -> BlobId:
        if not data.startswith(b"\x89PNG"):
            raise Invalid("The file is no picture that can be read.", field="image", hint="choose a PNG file")
        blob = BlobId(hashlib.sha256(data).hexdigest())
        self.inputs[blob] = data
        return blob

    async def keep_mask(self, data: bytes) -> BlobId:
        return await self.keep_input(data)

    async def input(self, blob: BlobId) -> bytes:
        if blob not in self.inputs:
            raise BadRequest(f"There is no input picture {blob[:12]}….", field="image")
        return self.inputs[blob]

    async def extend(self, picture: BlobId, margins: Margins, mask: BlobId | None = None) -> Extended:
        self.extended.append((picture, margins, mask))
        side = 512
        width, height = side + margins.left + margins.right, side + margins.top + margins.bottom
        return Extended(BlobId("c" * 64), BlobId("d" * 64), width, height)

    async def rectangle(self, picture: BlobId, part: Rectangle) -> BlobId:
        self.rectangles.append((picture, part))
        return BlobId("e" * 64)


class Catalog:
    def __init__(self, *records: ModelRecord) -> None:
        self.records = list(records)

    def list(self, kind: ModelKind | None = None) -> list[ModelRecord]:
        return [record for record in self.records if kind is None or record.kind is kind]

    def part(self, name: str) -> ModelRecord:
        for record in self.records:
            if record.id == name:
                return record
        raise ModelNotFound(f"There is no part {name!r}.", field="loras")

    def resolve(self, name: str) -> ModelRecord:
        usable = [it for it in self.records if it.problem is None and it.kind is ModelKind.IMAGE]
        for record in usable:
            if name in ("auto", record.id):
                return record
        raise ModelNotFound(f"There is no model {name!r}.", field="model", hint="choose another")


class Runtime:
    def __init__(self) -> None:
        self.residents: list[dict[str, Any]] = []
        self.queue: list[dict[str, Any]] = []

    def snapshot(self) -> Mapping[str, Any]:
        reserved = sum(resident["reserved_bytes"] for resident in self.residents)
        device = {"id": "cuda:0", "kind": "cuda", "name": "A card", "budget_bytes": 8 * 1024**3}
        return {
            "devices": [{**device, "reserved_bytes": reserved}],
            "residents": self.residents,
            "leases": [],
            "queue": self.queue,
            "load_s": {"starter": 3.4},
        }


def part(part_id: str, kind: ModelKind, **fields: Any) -> ModelRecord:
    """A LoRA, an embedding or a VAE."""
    return model(part_id, None, kind=kind, **fields)


def resident(model_id: str, state: str = "ready", *, leases: int = 0) -> dict[str, Any]:
    return {
        "id": f"res_{model_id}",
        "model": model_id,
        "device": "cuda:0",
        "state": state,
        "reserved_bytes": 2 * 1024**3,
        "leases": ["lease"] * leases,
        "expected_load_s": 3.4,
    }


class House:
    """The page over small services, and a browser that speaks to it."""

    def __init__(self, *records: ModelRecord) -> None:
        self.gallery = Gallery()
        self.jobs = Jobs()
        self.catalog = Catalog(*(records or (model("starter"), model("sdxl", SDXL))))
        self.images = Images(self.jobs, self.catalog)
        self.runtime = Runtime()
        self.app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        add_routes(
            self.app,
            web_router(
                images=self.images,
                jobs=self.jobs,
                gallery=self.gallery,
                catalog=self.catalog,
                runtime=self.runtime,
            ),
        )
        self.app.mount("/static", StaticFiles(directory=STATIC))
        frame(
            self.app,
            identity=MachineOwner(),
            renderers={"": render_problem},
            allowed_hosts=[],
            max_body_bytes=1024 * 1024,
            clock=FakeClock(),
        )

    @asynccontextmanager
    async def browser(self) -> AsyncGenerator["Browser", None]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Browser(client)


class Browser:
    """Sends forms as the page's own would be sent, with the token that the page gave."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.page = ""

    async def open(self, path: str = "/") -> httpx.Response:
        answer = await self.client.get(path)
        self.page = answer.text
        return answer

    def hidden(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.page)
        assert found is not None, f"the page has no field {name}"
        return found[1]

    async def send(
        self,
        path: str,
        fields: Mapping[str, str | list[str]] | None = None,
        *,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        htmx: bool = False,
    ) -> httpx.Response:
        if not self.page:
            await self.open()
        data = {"csrf": self.hidden("csrf"), **(fields or {})}
        empty = {} if files is None else dict(files)
        return await self.client.post(
            path,
            data=data,
            files=empty or None,
            headers={"hx-request": "true"} if htmx else {},
        )

    async def draw(
        self,
        *,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        htmx: bool = False,
        **fields: str | list[str],
    ) -> httpx.Response:
        if not self.page:
            await self.open()
        data = {"ticket": self.hidden("ticket"), "model": "starter", "prompt": "a red fox", "n": "1"}
        return await self.send("/draw", data | fields, files=files, htmx=htmx)
