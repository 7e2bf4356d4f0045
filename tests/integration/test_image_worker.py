# SPDX-License-Identifier: Apache-2.0
"""The real image worker: a child process over the real wire, drawing with the starter model and tiny ones."""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.tiny_models import write_folder, write_single

import inglenook
from inglenook.wire.channel import Channel, Listener, PeerGone
from inglenook.wire.image import (
    Cancel,
    Draw,
    DrawCancelled,
    DrawFailed,
    Drawn,
    FromImageWorker,
    Loaded,
    LoadFailed,
    LoadImageModel,
    Notice,
    PictureMade,
    Progress,
    Shutdown,
)
from inglenook.wire.message import Message

STARTER = Path(inglenook.__file__).parent / "catalog" / "builtin" / "starter-339"
WAIT_S = 120

pytestmark = pytest.mark.slow  # each costs seconds; the everyday tests draw less

BUSYBODY = """
import socket, pathlib
connect = socket.socket.connect
def watched(self, address):
    if self.family != socket.AF_UNIX:
        with pathlib.Path(LOG).open("a") as log:
            log.write(f"{address}\\n")
    return connect(self, address)
socket.socket.connect = watched
pathlib.Path(LOG).touch()
"""


class LiveWorker:
    """A worker process and the server's end of its wire, one call at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.spool.mkdir(parents=True)
        self.connections = folder / "connections.log"
        self._loop = asyncio.new_event_loop()
        self._channel, self.process = self._run(self._start())

    def _run(self, work: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(work, WAIT_S))

    async def _start(self) -> tuple[Channel, asyncio.subprocess.Process]:
        site = self.folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(f"LOG = {str(self.connections)!r}\n{BUSYBODY}")
        listener = Listener(self.folder, FromImageWorker)
        await listener.open()
        with (self.folder / "log.txt").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "inglenook.workers.image",
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.folder),
                    "PYTHONPATH": str(site),
                    "OMP_NUM_THREADS": "1",
                    **listener.environment(),
                },
                stdout=log,
                stderr=log,
            )
        channel = await listener.accept()
        await listener.close()
        return channel, process

    def send(self, message: Message) -> None:
        self._run(self._channel.send(message))

    def receive(self) -> Message:
        return self._run(self._channel.receive())

    def load(self, path: Path, layout: Any = "folder", family: str = "sd1") -> Message:
        self.send(
            LoadImageModel(
                path=str(path),
                layout=layout,
                family=family,
                device="cpu",
                dtype="float32",
                threads=1,
                spool=str(self.spool),
            )
        )
        return self.receive()

    def until_last_word(self) -> list[Message]:
        said = [self.receive()]
        while not isinstance(said[-1], Drawn | DrawFailed | DrawCancelled):
            said.append(self.receive())
        return said

    def draw(self, **request: Any) -> list[Message]:
        self.send(a_draw(**request))
        return self.until_last_word()

    def hang_up(self) -> None:
        self._run(self._channel.close())

    def status(self) -> int:
        """Wait for the process to end."""
        return int(self._run(self.process.wait()))

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def picture(self, made: PictureMade) -> np.ndarray:
        return np.asarray(Image.open(self.spool / made.file)).astype(int)

    def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self._run(self.process.wait())
        self._run(self._channel.close())
        self._loop.close()


def a_draw(**request: Any) -> Draw:
    usual: dict[str, Any] = {
        "job": "job-1",
        "prompt": "a red fox",
        "width": 32,
        "height": 32,
        "steps": 14,
        "guidance_scale": 3.0,
        "seeds": (1,),
    }
    return Draw(**{**usual, **request})


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveWorker]:
    """One worker with the starter model, shared: every test leaves it ready for the next."""
    worker = LiveWorker(tmp_path_factory.mktemp("starter"))
    assert isinstance(worker.load(STARTER), Loaded)
    yield worker
    worker.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], LiveWorker]]:
    """Starts workers that are ended with the test."""
    started: list[LiveWorker] = []

    def one_more() -> LiveWorker:
        started.append(LiveWorker(tmp_path / f"worker{len(started)}"))
        return started[-1]

    yield one_more
    for worker in started:
        worker.end()


def test_hello_is_said_before_anything_heavy_is_imported() -> None:
    probe = (
        "import inglenook.workers.image.__main__, sys; "
        "print({'torch', 'diffusers', 'numpy', 'PIL'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_by_hand_it_says_how_it_is_started() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "inglenook.workers.image"], capture_output=True, text=True, env={}
    )
    assert ran.returncode == 2
    assert "inglenook serve" in ran.stderr


def test_the_starter_model_draws_what_it_is_told(starter: LiveWorker) -> None:
    """Colours can be measured: something stands on the white ground, and in it the asked-for colour rules."""
    for prompt, channel in (("a red fox", 0), ("a blue cat", 2), ("a green horse", 1)):
        said = starter.draw(prompt=prompt, seeds=(1, 2), preview_every=7)
        assert isinstance(said[-1], Drawn)
        made = [message for message in said if isinstance(message, PictureMade)]
        assert [m.seed for m in made] == [1, 2]
        for m in made:
            pixels = starter.picture(m)
            assert pixels.shape == (32, 32, 3)
            thing = pixels[pixels.min(axis=2) < 200]
            assert len(thing) > 150, "there is something on the white ground"
            assert thing.mean(axis=0).argmax() == channel
        previews = [m.preview for m in said if isinstance(m, Progress) and m.preview]
        assert len(previews) == 4
        assert all((starter.spool / name).is_file() for name in previews)


def test_a_picture_file_is_plain_and_whole(starter: LiveWorker) -> None:
    (made,) = [m for m in starter.draw() if isinstance(m, PictureMade)]
    with Image.open(starter.spool / made.file) as picture:
        assert (picture.format, picture.mode, picture.size, picture.info) == ("PNG", "RGB", (32, 32), {})
    assert not list(starter.spool.glob(".*"))


def test_a_cancel_in_mid_picture_takes_effect_within_one_step(starter: LiveWorker) -> None:
    starter.send(a_draw(job="long", width=192, height=192, steps=200))
    while not (isinstance(message := starter.receive(), Progress) and message.step == 3):
        pass
    starter.send(Cancel(job="long"))
    said = starter.until_last_word()
    last = said[-1]
    assert isinstance(last, DrawCancelled)
    assert last.job == "long"
    assert last.step <= 3 + 2, "the step that was running when the cancel came, and no other"
    assert len(said) == last.step - 3, "one Progress for each step that was finished meanwhile"
    assert isinstance(starter.draw()[-1], Drawn)


def test_a_cancel_of_a_job_that_is_over_does_nothing(starter: LiveWorker) -> None:
    starter.send(Cancel(job="job-1"))
    assert isinstance(starter.draw()[-1], Drawn)


def test_an_error_in_a_draw_fails_that_draw_only(starter: LiveWorker) -> None:
    away = starter.spool.with_name("away")
    starter.spool.rename(away)
    last = starter.draw()[-1]
    away.rename(starter.spool)
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.failed"
    assert "FileNotFoundError" in last.message
    assert isinstance(starter.draw()[-1], Drawn)


def test_what_the_model_cannot_do_is_refused_and_the_next_draw_works(starter: LiveWorker) -> None:
    last = starter.draw(scheduler="ddim")[-1]
    assert isinstance(last, DrawFailed)
    assert (last.code, "unipc" in last.message) == ("draw.invalid", True)
    assert isinstance(starter.draw(scheduler="unipc")[-1], Drawn)


def test_a_picture_can_be_painted_over_in_part(starter: LiveWorker) -> None:
    (fox,) = [m for m in starter.draw() if isinstance(m, PictureMade)]
    mask = np.zeros((32, 32), np.uint8)
    mask[:16] = 255
    Image.fromarray(mask).save(starter.spool / "mask.png")
    said = starter.draw(prompt="a blue cat", mode="inpaint", image=fox.file, mask="mask.png")
    (made,) = [m for m in said if isinstance(m, PictureMade)]
    before, after = starter.picture(fox), starter.picture(made)
    assert np.abs(before - after)[16:].max() <= 1, "the starter's VAE changes nothing by itself"
    assert np.abs(before - after)[:16].max() > 50


def test_no_prompt_is_logged_and_nothing_is_asked_of_a_network(starter: LiveWorker) -> None:
    starter.draw(prompt="a very private wish " * 50)
    assert "private" not in starter.log()
    assert starter.connections.read_text() == "", "a file: it was watched; empty: nothing was asked"


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can limit another process's memory")
def test_real_memory_exhaustion_is_retried_and_reported_with_the_allocators_figures(
    start: Callable[[], LiveWorker], tmp_path: Path
) -> None:
    worker = start()
    assert isinstance(worker.load(write_folder("sd1", tmp_path / "tiny")), Loaded)
    # Drawn once without a limit: the kernels for these shapes are compiled then, and under the limit it is
    # the tensors, tens of megabytes each, that do not fit.
    large: dict[str, Any] = {"width": 512, "height": 512, "steps": 1, "guidance_scale": 1.0}
    assert isinstance(worker.draw(**large)[-1], Drawn)
    in_use = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    limit, none = in_use + 16 * 2**20, resource.RLIM_INFINITY
    resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (limit, none))
    said = worker.draw(**large)
    resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (none, none))
    last = said[-1]
    assert [m.text for m in said if isinstance(m, Notice) and "saving level 1" in m.text], last
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.out_of_memory"
    assert last.out_of_memory is not None
    assert last.out_of_memory.requested_bytes is not None
    assert last.out_of_memory.requested_bytes > 2**20
    assert isinstance(worker.draw(width=64, height=64, steps=2)[-1], Drawn)


@pytest.mark.parametrize("busy", [False, True])
def test_a_shutdown_ends_with_status_0(start: Callable[[], LiveWorker], busy: bool) -> None:
    worker = start()
    worker.load(STARTER)
    if busy:
        worker.send(a_draw(width=192, height=192, steps=200))
        assert isinstance(worker.receive(), Progress)
    worker.send(Shutdown())
    if busy:
        assert isinstance(worker.until_last_word()[-1], DrawCancelled)
    assert worker.status() == 0


@pytest.mark.parametrize("moment", ["before loading", "idle", "in mid-picture"])
def test_it_ends_when_the_server_is_gone(start: Callable[[], LiveWorker], moment: str) -> None:
    worker = start()
    if moment != "before loading":
        worker.load(STARTER)
    if moment == "in mid-picture":
        worker.send(a_draw(width=192, height=192, steps=1000))
        assert isinstance(worker.receive(), Progress)
    worker.hang_up()
    assert worker.status() == 3


def test_a_truncated_file_fails_the_load_and_ends_the_worker(
    start: Callable[[], LiveWorker], tmp_path: Path
) -> None:
    path = write_single("sdxl", tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    worker = start()
    answer = worker.load(path, "single", "sdxl")
    assert isinstance(answer, LoadFailed)
    assert answer.code == "load.corrupt"
    with pytest.raises(PeerGone):
        worker.receive()
    assert worker.status() == 4


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_draws_without_any_configuration_beside_it(
    start: Callable[[], LiveWorker], tmp_path: Path, family: str
) -> None:
    worker = start()
    assert isinstance(worker.load(write_single(family, tmp_path / "m.safetensors"), "single", family), Loaded)
    said = worker.draw(width=64, height=96, steps=3, scheduler="dpm++_2m")
    (made,) = [m for m in said if isinstance(m, PictureMade)]
    assert worker.picture(made).shape == (96, 64, 3)
    assert worker.connections.read_text() == ""
