# SPDX-License-Identifier: Apache-2.0
"""What the tools do: over the same services, jobs and checks as every other door. No protocol in here."""

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image

from inglenook.api.errands import Errands
from inglenook.api.mcp.schemas import DEFAULT_WAIT_S, MAX_WAIT_S, TOOLS
from inglenook.api.openai import requests
from inglenook.api.openai.fields import EditFields, GenerationFields, read
from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import BlobId, JobId, PersonId, PictureId
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.door.services import Catalog, Gallery, Images, Jobs
from inglenook.images.model import ImageRequest
from inglenook.jobs.model import EventType, Job, JobEvent, JobState

MAX_IMAGE_BYTES: Final = 700_000
"""Of one picture in an answer: programs refuse answers of a megabyte, and base64 adds a third."""
MAX_SHOWN_SIDE_PX: Final = 1024
"""A larger file is shown at this side, as JPEG; its address leads to the whole one."""

Tell = Callable[[float, str], Awaitable[None]]
"""Gets progress: a fraction from 0 to 1, and a sentence."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture in an answer."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool says: `facts` as JSON, and pictures to look at."""

    facts: Mapping[str, Any]
    pictures: list[Shown] = field(default_factory=list)


class Tools:
    """Raises `InglenookError` for whatever a caller did wrong; its words are for the model to read."""

    def __init__(self, *, images: Images, jobs: Jobs, gallery: Gallery, catalog: Catalog) -> None:
        self._images = images
        self._jobs = jobs
        self._gallery = gallery
        self._catalog = catalog
        self._errands = Errands(jobs)

    async def call(self, name: str, arguments: Mapping[str, Any], *, person: PersonId, tell: Tell) -> Answer:
        """Raises NotFound for a tool that does not exist, and what the tool raises."""
        tool = next((tool for tool in TOOLS if tool.name == name), None)
        if tool is None:
            raise NotFound(
                f"There is no tool {name[:60]!r}.", hint=f"there are {', '.join(one.name for one in TOOLS)}"
            )
        for given in arguments:
            if given not in tool.input_schema["properties"]:
                known = ", ".join(tool.input_schema["properties"]) or "none"
                raise Invalid(
                    f"{name} takes no argument {given[:60]!r}.", hint=f"it takes {known}", field=given[:64]
                )
        match name:
            case "list_models":
                return Answer({"models": await asyncio.to_thread(self._models)})
            case "generate_image":
                return await self._generate(arguments, person, tell)
            case "edit_image":
                return await self._edit(arguments, person, tell)
            case "watch_job":
                job = await self._jobs.get(JobId(_text(arguments, "job_id")), person)
                return await self._watched(job, person, _wait_s(arguments, 0), tell)
            case "cancel_job":
                job = await self._jobs.cancel(JobId(_text(arguments, "job_id")), caller=person)
                return Answer({"job": self._jobs.describe(job)})
            case _:
                return await self._picture(PictureId(_text(arguments, "picture_id")), person)

    # -- models ------------------------------------------------------------------------------------

    def _models(self) -> list[dict[str, Any]]:
        shown = (ModelKind.IMAGE, ModelKind.LORA, ModelKind.VAE, ModelKind.EMBEDDING)
        records = self._catalog.list()
        return [_described(one) for one in records if one.kind in shown and not one.is_adapter]

    # -- drawing -----------------------------------------------------------------------------------

    async def _generate(self, arguments: Mapping[str, Any], person: PersonId, tell: Tell) -> Answer:
        fields = read(GenerationFields, _without(arguments, "wait_s"), from_form=False)
        model = await asyncio.to_thread(self._catalog.resolve, fields.model)
        return await self._draw(requests.generation(fields, model), arguments, person, tell)

    async def _edit(self, arguments: Mapping[str, Any], person: PersonId, tell: Tell) -> Answer:
        fields = read(EditFields, _without(arguments, "wait_s", "pictures", "mask"), from_form=False)
        model = await asyncio.to_thread(self._catalog.resolve, fields.model)
        requests.check(fields)
        pictures = arguments.get("pictures")
        if not isinstance(pictures, list) or not pictures:
            raise Invalid("pictures must be a list of at least one picture.", field="pictures")
        kept = [await self._images.keep_input(await self._given(one, "pictures", person)) for one in pictures]
        mask: BlobId | None = None
        if arguments.get("mask") is not None:
            mask = await self._images.keep_mask(await self._given(arguments["mask"], "mask", person))
        return await self._draw(requests.edit(fields, model, images=kept, mask=mask), arguments, person, tell)

    async def _given(self, picture: Any, name: str, person: PersonId) -> bytes:
        """The bytes of a picture that an argument names or holds."""
        if not isinstance(picture, dict) or len(picture) != 1 or not picture.keys() <= {"picture_id", "data"}:
            raise Invalid(f"{name}: give either picture_id or data.", field=name)
        if "picture_id" in picture:
            return await asyncio.to_thread(self._file, PictureId(str(picture["picture_id"])), person)
        return _decoded(picture["data"], name)

    async def _draw(
        self, asked: ImageRequest, arguments: Mapping[str, Any], person: PersonId, tell: Tell
    ) -> Answer:
        wait_s = _wait_s(arguments, DEFAULT_WAIT_S)
        job = await self._images.submit(asked, owner=person)
        async with self._errands.waited_for(job, person):
            return await self._watched(job, person, wait_s, tell)

    # -- jobs --------------------------------------------------------------------------------------

    async def _watched(self, job: Job, person: PersonId, wait_s: float, tell: Tell) -> Answer:
        if wait_s > 0 and not job.is_final:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._follow(job.id, tell)
        return await self._state_of(await self._jobs.get(job.id, person), person)

    async def _follow(self, job: JobId, tell: Tell) -> None:
        """Tell of the job's progress until it ends."""

        async def told(event: JobEvent) -> None:
            if event.type is EventType.PROGRESS:
                await tell(float(event.data["progress"]), _sentence(event.data))
            elif event.type is EventType.WAIT:
                await tell(0.0, str(event.data["reason"]["text"]))

        await self._errands.follow(job, told)

    async def _state_of(self, job: Job, person: PersonId) -> Answer:
        parts = job.result.get("parts", []) if job.result else []
        facts = {"job_id": job.id, "state": job.state.value, "pictures": parts}
        if job.state is JobState.SUCCEEDED:
            shown = [await self._shown(PictureId(part["picture_id"]), person) for part in parts]
            return Answer(facts, shown)
        described = self._jobs.describe(job)
        known = ("progress", "stage", "explanation", "error", "receipt")
        return Answer(facts | {name: described[name] for name in known if described.get(name) is not None})

    # -- pictures ----------------------------------------------------------------------------------

    async def _picture(self, picture: PictureId, person: PersonId) -> Answer:
        found = await asyncio.to_thread(lambda: self._gallery.get(picture, caller=person))
        facts = {
            "picture_id": found.id,
            "url": f"/v1/pictures/{found.id}/file",
            "media_type": found.media_type,
            "width": found.width,
            "height": found.height,
            "created_at": found.created_at.isoformat(),
            "parameters": found.parameters,
        }
        return Answer(facts, [await self._shown(picture, person)])

    async def _shown(self, picture: PictureId, person: PersonId) -> Shown:
        return await asyncio.to_thread(lambda: _presentable(*self._file_and_type(picture, person)))

    def _file_and_type(self, picture: PictureId, person: PersonId) -> tuple[bytes, str]:
        kept, media_type = self._gallery.file(picture, caller=person)
        return (kept.read_bytes() if isinstance(kept, Path) else kept), media_type

    def _file(self, picture: PictureId, person: PersonId) -> bytes:
        return self._file_and_type(picture, person)[0]


def _described(record: ModelRecord) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": record.id,
        "kind": record.kind.value,
        "title": record.title or record.id,
        "family": record.family,
        "usable": record.problem is None,
    }
    if record.problem is not None:
        facts["problem"] = record.problem
    if record.description:
        facts["description"] = record.description
    if record.image is not None:
        image = record.image
        facts |= {
            "modes": sorted(image.modes),
            "default_size": f"{image.width}x{image.height}",
            "sizes": [f"{width}x{height}" for width, height in image.fixed or image.sizes],
            "steps": image.steps,
            "guidance_scale": image.guidance_scale,
            "negative_prompt": image.negative_prompt,
            "max_pictures": image.max_pictures,
        }
    return facts


def _without(arguments: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in names}


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise Invalid(f"{name} is required, as a text.", field=name)
    return value


def _wait_s(arguments: Mapping[str, Any], default: float) -> float:
    value = arguments.get("wait_s", default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_WAIT_S:
        raise Invalid(
            f"wait_s must be 0 to {MAX_WAIT_S} seconds; got {json.dumps(value)[:40]}.", field="wait_s"
        )
    return float(value)


def _decoded(data: Any, name: str) -> bytes:
    """Base64, or a `data:` URI. Raises Invalid."""
    if not isinstance(data, str):
        raise Invalid(f"{name}: data must be a text in base64.", field=name)
    text = data.partition(",")[2] if data.startswith("data:") else data
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(
            f"{name}: data is not base64 ({len(text)} characters).",
            field=name,
            hint="send the file's bytes in base64",
        ) from None


def _sentence(progress: Mapping[str, Any]) -> str:
    """``picture 1 of 2, step 3 of 20``, as far as the job says."""
    words = [str(progress.get("stage") or "working")]
    if {"picture", "pictures"} <= progress.keys():
        words.append(f"picture {progress['picture'] + 1} of {progress['pictures']}")
    if {"step", "steps"} <= progress.keys():
        words.append(f"step {progress['step']} of {progress['steps']}")
    return ", ".join(words)


def _presentable(data: bytes, media_type: str) -> Shown:
    """The file itself, or a smaller JPEG of it where it is too large for an answer."""
    if len(data) <= MAX_IMAGE_BYTES:
        return Shown(data, media_type)
    with Image.open(BytesIO(data)) as image:
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image.convert("RGBA"), mask=image.convert("RGBA").getchannel("A"))
    flat.thumbnail((MAX_SHOWN_SIDE_PX, MAX_SHOWN_SIDE_PX))
    out = BytesIO()
    flat.save(out, "JPEG", quality=85)
    return Shown(out.getvalue(), "image/jpeg")
