# SPDX-License-Identifier: Apache-2.0
"""A form that was sent: read, its pictures kept, and handed to the queue."""

import asyncio
from dataclasses import dataclass, field, replace

from starlette.datastructures import UploadFile
from starlette.requests import Request

from inglenook.base.errors import NotFound
from inglenook.base.ids import BlobId, ModelId, PersonId, PictureId
from inglenook.base.work import WorkClass
from inglenook.door.services import Gallery
from inglenook.images.canvas import Extended
from inglenook.images.errors import BadRequest
from inglenook.images.model import MAX_INPUT_PICTURES, MAX_PROMPT_CHARS, ImageRequest
from inglenook.jobs.model import Job
from inglenook.web import form
from inglenook.web.form import FILES, Values
from inglenook.web.services import Services

PICTURE = "pic_"
_MAX_FIELD_BYTES = 16 * MAX_PROMPT_CHARS
"""Room for a prompt that is too long, so that a person is told so instead of losing it."""
_MAX_FIELDS = 200
_MAX_FILES = MAX_INPUT_PICTURES + 1


@dataclass(slots=True)
class Sent:
    """A posted form: its texts, all of them in order, and the bytes of each file that was chosen."""

    texts: dict[str, str] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, list[bytes]] = field(default_factory=lambda: {name: [] for name in FILES})


async def read_form(request: Request) -> Sent:
    """What a form of ours sends; the door bounds the bytes of the whole."""
    sent = Sent()
    async with request.form(
        max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
    ) as parsed:
        for name, value in parsed.multi_items():
            if not isinstance(value, UploadFile):
                sent.texts[name] = value
                sent.pairs.append((name, value))
            elif value.filename and name in sent.files:  # an empty field for files comes without a name
                sent.files[name].append(await value.read())
    return sent


async def kept(services: Services, sent: Sent) -> Values:
    """What was typed, with the pictures that came along kept: from then on they are known by their blobs."""
    values = form.typed(sent.pairs)
    inputs = [*values.inputs, *[await services.images.keep_input(data) for data in sent.files["image"]]]
    mask = values["mask_id"]
    for data in sent.files["mask"]:
        mask = await services.images.keep_mask(data)
    return values.changed(inputs=tuple(dict.fromkeys(inputs)), mask_id=mask)


async def submit(services: Services, values: Values, *, ticket: str, person: PersonId) -> Job:
    """Ask for what the form says.

    Raises:
        Invalid: a value that cannot be drawn; its `field` names the field.
    """
    request = await _request(services, values, person)
    key = form.idempotency_key(ticket, request)
    return await services.images.submit(
        request, owner=person, work_class=WorkClass.INTERACTIVE, idempotency_key=key
    )


async def _request(services: Services, values: Values, person: PersonId) -> ImageRequest:
    blobs = [await _blob(services, it, person) for it in values.inputs]
    image = blobs[0] if blobs else None
    mask = await _mask(services, values, image)
    margins = form.margins_of(values)
    if not margins:
        return form.request_of(values, image=image, mask=mask, more_images=tuple(blobs[1:]))
    if image is None:
        raise BadRequest("There is no picture to extend.", field="extend", hint="choose one to begin with")
    larger = await services.images.extend(image, margins, mask)
    request = form.request_of(values, image=larger.image, mask=larger.mask, more_images=tuple(blobs[1:]))
    if request.width is None and await asyncio.to_thread(_can_draw, services, request.model, larger):
        request = replace(request, width=larger.width, height=larger.height)
    return request


def _can_draw(services: Services, model: ModelId, size: Extended) -> bool:
    """Whether the extended picture can keep its pixels; else the model's own size. Blocks."""
    defaults, limits = services.catalog.resolve(model).image, services.images.limits
    if defaults is None or defaults.fixed:
        return False
    longest, shortest = max(size.width, size.height), min(size.width, size.height)
    return (
        longest <= limits.max_side_px
        and shortest >= defaults.min_px
        and size.width * size.height <= limits.max_pixels
    )


async def _blob(services: Services, value: str, person: PersonId) -> BlobId:
    """An input picture by its blob. One of the gallery is made an input here; it is not sent again."""
    if not value.startswith(PICTURE):
        return BlobId(value)
    try:
        data = await asyncio.to_thread(_file, services.gallery, PictureId(value), person)
    except NotFound as error:
        raise BadRequest(error.message, field="image", hint="choose another picture") from error
    return await services.images.keep_input(data)


def _file(gallery: Gallery, picture: PictureId, person: PersonId) -> bytes:
    """Blocks."""
    file, _ = gallery.file(picture, caller=person)
    return file if isinstance(file, bytes) else file.read_bytes()


async def _mask(services: Services, values: Values, image: BlobId | None) -> BlobId | None:
    """The mask that was painted or uploaded; else the rectangle that was given by numbers."""
    if values["mask_id"]:
        return BlobId(values["mask_id"])
    part = form.rectangle_of(values)
    if part is None:
        return None
    if image is None:
        raise BadRequest(
            "A rectangle is given, but no picture.", field="mask", hint="choose a picture to begin with"
        )
    return await services.images.rectangle(image, part)
