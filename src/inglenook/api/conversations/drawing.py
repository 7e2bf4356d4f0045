# SPDX-License-Identifier: Apache-2.0
"""Our own tools for a model that talks: it draws and edits pictures through the same queue as everybody."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inglenook.api.errands import Errands
from inglenook.api.openai import requests
from inglenook.api.openai.fields import EditFields, GenerationFields, read
from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import BlobId, PersonId, PictureId
from inglenook.chat.conversations.answering import Result
from inglenook.chat.conversations.model import Image
from inglenook.chat.service import Hear
from inglenook.door.services import Catalog, Gallery, Images, Jobs
from inglenook.images.model import ImageRequest
from inglenook.jobs.model import EventType, Job, JobEvent, JobState

_PROMPT = {"type": "string", "description": "what the picture shows, in English"}
# A list, so that a small model whose calls are held to the schema cannot invent a size.
SIZES = ("auto", "512x512", "768x512", "512x768", "1024x1024", "1024x768", "768x1024")
_SIZE = {"type": "string", "enum": list(SIZES), "description": "width and height in pixels"}
TOOLS: Mapping[str, Mapping[str, Any]] = {
    "generate_image": {
        "type": "function",
        "function": {
            "name": "generate_image",
            "description": "Draw a picture. The person sees it at once.",
            "parameters": {
                "type": "object",
                "required": ["prompt"],
                "additionalProperties": False,
                "properties": {"prompt": _PROMPT, "size": _SIZE},
            },
        },
    },
    "edit_image": {
        "type": "function",
        "function": {
            "name": "edit_image",
            "description": "Change a picture of this conversation. The person sees the result at once.",
            "parameters": {
                "type": "object",
                "required": ["prompt"],
                "additionalProperties": False,
                "properties": {
                    "prompt": {**_PROMPT, "description": "what the changed picture shows, in English"},
                    "picture": {"type": "string", "description": "its id; left out: the last one"},
                    "size": _SIZE,
                },
            },
        },
    },
}


class DrawingTools:
    """Implements `chat.conversations.answering.ToolBox`."""

    def __init__(self, *, images: Images, jobs: Jobs, gallery: Gallery, catalog: Catalog) -> None:
        self._images = images
        self._errands = Errands(jobs)
        self._gallery = gallery
        self._catalog = catalog

    def described(self, names: tuple[str, ...]) -> list[Mapping[str, Any]]:
        return [TOOLS[name] for name in names]

    async def call(
        self, name: str, arguments: str, *, person: PersonId, given: tuple[Image, ...], hear: Hear
    ) -> Result:
        if name not in TOOLS:
            raise Invalid(f"There is no tool {name[:60]!r}.", hint=f"there are: {', '.join(TOOLS)}")
        wanted = _object(arguments, TOOLS[name]["function"]["parameters"]["properties"])
        if name == "generate_image":
            return await self._draw(await self._generation(wanted), person, hear)
        return await self._draw(await self._edit(wanted, person, given), person, hear)

    async def _generation(self, wanted: dict[str, Any]) -> ImageRequest:
        fields = read(GenerationFields, wanted, from_form=False)
        model = await asyncio.to_thread(self._catalog.resolve, fields.model)
        return requests.generation(fields, model)

    async def _edit(self, wanted: dict[str, Any], person: PersonId, given: tuple[Image, ...]) -> ImageRequest:
        picture = _picture(wanted.pop("picture", None), given)
        fields = read(EditFields, wanted, from_form=False)
        model = await asyncio.to_thread(self._catalog.resolve, fields.model)
        requests.check(fields)
        data = await self._file(picture, person)
        return requests.edit(fields, model, images=[await self._images.keep_input(data)], mask=None)

    async def _file(self, picture: Image, person: PersonId) -> bytes:
        if picture.blob is not None:
            return await self._images.input(BlobId(picture.blob))
        assert picture.picture is not None
        kept, _ = await asyncio.to_thread(self._gallery.file, PictureId(picture.picture), caller=person)
        return await asyncio.to_thread(kept.read_bytes) if isinstance(kept, Path) else kept

    async def _draw(self, asked: ImageRequest, person: PersonId, hear: Hear) -> Result:
        job = await self._images.submit(asked, owner=person)

        async def tell(event: JobEvent) -> None:
            if event.type is EventType.WAIT:
                await hear(event.data)
            elif event.type is EventType.PROGRESS:
                await hear({"drawing": True, **event.data})

        return _result(await self._errands.done(job, person, tell))


def _result(job: Job) -> Result:
    drawn = tuple(PictureId(part["picture_id"]) for part in job.result.get("parts", ()))
    if job.state is JobState.SUCCEEDED and drawn:
        names = ", ".join(drawn)
        return Result(f"The picture was drawn (id {names}), and the person sees it.", drawn)
    error = job.error
    raise InglenookError(
        f"No picture was drawn: {job.state if error is None else error.message}",
        code="tool.not_drawn" if error is None else error.code,
        hint=None if error is None else error.hint,
    )


def _object(arguments: str, known: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        raise Invalid("The arguments are not JSON.") from None
    if not isinstance(found, dict):
        raise Invalid("The arguments must be an object.")
    wanted = {name: value for name, value in found.items() if value is not None}
    for name in wanted:
        if name not in known:
            raise Invalid(f"There is no argument {name[:60]!r}.", hint=f"there are: {', '.join(known)}")
    return wanted


def _picture(name: Any, given: tuple[Image, ...]) -> Image:
    """The picture that the model means: one of the conversation."""
    if not given:
        raise Invalid("There is no picture in this conversation.", hint="draw one first, with generate_image")
    if name is None:
        return given[-1]
    for picture in given:
        if name in (picture.picture, picture.blob):
            return picture
    known = ", ".join(str(it.picture or it.blob) for it in given)
    raise Invalid(f"There is no picture {str(name)[:80]!r} in this conversation.", hint=f"there are: {known}")
