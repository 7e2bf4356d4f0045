# SPDX-License-Identifier: Apache-2.0
"""Pictures in messages, made safe before a model's process sees them: decoded, bounded, written anew by us.

An address is never the child's to fetch. Ours lead to the gallery; all others go through the one way out.
"""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from inglenook.api.bodies import decoded
from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import PersonId, PictureId
from inglenook.door.problem import shown
from inglenook.door.services import Gallery, Links, Outgoing
from inglenook.images.intake import intake
from inglenook.outgoing.errors import NotFetched
from inglenook.outgoing.model import Bounds

MAX_PICTURES: Final = 64
"""In one conversation."""
FETCH_S: Final = 30.0
"""For all addresses of one request together."""
_DECLARED: Final = ("image/", "application/octet-stream", "binary/octet-stream")
_OWN_ADDRESSES: Final = "/images/"
_OWN_FILES: Final = "/v1/pictures/"
_ID: Final = "pic_"
_REFUSED: Final = {
    "input_audio": "sound",
    "audio": "sound",
    "audio_url": "sound",
    "input_video": "video",
    "video_url": "video",
    "file": "a file",
    "input_file": "a file",
    "document": "a document",
}
"""Types of parts that no model here takes, in words."""
WORDS: Final = tuple(f'"{kind}"'.encode() for kind in ("image_url", "input_image", "image", *_REFUSED))
"""One of these stands in the JSON of every message that `Pictures` has to look at."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who sends the pictures. `host`, `base_url`: as the server was asked, for its own addresses."""

    person: PersonId
    host: str
    base_url: str = ""


class Pictures:
    """Args:
    max_bytes, max_pixels: of one picture, sent or fetched.
    """

    def __init__(
        self,
        *,
        gallery: Gallery,
        links: Links,
        outgoing: Outgoing,
        clock: Clock,
        max_bytes: int,
        max_pixels: int,
    ) -> None:
        self._gallery = gallery
        self._links = links
        self._outgoing = outgoing
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels

    async def in_messages(
        self, messages: Sequence[Any], asker: Asker, *, kind: Literal["messages", "input"] = "messages"
    ) -> tuple[list[Any], int]:
        """OpenAI's messages with every picture inlined, and how many there are.

        Args:
            kind: the field that holds them: of a chat, or of a response, whose parts are written otherwise.

        Raises:
            Invalid: a part that is neither text nor picture, or too many pictures.
            InglenookError: the first picture that cannot be used; `field` names it.
        """
        found: list[Any] = []
        deadline_s = self._clock.monotonic() + FETCH_S
        count = 0
        for index, message in enumerate(messages):
            content = message.get("content") if isinstance(message, dict) else None
            if not isinstance(content, list):
                found.append(message)
                continue
            parts = []
            for number, part in enumerate(content):
                field = f"{kind}.{index}.content.{number}"
                address = _address(part, field)
                if address is not None:
                    count = _counted(count, field)
                    data = await self.inlined(address, field, asker, deadline_s)
                    parts.append(_inlined(data, kind))
                else:
                    parts.append(part)
            found.append({**message, "content": parts})
        return found, count

    async def inlined(self, address: str, field: str, asker: Asker, deadline_s: float) -> str:
        """A picture as a data address of a PNG. Raises InglenookError with `field`."""
        return _DATA + await self.base64(address, field, asker, deadline_s)

    async def base64(self, address: str, field: str, asker: Asker, deadline_s: float) -> str:
        """A picture as the base64 of a PNG.

        Args:
            address: base64, a data address, one of ours, the id of a picture, or one to fetch.
            deadline_s: on the monotonic clock.
        """
        try:
            data = await self._bytes(address, asker, deadline_s)
            return await asyncio.to_thread(self._png, data)
        except InglenookError as error:
            raise type(error)(error.message, code=error.code, hint=error.hint, field=field) from error

    async def bytes_of(self, address: str, field: str, asker: Asker) -> bytes:
        """What is at an address, as it is. Raises InglenookError with `field`."""
        try:
            return await self._bytes(address, asker, self._clock.monotonic() + FETCH_S)
        except InglenookError as error:
            raise type(error)(error.message, code=error.code, hint=error.hint, field=field) from error

    def deadline_s(self) -> float:
        """For all pictures of a request that comes now."""
        return self._clock.monotonic() + FETCH_S

    def _png(self, data: bytes) -> str:
        """Blocks."""
        made = intake(data, max_bytes=self._max_bytes, max_pixels=self._max_pixels)
        return base64.b64encode(made.png).decode("ascii")

    async def _bytes(self, address: str, asker: Asker, deadline_s: float) -> bytes:
        if address.startswith((_ID, _OWN_FILES)):
            picture = PictureId(address.removeprefix(_OWN_FILES).partition("/")[0])
            return await asyncio.to_thread(self._kept, picture, asker.person)
        if address.startswith(_OWN_ADDRESSES):
            return await asyncio.to_thread(self._linked, address)
        if not address[:8].lower().startswith(("http://", "https://")):
            return await asyncio.to_thread(decoded, address)
        parts = urlsplit(address)
        if parts.netloc.lower() == asker.host.lower() and parts.path.startswith((_OWN_ADDRESSES, _OWN_FILES)):
            return await self._bytes(parts.path, asker, deadline_s)
        return await self._fetched(address, deadline_s)

    async def _fetched(self, address: str, deadline_s: float) -> bytes:
        left_s = deadline_s - self._clock.monotonic()
        if left_s <= 0:
            raise NotFetched("The pictures took too long to fetch.", code="outgoing.timeout")
        bounds = Bounds(max_bytes=self._max_bytes, media_types=_DECLARED, total_s=left_s)
        fetched = await self._outgoing.fetch(address, purpose="a picture in a message", bounds=bounds)
        return fetched.data

    def _linked(self, path: str) -> bytes:
        """What one of our own signed addresses leads to. Blocks."""
        picture = self._gallery.linked(self._links.picture(path.removeprefix(_OWN_ADDRESSES)))
        return self._kept(picture.id, picture.owner)

    def _kept(self, picture: PictureId, person: PersonId) -> bytes:
        """Blocks."""
        kept, _ = self._gallery.file(picture, caller=person)
        return kept.read_bytes() if isinstance(kept, Path) else kept


_DATA: Final = "data:image/png;base64,"


def _inlined(data: str, kind: str) -> dict[str, Any]:
    if kind == "input":
        return {"type": "input_image", "image_url": data}
    return {"type": "image_url", "image_url": {"url": data}}


def _counted(count: int, field: str) -> int:
    if count >= MAX_PICTURES:
        raise Invalid(f"A conversation may hold {MAX_PICTURES} pictures.", field=field)
    return count + 1


def _address(part: object, field: str) -> str | None:
    """Where a part's picture is; None for text. Raises Invalid for every other kind of part."""
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or kind in _REFUSED:
        raise refused(part, field)
    if kind not in ("image_url", "input_image", "image"):
        return None  # text, refusal, thinking: whatever it is, it holds nothing to look at
    value = part.get("image_url")
    address = value.get("url") if isinstance(value, dict) else value
    if not isinstance(address, str) or not address:
        raise Invalid(f"{field}.image_url must hold an address; got {shown(value)}.", field=field)
    return address


def refused(part: object, field: str) -> Invalid:
    """The error for a part of a message that no model here takes."""
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in _REFUSED:
        message = f"{field} is {_REFUSED[kind]}, which language models here do not take."
        hint = "send text and pictures; /v1/audio/transcriptions writes down what is said in a recording"
        return Invalid(message, field=field, hint=hint, code="request.part")
    return Invalid(
        f"{field} must be a part with a type; got {shown(part)}.", field=field, code="request.part"
    )


def blind(model: object, field: str = "messages") -> Invalid:
    """The error for pictures sent to a model without a projector."""
    return Invalid(
        f"{model} sees no pictures: it is loaded without a projector.",
        code="model.no_vision",
        field=field,
        hint="choose a model with `vision: true` in GET /v1/models, or put its projector (mmproj) beside it",
    )
