# SPDX-License-Identifier: Apache-2.0
"""A workshop for sprites without a process: Pillow alone, nearest and median cut, at the test's pace."""

import asyncio
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from PIL import Image

from inglenook.base.cancel import StopToken
from inglenook.base.errors import Cancelled, InglenookError
from inglenook.base.ids import PersonId
from inglenook.base.work import WorkClass
from inglenook.engines.pixels import MadePicture, WriteOrder, WrittenFile
from inglenook.pixels.model import Proof, Recipe

Colors = tuple[tuple[int, int, int], ...]


def png_of(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def opened(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image


class _Held:
    """Something that waits when it was told to: until `release`, or until a stop is wished."""

    def __init__(self) -> None:
        self._gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    def hold(self) -> None:
        self._gate = asyncio.Event()

    def release(self) -> None:
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    async def wait(self, stop: StopToken, code: str) -> None:
        """Raises Cancelled: `stop` was set."""
        self.entered.set()
        if self._gate is not None:
            waits = [asyncio.create_task(one) for one in (self._gate.wait(), stop.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
                with suppress(asyncio.CancelledError):
                    await one
        if stop.is_set:
            raise Cancelled("It was stopped.", code=code)


@dataclass
class FakePixels:
    """Implements `sprites.collaborators.Pixels`.

    Attributes:
        recipes, orders: what was asked for, in that order. mattes: which of the frames had one.
        fails: raised by the call to `pixelate` of that number, from 0.
    """

    recipes: list[Recipe] = field(default_factory=list)
    orders: list[WriteOrder] = field(default_factory=list)
    mattes: list[tuple[bool, ...]] = field(default_factory=list)
    people: list[PersonId] = field(default_factory=list)
    fails: dict[int, InglenookError] = field(default_factory=dict)
    gate: _Held = field(default_factory=_Held)

    async def pixelate(
        self,
        frames: Sequence[bytes],
        mattes: Sequence[bytes | None],
        recipe: Recipe,
        *,
        person: PersonId,
        stop: StopToken,
        whole_animation: bool = False,  # noqa: ARG002 - every picture is reduced for itself
    ) -> list[MadePicture]:
        number = len(self.recipes)
        self.recipes.append(recipe)
        self.people.append(person)
        self.mattes.append(tuple(one is not None for one in mattes))
        await self.gate.wait(stop, "pixels.cancelled")
        if number in self.fails:
            raise self.fails[number]
        return [_made(frame, matte, recipe) for frame, matte in zip(frames, mattes, strict=True)]

    async def write(
        self,
        frames: Sequence[bytes],
        order: WriteOrder,
        *,
        person: PersonId,  # noqa: ARG002 - the protocol's parameter
        stop: StopToken,
    ) -> WrittenFile:
        self.orders.append(order)
        if stop.is_set:
            raise Cancelled("It was stopped.", code="pixels.cancelled")
        first, *rest = [opened(frame).convert("RGBA") for frame in frames]
        out = io.BytesIO()
        durations = list(order.durations_ms or [100] * len(frames))
        first.save(out, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, disposal=2)
        return WrittenFile(out.getvalue(), "image/gif", ".gif")


@dataclass
class FakeMatte:
    png: bytes
    by: str = "fake"


@dataclass
class FakeMatting:
    """Implements `images.cutout.Matting`: the subject is the middle half of each picture.

    Attributes:
        by: `border` where there is no model. fails: raised instead.
    """

    gate: _Held = field(default_factory=_Held)
    asked: int = 0
    by: str = "fake"
    fails: InglenookError | None = None

    def model(self) -> str | None:
        return None if self.by == "border" else self.by

    async def matte(
        self,
        png: bytes,
        *,
        person: PersonId,  # noqa: ARG002 - the protocol's parameter
        stop: StopToken,
        work_class: WorkClass,  # noqa: ARG002 - the same
    ) -> FakeMatte:
        self.asked += 1
        await self.gate.wait(stop, "matting.cancelled")
        if self.fails is not None:
            raise self.fails
        width, height = opened(png).size
        matte = Image.new("L", (width, height), 0)
        matte.paste(255, (width // 4, height // 4, width - width // 4, height - height // 4))
        return FakeMatte(png_of(matte), self.by)


def _made(frame: bytes, matte: bytes | None, recipe: Recipe) -> MadePicture:
    picture = opened(frame).convert("RGBA")
    if matte is not None:
        picture.putalpha(opened(matte).convert("L"))
    size = recipe.width or picture.width, recipe.height or picture.height
    small = picture.resize(size, Image.Resampling.NEAREST)
    alpha = small.getchannel("A").point(lambda level: 255 if level >= recipe.alpha_threshold else 0)
    flat, palette = _flat(small.convert("RGB"), recipe)
    flat.putalpha(alpha)
    return MadePicture(
        png=png_of(flat),
        width=flat.width,
        height=flat.height,
        palette=palette,
        proof=_proof(flat, palette),
        grid=None,
        offset=(0, 0),
        pivot=(flat.width // 2, flat.height - 1),
        notes=(),
    )


def _flat(picture: Image.Image, recipe: Recipe) -> tuple[Image.Image, Colors | None]:
    if recipe.colors == 0:
        return picture, None
    if recipe.palette is not None:
        table = Image.new("P", (1, 1))
        table.putpalette([level for color in recipe.palette for level in color])
        return picture.quantize(palette=table, dither=Image.Dither.NONE).convert("RGB"), recipe.palette
    if picture.getcolors(recipe.colors or 256) is not None:
        flat = picture
    else:
        flat = picture.quantize(recipe.colors or 256).convert("RGB")
    found = {color for _, color in flat.getcolors(1 << 16) or [] if isinstance(color, tuple)}
    return flat, tuple(sorted((one[0], one[1], one[2]) for one in found))


def _proof(flat: Image.Image, palette: Colors | None) -> Proof:
    colors = {one[:3] for _, one in flat.getcolors(1 << 16) or [] if isinstance(one, tuple) and one[3]}
    off = 0 if palette is None else len(colors - set(palette))
    alphas = tuple(
        sorted(level for _, level in flat.getchannel("A").getcolors() or [] if isinstance(level, int))
    )
    return Proof(
        width=flat.width,
        height=flat.height,
        colors=len(colors),
        within_palette=None if palette is None else off == 0,
        off_palette=off,
        alphas=alphas,
        seam_x=None,
        seam_y=None,
        counts=None,
    )
