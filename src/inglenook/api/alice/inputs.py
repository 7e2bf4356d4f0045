# SPDX-License-Identifier: Apache-2.0
"""Input pictures: as base64, as data addresses, and by addresses that are fetched through the one way out."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inglenook.api.alice.fields import SamConfig
from inglenook.api.bodies import decoded
from inglenook.api.chat import Message, Unprocessable
from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.base.ids import BlobId
from inglenook.door.problem import shown
from inglenook.door.services import Images, Outgoing
from inglenook.images.model import MAX_INPUT_PICTURES
from inglenook.outgoing.errors import NotFetched
from inglenook.outgoing.model import Bounds

FETCH_S = 30.0
"""For all addresses of one request together."""
_PICTURES = ("image/", "application/octet-stream", "binary/octet-stream")
"""What a file server may call a picture; what it is, its content tells."""


@dataclass(frozen=True, slots=True)
class Input:
    """Where a picture comes from: `value` is base64, a data address or a URL; `field` is its place."""

    value: str
    field: str

    @property
    def is_url(self) -> bool:
        return self.value[:8].lower().startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class Said:
    """A message taken apart."""

    text: str
    pictures: tuple[Input, ...]


def said(message: Message, where: str) -> Said:
    """The words and pictures of a message.

    Raises:
        Unprocessable: a part that is neither text nor picture.
    """
    if not isinstance(message.content, list):
        return Said(message.content or "", ())
    texts: list[str] = []
    pictures: list[Input] = []
    for index, part in enumerate(message.content):
        field = f"{where}.content.{index}"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            pictures.append(Input(_url(part.get("image_url"), field), f"{field}.image_url"))
        else:
            raise Unprocessable(
                f"{field} must be a part of type text or image_url; got {shown(part)}.", field=field
            )
    return Said("\n".join(texts), tuple(pictures))


def _url(value: Any, field: str) -> str:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise Unprocessable(f"{field}.image_url must hold an address; got {shown(value)}.", field=field)
    return url


def inputs_of(config: SamConfig, message: Said) -> list[Input]:
    """All input pictures in their order: the configuration's, then the message's.

    Raises:
        Unprocessable: too many, or `input_image_urls` holds something else than an address.
    """
    found = [Input(value, f"sam_config.input_images.{i}") for i, value in enumerate(config.input_images)]
    for index, url in enumerate(config.input_image_urls):
        one = Input(url, f"sam_config.input_image_urls.{index}")
        if not one.is_url:
            raise Unprocessable(
                f"{one.field} must begin with http:// or https://; got {shown(url)}.", field=one.field
            )
        found.append(one)
    found += message.pictures
    if len(found) > MAX_INPUT_PICTURES:
        raise Unprocessable(
            f"{len(found)} input pictures are given; at most {MAX_INPUT_PICTURES} are taken.",
            field="sam_config.input_images",
        )
    return found


class Intake:
    """Takes input pictures in.

    Args:
        max_bytes: of one picture, sent or fetched.
    """

    def __init__(self, *, images: Images, outgoing: Outgoing, clock: Clock, max_bytes: int) -> None:
        self._images = images
        self._outgoing = outgoing
        self._clock = clock
        self._max_bytes = max_bytes

    async def keep(self, inputs: Sequence[Input]) -> tuple[BlobId, ...]:
        """Decode or fetch, check and keep each.

        Raises:
            InglenookError: the first that cannot be used; `field` names it.
        """
        deadline_s = self._clock.monotonic() + FETCH_S
        kept = []
        for one in inputs:
            try:
                data = await self._bytes(one, deadline_s)
                kept.append(await self._images.keep_input(data))
            except InglenookError as error:
                raise type(error)(error.message, code=error.code, hint=error.hint, field=one.field) from error
        return tuple(kept)

    async def _bytes(self, one: Input, deadline_s: float) -> bytes:
        if not one.is_url:
            return await asyncio.to_thread(decoded, one.value)
        left_s = deadline_s - self._clock.monotonic()
        if left_s <= 0:
            raise NotFetched("The input pictures took too long to fetch.", code="outgoing.timeout")
        bounds = Bounds(max_bytes=self._max_bytes, media_types=_PICTURES, total_s=left_s)
        fetched = await self._outgoing.fetch(one.value, purpose="an input picture", bounds=bounds)
        return fetched.data
