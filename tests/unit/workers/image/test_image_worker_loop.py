# SPDX-License-Identifier: Apache-2.0
"""The main thread's loop, over a scripted wire: what is answered, and with which status it ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.workers.image.bench import Bench, a_draw

from inglenook.base.clock import SystemClock
from inglenook.wire.channel import PeerGone
from inglenook.wire.image import Draw, DrawFailed, Drawn, Loaded, LoadFailed, LoadImageModel, Shutdown
from inglenook.wire.message import Message
from inglenook.workers.image.device import Device
from inglenook.workers.image.errors import LoadCorrupt
from inglenook.workers.image.families.family import Family
from inglenook.workers.image.inbox import EXIT_DONE, EXIT_LOAD_FAILED, EXIT_PEER_GONE
from inglenook.workers.image.worker import Worker

Load = Callable[[LoadImageModel, Device], Family]


class ScriptedInbox:
    """Gives these pieces of work in turn."""

    def __init__(self, *work: Message) -> None:
        self._work = list(work)

    def next(self) -> Message:
        return self._work.pop(0)

    def loaded(self) -> None: ...

    def finished(self) -> None: ...

    def should_stop(self) -> bool:
        return False


class Recorder:
    """The server's end; `closed` makes it one that has gone."""

    def __init__(self, *, closed: bool = False) -> None:
        self.said: list[Message] = []
        self._closed = closed

    def send(self, message: Message) -> None:
        if self._closed:
            raise PeerGone("gone")
        self.said.append(message)


def a_load(spool: Path) -> LoadImageModel:
    return LoadImageModel(
        path="m", layout="folder", family="sd1", device="cpu", dtype="float32", spool=str(spool)
    )


def run(load: Load, *work: Message, closed: bool = False) -> tuple[int, list[Message]]:
    channel = Recorder(closed=closed)
    inbox: Any = ScriptedInbox(*work)
    return Worker(channel=channel, inbox=inbox, load=load, clock=SystemClock()).run(), channel.said


def failing(error: Exception) -> Load:
    def load(request: LoadImageModel, device: Device) -> Family:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "code", "fact"),
    [
        (LoadCorrupt("cut short", hint="fetch it again"), "load.corrupt", "hint: fetch it again"),
        (ValueError("odd"), "load.unsupported", "ValueError: odd"),
        (torch.OutOfMemoryError("Tried to allocate 3.00 GiB."), "load.out_of_memory", "3.00 GiB"),
        (MemoryError(), "load.out_of_memory", "Memory ran out"),
    ],
)
def test_whatever_loading_raises_becomes_words(
    tmp_path: Path, error: Exception, code: str, fact: str
) -> None:
    status, (answer,) = run(failing(error), a_load(tmp_path))
    assert isinstance(answer, LoadFailed)
    assert (status, answer.code) == (EXIT_LOAD_FAILED, code)
    assert fact in answer.message
    assert (answer.out_of_memory is not None) == (code == "load.out_of_memory")


def test_a_device_that_is_not_there_fails_the_load(tmp_path: Path, benches: dict[str, Bench]) -> None:
    request = a_load(tmp_path)
    odd = LoadImageModel(
        **{**{f: getattr(request, f) for f in request.__struct_fields__}, "device": "warp:9"}
    )
    status, (answer,) = run(lambda given, device: benches["sd1"].family, odd)
    assert isinstance(answer, LoadFailed)
    assert (status, "warp" in answer.message) == (EXIT_LOAD_FAILED, True)


def test_draws_are_answered_one_after_another_until_the_shutdown(benches: dict[str, Bench]) -> None:
    one = benches["sd1"]
    work = (
        a_load(one.spool),
        a_draw(job="a"),
        a_draw(job="b", scheduler="none such"),
        a_draw(job="c"),
        Shutdown(),
    )
    status, said = run(lambda request, device: one.family, *work)
    assert status == EXIT_DONE
    assert isinstance(said[0], Loaded)
    assert said[0].weights_bytes > 2**20
    last_words = [(type(m), m.job) for m in said if isinstance(m, Drawn | DrawFailed)]
    assert last_words == [(Drawn, "a"), (DrawFailed, "b"), (Drawn, "c")]


def test_an_unforeseen_error_fails_its_draw_and_no_other(benches: dict[str, Bench], tmp_path: Path) -> None:
    one = benches["sd1"]

    class Breaking:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(one.family, name)

        def decode(self, latents: torch.Tensor) -> Any:
            self.calls += 1
            if self.calls == 1:
                raise ZeroDivisionError("a library's own trouble")
            return one.family.decode(latents)

    breaking: Any = Breaking()
    work = (a_load(one.spool), a_draw(job="a"), a_draw(job="b"), Shutdown())
    _, said = run(lambda request, device: breaking, *work)
    failed, drawn = (m for m in said if isinstance(m, Drawn | DrawFailed))
    assert isinstance(failed, DrawFailed)
    assert (failed.code, failed.message) == ("draw.failed", "ZeroDivisionError: a library's own trouble")
    assert drawn == Drawn(job="b", seconds=drawn.seconds, saving=0)


def test_a_shutdown_before_any_load_ends_at_once() -> None:
    assert run(failing(ValueError()), Shutdown()) == (EXIT_DONE, [])


def test_a_server_that_has_gone_ends_the_loop(benches: dict[str, Bench], tmp_path: Path) -> None:
    status, _ = run(lambda request, device: benches["sd1"].family, a_load(tmp_path), closed=True)
    assert status == EXIT_PEER_GONE


def test_a_draw_is_never_begun_without_a_model(benches: dict[str, Bench]) -> None:
    work: Draw = a_draw()
    assert run(failing(ValueError()), work) == (EXIT_DONE, [])
