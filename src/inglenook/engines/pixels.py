# SPDX-License-Identifier: Apache-2.0
"""The child that makes sprites, and the room in which people take turns at it.

One child for everybody: a sprite is a matter of milliseconds, so a second process would only take memory. It
is started by the first request, kept warm, and ended when nobody has asked for a while. It needs no
accelerator, so nobody asks the scheduler for it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from inglenook.base.cancel import StopToken
from inglenook.base.errors import Cancelled, Failed, InglenookError, Invalid, TooLarge, Unavailable
from inglenook.base.ids import PersonId
from inglenook.base.threads import to_its_end
from inglenook.jobs.turnstile import Turnstile
from inglenook.pixels.model import Grid, Proof, Recipe
from inglenook.runtime.visibility import NO_CUDA
from inglenook.runtime.worker import WorkerProcess
from inglenook.runtime.worker_child import WorkerChild
from inglenook.store.files import write_error
from inglenook.wire.message import Message
from inglenook.wire.pixels import (
    FrameTag,
    FromPixelsWorker,
    LastWord,
    OpenPixels,
    Pixelate,
    Pixelated,
    PixelsFailed,
    PixelsStopped,
    SpriteFormat,
    SpritesWritten,
    WriteSprites,
)

MODULE: Final = "inglenook.workers.pixels"
MOST_FRAMES: Final = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MadePicture:
    """A finished sprite. `png`: indexed where there is a palette. The rest as in `pixels.model.Sprite`."""

    png: bytes
    width: int
    height: int
    palette: tuple[tuple[int, int, int], ...] | None
    proof: Proof
    grid: Grid | None
    offset: tuple[int, int]
    pivot: tuple[int, int]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WriteOrder:
    """As which file; the fields mean what those of `wire.pixels.WriteSprites` mean."""

    format: SpriteFormat
    durations_ms: tuple[int, ...] | None = None
    tags: tuple[FrameTag, ...] = ()
    layers: tuple[str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    loop: bool = True
    scale: int = 1
    columns: int | None = None
    padding: int = 0
    name: str = "sprite"


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """`suffix` with its dot."""

    data: bytes
    media_type: str
    suffix: str


class PixelsChild(WorkerChild[LastWord]):
    """One such child."""

    async def do(self, asked: Pixelate | WriteSprites, *, stop: StopToken) -> LastWord:
        """See `WorkerChild.work`."""
        stopped = PixelsStopped(job=asked.job, done=-1)
        return await self.work(asked, job=asked.job, cancelled=stopped, stop=stop, tell=_nothing)


class PixelWorkshop:
    """Makes sprites of pictures, and files of sprites, for whoever asks: one piece of work at a time.

    People take turns, each one's own requests in their order. A child that has died fails the request that
    it worked on; the next request starts another.

    Args:
        spool_root: the child gets a folder of its own below it.
        memory_bytes: that the child may take; None for no bound.
        max_pixels: of one picture.
        keep_warm_s: so long the child stays unused; None for ever.
    """

    def __init__(
        self,
        *,
        spool_root: Path,
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
        memory_bytes: int | None,
        max_pixels: int,
        keep_warm_s: float | None,
    ) -> None:
        self._spool_root = spool_root
        self._start_timeout_s = start_timeout_s
        self._cancel_grace_s = cancel_grace_s
        self._stop_grace_s = stop_grace_s
        self._memory_bytes = memory_bytes
        self._max_pixels = max_pixels
        self._keep_warm_s = keep_warm_s
        self._turnstile = Turnstile(what="The work on the sprites", code="pixels")
        self._numbers = count(1)
        self._worker: WorkerProcess | None = None
        self._child: PixelsChild | None = None
        self._closing: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def pids(self) -> frozenset[int]:
        """Of the child, if there is one."""
        return frozenset() if self._child is None else self._child.pids

    @property
    def warm(self) -> bool:
        """Whether there is a child that would take the next request."""
        return self._child is not None and self._child.alive

    async def pixelate(
        self,
        frames: Sequence[bytes],
        mattes: Sequence[bytes | None],
        recipe: Recipe,
        *,
        person: PersonId,
        stop: StopToken,
        whole_animation: bool = False,
    ) -> list[MadePicture]:
        """Sprites of pictures, in their order.

        Args:
            frames: 1 to 256 files as somebody has sent them: PNG, JPEG, WebP, GIF or BMP.
            mattes: for each a grey picture of its size as PNG, 255 is the subject; or None.
            whole_animation: they are frames: one size, crop and palette for all.

        Raises:
            Invalid: the recipe cannot be followed, or a picture cannot be read (`field`: `frames.0` …).
            TooLarge: a picture has too many pixels.
            Cancelled: `stop` was set.
            Unavailable: the server is stopping.
            Failed: the child failed or has died (ChildFailed).
        """
        _require_frames(frames)
        if len(mattes) != len(frames):
            raise ValueError(f"{len(frames)} frames and {len(mattes)} mattes")
        async with self._child_in_turn(person, stop) as child:
            job = f"pixels-{next(self._numbers)}"
            names = tuple(f"{job}-{place}" for place in range(len(frames)))
            mats = tuple(None if one is None else f"{job}-{at}-matte" for at, one in enumerate(mattes))
            asked = Pixelate(
                job=job,
                files=names,
                mattes=mats,
                recipe=recipe.as_json(),
                max_pixels=self._max_pixels,
                whole_animation=whole_animation,
            )
            given = list(zip((*names, *mats), (*frames, *mattes), strict=True))
            return await _exchange(child, asked, given, stop, _read_made)

    async def write(
        self, frames: Sequence[bytes], order: WriteOrder, *, person: PersonId, stop: StopToken
    ) -> WrittenFile:
        """One file of frames.

        Args:
            frames: 1 to 256 PNGs, one a frame, or one a layer where the order has `layers`.

        Raises: as `pixelate`.
        """
        _require_frames(frames)
        async with self._child_in_turn(person, stop) as child:
            job = f"pixels-{next(self._numbers)}"
            names = tuple(f"{job}-{place}" for place in range(len(frames)))
            asked = WriteSprites(
                job=job,
                files=names,
                max_pixels=self._max_pixels,
                **{name: getattr(order, name) for name in WriteOrder.__slots__},
            )
            given = list(zip(names, frames, strict=True))
            return await _exchange(child, asked, given, stop, _read_written)

    async def close(self) -> None:
        """End the child. Work in hand fails, later requests are refused. Idempotent."""
        self._closed = True
        self._turnstile.close()
        self._stay()
        if self._closing is not None:
            await asyncio.shield(self._closing)
        await self._end_child()

    @asynccontextmanager
    async def _child_in_turn(self, person: PersonId, stop: StopToken) -> AsyncIterator[PixelsChild]:
        async with self._turnstile.turn(person, stop):
            self._stay()
            try:
                yield await self._warm_child()
            finally:
                self._leave_when_idle()

    async def _warm_child(self) -> PixelsChild:
        if self._closing is not None:
            await asyncio.shield(self._closing)
        if self._child is not None and self._child.alive:
            return self._child
        await self._end_child()
        if self._closed:
            raise _stopping()
        return await self._started()

    async def _started(self) -> PixelsChild:
        """Raises ChildFailed; nothing is left of the attempt."""
        worker = WorkerProcess(
            module=MODULE,
            name="The maker of sprites",
            union=FromPixelsWorker,
            spool_root=self._spool_root,
            extra={**NO_CUDA, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            grace_s=self._stop_grace_s,
        )
        await worker.start()
        child = PixelsChild(
            worker,
            OpenPixels(memory_bytes=self._memory_bytes),
            model="The maker of sprites",
            what="pixel worker",
            working="while it made sprites",
            last_words=(Pixelated, SpritesWritten, PixelsFailed, PixelsStopped),
            start_timeout_s=self._start_timeout_s,
            cancel_grace_s=self._cancel_grace_s,
            stop_grace_s=self._stop_grace_s,
        )
        self._child = child
        try:
            await child.ready()
        except BaseException:
            await asyncio.shield(self._end_child())
            raise
        return child

    async def _end_child(self) -> None:
        """Stop it and remove its folder."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop(self._stop_grace_s)
            await child.discard()

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _leave_when_idle(self) -> None:
        if self._keep_warm_s is not None and self._child is not None and not self._closed:
            self._idle = asyncio.get_running_loop().call_later(self._keep_warm_s, self._leave)

    def _leave(self) -> None:
        self._idle = None
        self._closing = asyncio.ensure_future(self._end_child())
        self._closing.add_done_callback(self._left)

    def _left(self, task: "asyncio.Task[None]") -> None:
        self._closing = None
        if not task.cancelled():
            task.exception()


async def _nothing(message: Message) -> None:
    """Such a child says nothing between."""


async def _exchange(
    child: PixelsChild,
    asked: Pixelate | WriteSprites,
    given: Sequence[tuple[str | None, bytes | None]],
    stop: StopToken,
    read: Callable[[Path, LastWord], T],
) -> T:
    """Write the files that are given, have the work done, read what was made; no file of it is left."""
    try:
        await to_its_end(_write_all, child.spool, given)
        last = await child.do(asked, stop=stop)
        return await asyncio.to_thread(read, child.spool, last)
    finally:
        await asyncio.to_thread(_remove_all, child.spool, asked.job)


def _write_all(folder: Path, files: Sequence[tuple[str | None, bytes | None]]) -> None:
    try:
        for name, data in files:
            if name is not None and data is not None:
                (folder / name).write_bytes(data)
    except OSError as error:
        raise write_error(error, folder) from error


def _remove_all(folder: Path, job: str) -> None:
    for file in folder.glob(f"{job}-*"):
        file.unlink(missing_ok=True)


def _read_made(folder: Path, last: LastWord) -> list[MadePicture]:
    """Raises what the last word tells of."""
    if not isinstance(last, Pixelated):
        raise _error(last)
    return [
        MadePicture(
            png=(folder / one.file).read_bytes(),
            width=one.width,
            height=one.height,
            palette=one.palette,
            proof=msgspec.convert(one.proof, Proof),
            grid=None if one.grid is None else msgspec.convert(one.grid, Grid),
            offset=one.offset,
            pivot=one.pivot,
            notes=one.notes,
        )
        for one in last.sprites
    ]


def _read_written(folder: Path, last: LastWord) -> WrittenFile:
    """Raises what the last word tells of."""
    if not isinstance(last, SpritesWritten):
        raise _error(last)
    return WrittenFile((folder / last.file).read_bytes(), last.media_type, last.suffix)


def _require_frames(frames: Sequence[bytes]) -> None:
    if not 1 <= len(frames) <= MOST_FRAMES:
        raise Invalid(
            f"There are {len(frames)} pictures.", hint=f"send 1 to {MOST_FRAMES} of them", field="frames"
        )


def _error(last: LastWord) -> InglenookError:
    if isinstance(last, PixelsStopped):
        return Cancelled("The work on the sprites was stopped.", code="pixels.cancelled")
    assert isinstance(last, PixelsFailed)
    field = last.field if last.picture is None else f"frames.{last.picture}"
    kinds = {"pixels.invalid": Invalid, "pixels.unreadable": Invalid, "pixels.too_large": TooLarge}
    kind: type[InglenookError] = kinds.get(last.code, Failed)
    return kind(last.message, code=last.code, hint=last.hint, field=field)


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="pixels.stopping", hint="try again when it is up")
