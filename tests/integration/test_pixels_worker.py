# SPDX-License-Identifier: Apache-2.0
"""The real child that makes sprites, and the workshop that keeps it: in every way that work may go."""

import asyncio
import io
import os
import signal
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.integration.processes import halt, is_gone, linux

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Cancelled, Failed, Invalid, TooLarge, Unavailable
from inglenook.base.ids import OWNER, PersonId
from inglenook.base.units import MIB
from inglenook.engines.pixels import MadePicture, PixelWorkshop, WriteOrder
from inglenook.pixels.model import Alpha, Background, Recipe
from inglenook.runtime.contracts import ChildFailed

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

SMALL = Recipe(width=16, height=16, colors=8)
GUEST = PersonId("guest")


def png(side: int = 64, seed: int = 1, *, alpha: int = 255) -> bytes:
    """Noise over a slope."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:side, :side]
    rgba = np.stack([down, right, down + right, np.full_like(down, alpha)], axis=2) * 255 // (2 * side)
    rgba[..., :3] += rng.integers(0, 40, (side, side, 3))
    rgba[..., 3] = alpha
    return encoded(rgba.astype(np.uint8))


def encoded(pixels: "np.ndarray[Any, Any]", kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is so large."""
    header = struct.pack(">II5B", width, height, 8, 6, 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunks


class Bench:
    def __init__(self, root: Path, **changed: Any) -> None:
        self.root = root
        given: dict[str, Any] = {
            "spool_root": root,
            "start_timeout_s": 60,
            "cancel_grace_s": 20,
            "stop_grace_s": 2,
            "memory_bytes": 512 * MIB,
            "max_pixels": 4_000_000,
            "keep_warm_s": None,
        }
        self.workshop = PixelWorkshop(**(given | changed))

    async def make(
        self,
        *frames: bytes,
        recipe: Recipe = SMALL,
        mattes: list[bytes | None] | None = None,
        stop: StopToken | None = None,
        person: PersonId = OWNER,
        whole: bool = False,
    ) -> list[MadePicture]:
        return await self.workshop.pixelate(
            frames,
            [None] * len(frames) if mattes is None else mattes,
            recipe,
            person=person,
            stop=StopToken() if stop is None else stop,
            whole_animation=whole,
        )

    @property
    def pid(self) -> int:
        (pid,) = self.workshop.pids
        return pid

    def spooled(self) -> list[Path]:
        """Files of work in hand."""
        return sorted(self.root.glob("*/pixels-*"))


@asynccontextmanager
async def bench(root: Path, **changed: Any) -> AsyncIterator[Bench]:
    made = Bench(root, **changed)
    try:
        yield made
    finally:
        await made.workshop.close()
    assert list(root.glob("*")) == []


async def until(holds: Callable[[], bool]) -> None:
    """Looks again and again, and fails after two minutes: some wait for half a gigabyte on the disk."""
    async with asyncio.timeout(120):
        while not holds():
            await asyncio.sleep(0.005)


async def test_pictures_become_sprites_that_are_what_their_proof_says(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        one, other = await at.make(png(seed=1), png(seed=2))
        for made in (one, other):
            with Image.open(io.BytesIO(made.png)) as opened:
                rgba = np.asarray(opened.convert("RGBA"))
            assert rgba.shape == (16, 16, 4)
            assert (made.width, made.height, made.proof.width, made.proof.height) == (16, 16, 16, 16)
            assert made.palette is not None
            assert {tuple(map(int, one)) for one in rgba.reshape(-1, 4)} <= {(*c, 255) for c in made.palette}
            assert made.proof.within_palette
            assert len(made.palette) <= 8
        assert one.palette != other.palette
        assert at.spooled() == []


async def test_frames_of_an_animation_have_one_palette(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        one, other = await at.make(png(seed=1), png(seed=2), whole=True)
        assert one.palette == other.palette


async def test_one_child_serves_again_and_again_and_gives_the_same_bytes_as_another(tmp_path: Path) -> None:
    async with bench(tmp_path / "a") as at:
        (first,) = await at.make(png())
        pid = at.pid
        (second,) = await at.make(png())
        assert (at.pid, second) == (pid, first)
    async with bench(tmp_path / "b") as at:
        assert await at.make(png()) == [first]


async def test_a_matte_cuts_the_subject_out(tmp_path: Path) -> None:
    grey = np.zeros((64, 64), np.uint8)
    grey[16:48, 16:48] = 255
    async with bench(tmp_path) as at:
        (made,) = await at.make(png(), mattes=[encoded(grey)], recipe=replace(SMALL, trim=True))
        assert (made.width, made.height, made.offset) == (8, 8, (4, 4))
        with pytest.raises(Invalid) as caught:
            await at.make(png(), mattes=[encoded(grey[:32])])
        assert caught.value.field == "frames.0"
        assert "64 x 32" in caught.value.message


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", png()[:200], png()[:33] + b"x" * 400, encoded(np.zeros((9, 9, 3), np.uint8), "TIFF")],
    ids=["empty", "text", "cut off", "damaged", "another format"],
)
async def test_a_broken_picture_fails_its_request_by_its_place_and_the_child_lives_on(
    tmp_path: Path, data: bytes
) -> None:
    async with bench(tmp_path) as at:
        await at.make(png())
        pid = at.pid
        with pytest.raises(Invalid) as caught:
            await at.make(png(), data)
        assert (caught.value.code, caught.value.field) == ("pixels.unreadable", "frames.1")
        assert caught.value.hint
        await at.make(png())
        assert at.pid == pid
        assert at.spooled() == []


@pytest.mark.parametrize("size", [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (4_000_001, 1)])
async def test_a_huge_canvas_is_refused_before_anything_of_it_is_decoded(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with bench(tmp_path) as at:
        with pytest.raises(TooLarge, match=f"{size[0]} x {size[1]}") as caught:
            await at.make(claiming(*size))
        assert caught.value.code == "pixels.too_large"
        assert caught.value.field == "frames.0"
        await at.make(png())


@linux
async def test_memory_that_runs_out_is_said_and_the_child_lives_on(tmp_path: Path) -> None:
    huge = encoded(np.zeros((9000, 9000), np.uint8))
    async with bench(tmp_path, memory_bytes=256 * MIB, max_pixels=100_000_000) as at:
        await at.make(png())
        pid = at.pid
        with pytest.raises(Failed) as caught:
            await at.make(huge)
        assert caught.value.code == "pixels.out_of_memory"
        assert "pixels.memory_bytes" in str(caught.value.hint)
        await at.make(png())
        assert at.pid == pid


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("L", (90, 90, 90, 255)),
        ("LA", (90, 90, 90, 255)),
        ("P", (90, 90, 90, 255)),
        ("1", (255, 255, 255, 255)),
        ("RGB", (90, 90, 90, 255)),
    ],
)
async def test_pictures_of_every_mode_are_taken(tmp_path: Path, mode: str, expected: tuple[int, ...]) -> None:
    out = io.BytesIO()
    grey = Image.new("L", (8, 8), 90 if mode != "1" else 255)
    grey.convert(mode).save(out, "PNG")
    async with bench(tmp_path) as at:
        (made,) = await at.make(out.getvalue(), recipe=Recipe(width=2, height=2, colors=4))
        assert made.palette == (expected[:3],)


async def test_a_jpeg_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), (9, 9, 9)).save(out, "JPEG", exif=exif)
    async with bench(tmp_path) as at:
        (made,) = await at.make(out.getvalue(), recipe=Recipe(width=10, colors=4))
        assert (made.width, made.height) == (10, 20)


async def test_of_an_animation_the_first_frame_is_taken_and_that_is_said(tmp_path: Path) -> None:
    out = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), (n * 50, 0, 0)) for n in range(3)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    async with bench(tmp_path) as at:
        (made,) = await at.make(out.getvalue(), recipe=Recipe(width=4, height=4))
        assert any("3 frames" in note for note in made.notes)


async def test_a_recipe_that_cannot_be_is_refused_by_its_field(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        for recipe, field in (
            (Recipe(colors=300), "colors"),
            (Recipe(width=0), "width"),
            (Recipe(palette=()), "palette"),
        ):
            with pytest.raises(Invalid) as caught:
                await at.make(png(), recipe=recipe)
            assert (caught.value.code, caught.value.field) == ("pixels.invalid", field)


@pytest.mark.parametrize("count", [0, 257])
async def test_no_picture_and_257_of_them_are_refused_without_a_child(tmp_path: Path, count: int) -> None:
    async with bench(tmp_path) as at:
        with pytest.raises(Invalid, match=str(count)):
            await at.make(*[b"x"] * count)
        assert not at.workshop.warm


async def test_stopping_ends_the_work_between_two_frames_and_the_child_goes_on(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await at.make(png())
        pid, stop = at.pid, StopToken()
        large = png(1024)
        working = asyncio.ensure_future(at.make(*[large] * 200, stop=stop))
        await until(lambda: len(at.spooled()) >= 200)
        stop.stop(StopReason.CANCELLED)
        with pytest.raises(Cancelled) as caught:
            await working
        assert caught.value.code == "pixels.cancelled"
        assert at.spooled() == []
        await at.make(png())
        assert at.pid == pid


@linux
async def test_a_child_that_does_not_stop_is_ended_and_the_next_request_has_another(tmp_path: Path) -> None:
    async with bench(tmp_path, cancel_grace_s=0.2, stop_grace_s=0.2) as at:
        await at.make(png())
        pid, stop = at.pid, StopToken()
        await halt(pid)
        working = asyncio.ensure_future(at.make(png(), stop=stop))
        await until(lambda: len(at.spooled()) == 1)
        stop.stop(StopReason.CLIENT_GONE)
        with pytest.raises(Cancelled):
            await working
        assert is_gone(pid)
        await at.make(png())
        assert at.pid != pid


@linux
async def test_a_child_that_dies_fails_the_work_in_hand_and_nothing_else(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await at.make(png())
        pid = at.pid
        await halt(pid)
        working = asyncio.ensure_future(at.make(png()))
        waiting = asyncio.ensure_future(at.make(png(seed=3), person=GUEST))
        await until(lambda: len(at.spooled()) == 1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ChildFailed, match="while it made sprites"):
            await working
        assert len(await waiting) == 1
        assert at.pid != pid


@linux
async def test_a_child_that_died_while_nobody_needed_it_is_replaced_unnoticed(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await at.make(png())
        os.kill(at.pid, signal.SIGKILL)
        await until(lambda: not at.workshop.warm)
        assert len(await at.make(png())) == 1


@pytest.mark.parametrize("written", [1, 100], ids=["while its files are written", "after that"])
async def test_a_task_that_is_cancelled_leaves_no_file_and_a_child_that_works(
    tmp_path: Path, written: int
) -> None:
    async with bench(tmp_path) as at:
        await at.make(png())
        working = asyncio.ensure_future(at.make(*[png(1024)] * 100))
        await until(lambda: len(at.spooled()) >= written)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert at.spooled() == []
        assert len(await at.make(png())) == 1


async def test_many_at_once_are_all_served_by_one_child(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        people = [PersonId(f"person {n % 3}") for n in range(9)]
        made = await asyncio.gather(*[at.make(png(seed=n), person=who) for n, who in enumerate(people)])
        assert [len(one) for one in made] == [1] * 9
        assert len(list(tmp_path.glob("*"))) == 1


async def test_an_idle_child_is_ended_and_the_next_request_starts_another(tmp_path: Path) -> None:
    async with bench(tmp_path, keep_warm_s=0.01) as at:
        await at.make(png())
        await until(lambda: not at.workshop.warm and list(tmp_path.glob("*")) == [])
        assert at.workshop.pids == frozenset()
        assert len(await at.make(png())) == 1


async def test_requests_that_come_while_an_idle_child_ends_are_served(tmp_path: Path) -> None:
    async with bench(tmp_path, keep_warm_s=0) as at:
        for seed in range(3):
            await at.make(png(seed=seed))
            await asyncio.sleep(0)


async def test_closing_ends_the_child_fails_what_is_in_hand_and_refuses_what_comes(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await at.make(png())
        pid = at.pid
        working = asyncio.ensure_future(at.make(*[png(1024)] * 100))
        waiting = asyncio.ensure_future(at.make(png(), person=GUEST))
        await until(lambda: len(at.spooled()) >= 100)
        await at.workshop.close()
        with pytest.raises(ChildFailed):
            await working
        for late in (waiting, at.make(png())):
            with pytest.raises(Unavailable):
                await late
        assert is_gone(pid)


async def test_an_empty_sprite_and_one_of_a_single_pixel_are_sprites(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        (empty,) = await at.make(png(alpha=0), recipe=Recipe(width=4, height=4, trim=True))
        assert (empty.width, empty.proof.colors, empty.palette) == (4, 0, ())
        (one,) = await at.make(png(1), recipe=Recipe(width=1, height=1, colors=1, alpha=Alpha.OPAQUE))
        assert (one.width, one.height, one.proof.alphas) == (1, 1, (255,))
        with Image.open(io.BytesIO(empty.png)) as opened:
            assert np.asarray(opened.convert("RGBA")).any() == np.False_


async def test_a_plain_background_is_cut_out_without_a_matte(tmp_path: Path) -> None:
    rgb = np.full((64, 64, 3), 200, np.uint8)
    rgb[20:44, 20:44] = (200, 30, 30)
    async with bench(tmp_path) as at:
        (made,) = await at.make(encoded(rgb), recipe=replace(SMALL, background=Background.BORDER))
        assert made.proof.alphas == (0, 255)


async def test_sprites_are_written_as_a_file(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        made = await at.make(png(seed=1), png(seed=2), whole=True)
        order = WriteOrder(format="gif", durations_ms=(120, 40), palette=made[0].palette)
        written = await at.workshop.write([one.png for one in made], order, person=OWNER, stop=StopToken())
        assert (written.media_type, written.suffix) == ("image/gif", ".gif")
        with Image.open(io.BytesIO(written.data)) as opened:
            assert (opened.n_frames, opened.size) == (2, (16, 16))  # type: ignore[attr-defined]
        assert at.spooled() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
async def test_a_full_disk_fails_what_was_asked_in_words_and_nothing_after_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        (made,) = await at.make(png())
        (folder,) = tmp_path.iterdir()
        (folder / "pixels-2-0-sprite.png").symlink_to("/dev/full")
        with pytest.raises(Failed, match="no room on the disk") as caught:
            await at.make(png())
        assert (caught.value.code, caught.value.hint) == ("store.disk_full", "free some space there")
        (folder / "pixels-3-written.gif").symlink_to("/dev/full")
        order = WriteOrder(format="gif")
        with pytest.raises(Failed, match="no room on the disk") as caught:
            await at.workshop.write([made.png], order, person=OWNER, stop=StopToken())
        assert caught.value.code == "store.disk_full"
        assert at.spooled() == []
        assert await at.make(png())


async def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        made = await at.make(png(seed=1), png(seed=2))
        for order in (WriteOrder(format="png"), WriteOrder(format="gif", durations_ms=(1,))):
            with pytest.raises(Invalid) as caught:
                await at.workshop.write([one.png for one in made], order, person=OWNER, stop=StopToken())
            assert caught.value.field
        with pytest.raises(Invalid) as caught:
            await at.workshop.write([b"no png"], WriteOrder(format="png"), person=OWNER, stop=StopToken())
        assert (caught.value.code, caught.value.field) == ("pixels.unreadable", "frames.0")
