# SPDX-License-Identifier: Apache-2.0
"""The subject of a picture without its background: by a matting model, else by the border's plain colour."""

import asyncio
from dataclasses import dataclass
from io import BytesIO
from typing import Final, Protocol

from PIL import Image

from inglenook.base.cancel import StopToken
from inglenook.base.errors import Cancelled, InglenookError
from inglenook.base.ids import PersonId
from inglenook.base.work import WorkClass

BORDER: Final = "border"
BY_BORDER: Final = (
    "there is no matting model: what has the border's colour was cut out;"
    " `inglenook starters install matting` brings one"
)
NOT_PLAIN: Final = "The border of the picture has no colour of its own, so the background was not cut away."
_INSTEAD: Final = "What has the border's colour was cut out instead."
_SUBJECT: Final = 128
"""Of 255: where a matte stays below it everywhere, there is nothing that it took for a subject."""


class Matte(Protocol):
    """`png`: grey, of the picture's size, 255 is the subject. `by`: the model, or `border`."""

    @property
    def png(self) -> bytes: ...

    @property
    def by(self) -> str: ...


class Matting(Protocol):
    """Tells the subject of a picture from its background (`prediction.matting.MattingService`)."""

    def model(self) -> object | None:
        """What tells it here; None where only the border can. Blocks."""
        ...

    async def matte(self, png: bytes, *, person: PersonId, stop: StopToken, work_class: WorkClass) -> Matte:
        """Raises Cancelled: `stop` was set; Failed, Unavailable: it could not be done."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """A picture whose background was to go.

    Attributes:
        png: RGBA, or as it was drawn where nothing could be cut away.
        by: the model, `border`, or None where it stayed opaque.
        note: how it went, in words, where that is not as asked.
    """

    png: bytes
    by: str | None
    note: str | None = None


class Scissors:
    """Args:
    matting: None where nothing tells a subject from its background but the border.
    """

    def __init__(self, matting: Matting | None) -> None:
        self._matting = matting

    async def has_model(self) -> bool:
        """Whether `cut` would ask a model, which needs a lease of its own."""
        return self._matting is not None and await asyncio.to_thread(self._matting.model) is not None

    async def cut(self, png: bytes, *, person: PersonId, stop: StopToken, work_class: WorkClass) -> Cut:
        """Never fails: a picture that is drawn is kept, with a note where it stayed as it was.

        Args:
            png: RGB, 8 bit.
            stop: once set, no model is asked any more.
        """
        if stop.is_set:
            return await asyncio.to_thread(_by_border, png, None)
        if self._matting is None or not await self.has_model():
            return await asyncio.to_thread(_by_border, png, BY_BORDER)
        try:
            matte = await self._matting.matte(png, person=person, stop=stop, work_class=work_class)
        except Cancelled:
            return await asyncio.to_thread(_by_border, png, None)
        except InglenookError as error:
            return await asyncio.to_thread(_by_border, png, _INSTEAD, why=error.message)
        freed = await asyncio.to_thread(_with_matte, png, matte.png)
        if freed is not None:
            return Cut(freed, matte.by)
        return await asyncio.to_thread(_by_border, png, _INSTEAD, why=f"{matte.by} found no subject.")


def cut_out(png: bytes) -> bytes | None:
    """An RGBA PNG with a transparent background, or None where the border has no colour of its own.

    Args:
        png: RGB, 8 bit.
    """
    import numpy as np  # a tenth of a second: only when it is needed

    from inglenook.pixels.border import border_cut

    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        rgba = border_cut(np.asarray(image.convert("RGBA")))
    return None if rgba is None else _png(Image.fromarray(rgba))


def _by_border(png: bytes, note: str | None, *, why: str = "") -> Cut:
    """`note`: for a picture that is cut out. `why`: it is done by the border, where a model should have."""
    freed = cut_out(png)
    said = NOT_PLAIN if freed is None else note
    how = None if said is None else f"{why} {said}".strip()
    return Cut(png, None, how) if freed is None else Cut(freed, BORDER, how)


def _with_matte(png: bytes, matte: bytes) -> bytes | None:
    """The picture with the matte as its alpha, soft as it is; None where there is no subject in it."""
    with Image.open(BytesIO(png), formats=["PNG"]) as image, Image.open(BytesIO(matte)) as grey:
        rgba, alpha = image.convert("RGBA"), grey.convert("L")
    if alpha.point(lambda level: 255 if level >= _SUBJECT else 0).getbbox() is None:
        return None
    rgba.putalpha(alpha)
    return _png(rgba)


def _png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()
