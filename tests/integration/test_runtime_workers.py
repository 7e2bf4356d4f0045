# SPDX-License-Identifier: Apache-2.0
"""Real worker processes that misbehave, spoken to over the real wire by the engine that ships."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.processes import descriptors, is_gone, linux, printed, survivors

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Failed
from inglenook.base.ids import ModelId
from inglenook.engines.diffusers import DiffusersEngine, ImageChild
from inglenook.runtime.contracts import ChildFailed, LoadPlan, OutOfMemoryEvidence
from inglenook.testing.child import PICTURE, Behaviour
from inglenook.testing.devices import fake_device
from inglenook.wire.image import Draw, DrawCancelled, DrawFailed, Drawn, PictureMade, Progress
from inglenook.wire.message import Message

CPU = fake_device("cpu", 10**9)
WAIT_S = 60.0
BRIEF_S = 0.3
"""Where it is sure that the time passes in vain. A worker that is well may need longer on a busy machine: to
heed a cancel, and to be gone after it has closed its wire."""


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 3 * WAIT_S))


def engine_at(
    spool_root: Path, behaviour: Behaviour = Behaviour.NORMAL, stop_grace_s: float | None = None
) -> DiffusersEngine:
    """The engine that ships, with the scripted worker in the place of the image worker."""
    if stop_grace_s is None:
        stop_grace_s = BRIEF_S if behaviour is Behaviour.CLOSES_WIRE else WAIT_S
    return DiffusersEngine(
        spool_root=spool_root,
        start_timeout_s=WAIT_S,
        cancel_grace_s=BRIEF_S if behaviour is Behaviour.IGNORES_CANCEL else WAIT_S,
        stop_grace_s=stop_grace_s,
        cpu_threads=1,
        module="inglenook.testing.child",
    )


@asynccontextmanager
async def child_of(
    spool_root: Path, behaviour: Behaviour, stop_grace_s: float | None = None
) -> AsyncIterator[ImageChild]:
    """A child before it was asked to load; at the end nothing of it is left."""
    options = {"path": f"/nowhere/{behaviour}", "layout": "folder", "family": "sd1"}
    plan = LoadPlan(ModelId("m"), "diffusers", {"cpu": 1}, options=options)
    child = await engine_at(spool_root, behaviour, stop_grace_s).start(plan, CPU)
    try:
        yield child
    finally:
        await child.stop(BRIEF_S)
        await child.discard()
        assert list(spool_root.iterdir()) == []
        assert all(is_gone(pid) for pid in child.pids)


@asynccontextmanager
async def ready_child(spool_root: Path, behaviour: Behaviour) -> AsyncIterator[ImageChild]:
    async with child_of(spool_root, behaviour) as child:
        await child.ready()
        yield child


class Heard:
    """What was told of a drawing."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.first = asyncio.Event()

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)
        self.first.set()


def draw_of(job: str, *, prompt: str = "a fox", pictures: int = 1) -> Draw:
    seeds = tuple(range(pictures))
    return Draw(job=job, prompt=prompt, width=8, height=8, steps=3, guidance_scale=1.0, seeds=seeds)


def test_a_drawing_is_told_step_by_step_and_ends_with_its_last_word(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.NORMAL) as child:
            heard = Heard()
            last = await child.draw(draw_of("j1", pictures=2), stop=StopToken(), tell=heard)
            assert isinstance(last, Drawn)
            steps = [m.step for m in heard.messages if isinstance(m, Progress)]
            made = [m for m in heard.messages if isinstance(m, PictureMade)]
            assert steps == [1, 2, 3]
            assert [(child.spool / m.file).read_bytes() for m in made] == [PICTURE, PICTURE]

    run(main())


def test_a_drawing_that_fails_harms_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.NORMAL) as child:
            failed = await child.draw(draw_of("j1", prompt="fail"), stop=StopToken(), tell=Heard())
            assert isinstance(failed, DrawFailed)
            assert isinstance(await child.draw(draw_of("j2"), stop=StopToken(), tell=Heard()), Drawn)

    run(main())


def test_a_stop_ends_a_drawing_within_a_step_and_the_next_one_works(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.DRAWS_FOR_EVER) as child:
            for job in ("j1", "j2"):
                heard, stop = Heard(), StopToken()
                drawing = asyncio.create_task(child.draw(draw_of(job), stop=stop, tell=heard))
                await heard.first.wait()
                stop.stop(StopReason.CANCELLED)
                assert await drawing == DrawCancelled(job=job, picture=0, step=2)
            assert child.alive

    run(main())


def test_a_cancelled_call_stops_the_drawing_too_and_the_next_one_works(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.DRAWS_FOR_EVER) as child:
            heard = Heard()
            drawing = asyncio.create_task(child.draw(draw_of("j1"), stop=StopToken(), tell=heard))
            await heard.first.wait()
            drawing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await drawing
            assert child.alive
            again, stop = Heard(), StopToken()
            drawing = asyncio.create_task(child.draw(draw_of("j2"), stop=stop, tell=again))
            await again.first.wait()
            stop.stop(StopReason.CANCELLED)
            assert await drawing == DrawCancelled(job="j2", picture=0, step=2)

    run(main())


def test_a_call_that_is_cancelled_twice_does_not_confuse_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.DRAWS_FOR_EVER) as child:
            heard = Heard()
            drawing = asyncio.create_task(child.draw(draw_of("j1"), stop=StopToken(), tell=heard))
            await heard.first.wait()
            drawing.cancel()
            await asyncio.sleep(0)
            drawing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await drawing
            again, stop = Heard(), StopToken()
            drawing = asyncio.create_task(child.draw(draw_of("j2"), stop=stop, tell=again))
            await again.first.wait()
            stop.stop(StopReason.CANCELLED)
            assert await drawing == DrawCancelled(job="j2", picture=0, step=2)
            assert {m.job for m in again.messages if isinstance(m, Progress)} == {"j2"}

    run(main())


def test_a_worker_that_ignores_a_cancel_is_ended(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.IGNORES_CANCEL) as child:
            heard, stop = Heard(), StopToken()
            drawing = asyncio.create_task(child.draw(draw_of("j1"), stop=stop, tell=heard))
            await heard.first.wait()
            stop.stop(StopReason.CANCELLED)
            assert await drawing == DrawCancelled(job="j1", picture=-1, step=-1)
            assert not child.alive
            assert await child.exited() is None

    run(main())


@pytest.mark.parametrize("behaviour", [Behaviour.NORMAL, Behaviour.DRAWS_FOR_EVER])
def test_a_listener_that_raises_fails_its_own_drawing_and_no_other(
    behaviour: Behaviour, tmp_path: Path
) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, behaviour) as child:

            async def deaf(_message: Message) -> None:
                raise Failed("the disk is full")

            with pytest.raises(Failed, match="disk is full"):
                await child.draw(draw_of("j1"), stop=StopToken(), tell=deaf)
            assert child.alive
            heard, stop = Heard(), StopToken()
            drawing = asyncio.create_task(child.draw(draw_of("j2"), stop=stop, tell=heard))
            await heard.first.wait()
            stop.stop(StopReason.CANCELLED)
            assert isinstance(await drawing, Drawn | DrawCancelled)

    run(main())


def test_a_listener_that_raises_at_a_worker_that_does_not_stop_is_still_heard(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.IGNORES_CANCEL) as child:

            async def deaf(_message: Message) -> None:
                raise Failed("the disk is full")

            with pytest.raises(Failed, match="disk is full"):
                await child.draw(draw_of("j1"), stop=StopToken(), tell=deaf)
            assert not child.alive

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [
        (Behaviour.CRASHES, "child.killed", ("signal 11 (SIGSEGV) while it drew",)),
        (Behaviour.DIES_IN_MID_LINE, "child.killed", ("signal 11 (SIGSEGV) while it drew",)),
        (Behaviour.CLOSES_WIRE, "child.wire_closed", ("closed its wire while it drew", "it was ended")),
        (Behaviour.TALKS_NONSENSE, "wire.malformed", ("was ended while it drew", "surprise")),
    ],
)
def test_a_death_at_work_is_told_to_the_one_who_worked_and_to_the_scheduler_alike(
    behaviour: Behaviour, code: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, behaviour) as child:
            exited = asyncio.create_task(child.exited())
            with pytest.raises(ChildFailed) as failed:
                await child.draw(draw_of("j1"), stop=StopToken(), tell=Heard())
            assert not child.alive, "it must not be handed to the next"
            assert failed.value.code == code
            for word in words:
                assert word in failed.value.message
            assert "memory" not in failed.value.message
            assert await exited == failed.value.failure

    run(main())


@linux
def test_a_child_that_has_closed_its_wire_counts_as_dead_before_it_is(tmp_path: Path) -> None:
    """It gets a while to end by itself, here a long one; in that while it must not be handed to anybody."""

    async def main() -> None:
        async with child_of(tmp_path, Behaviour.CLOSES_WIRE, stop_grace_s=2 * WAIT_S) as child:
            await child.ready()
            (pid,) = child.pids
            drawing = asyncio.create_task(child.draw(draw_of("j1"), stop=StopToken(), tell=Heard()))
            async with asyncio.timeout(WAIT_S):
                while child.alive:
                    await asyncio.sleep(0)
            assert not is_gone(pid)
            await child.stop(0.3)
            with pytest.raises(ChildFailed):
                await drawing

    run(main())


def test_a_picture_that_was_finished_before_a_crash_is_still_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.FINISHES_THEN_CRASHES) as child:
            heard = Heard()
            with pytest.raises(ChildFailed):
                await child.draw(draw_of("j1"), stop=StopToken(), tell=heard)
            await child.exited()
            (made,) = heard.messages
            assert isinstance(made, PictureMade)
            assert (child.spool / made.file).read_bytes() == PICTURE

    run(main())


def test_out_of_memory_while_loading_comes_with_the_allocators_numbers(tmp_path: Path) -> None:
    async def main() -> None:
        async with child_of(tmp_path, Behaviour.OUT_OF_MEMORY) as child:
            with pytest.raises(ChildFailed) as failed:
                await child.ready()
            evidence = OutOfMemoryEvidence("the allocator's error", 3_000, 1_000, 8_000)
            assert failed.value.failure.out_of_memory == evidence
            assert failed.value.code == "load.out_of_memory"

    run(main())


def test_a_worker_of_another_protocol_is_refused_with_both_numbers(tmp_path: Path) -> None:
    """Not by the model's path: this one never hears what it should load."""

    async def main() -> None:
        from inglenook.testing.engines import ScriptedEngine

        engine = ScriptedEngine(spool_root=tmp_path)
        options = {"behaviour": Behaviour.WRONG_PROTOCOL}
        child = await engine.start(LoadPlan(ModelId("m"), "scripted", {"cpu": 1}, options=options), CPU)
        with pytest.raises(ChildFailed, match="speaks protocol 0, the server 1"):
            await child.ready()
        await child.stop(0.3)
        await child.discard()
        assert list(tmp_path.iterdir()) == []

    run(main())


def test_one_that_talks_much_and_in_long_lines_is_heard(tmp_path: Path) -> None:
    async def main() -> None:
        for behaviour, last in ((Behaviour.CHATTY, "line 999"), (Behaviour.LONG_LINE, "after the long line")):
            async with ready_child(tmp_path, behaviour) as child:
                async with asyncio.timeout(WAIT_S):
                    while last not in child.log():
                        await asyncio.sleep(0.005)
                assert len(child.log()) <= 200
                assert sum(map(len, child.log())) < 100_000

    run(main())


@linux
def test_a_grandchild_that_ignores_sigterm_goes_with_its_parent(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.GRANDCHILD) as child:
            grandchild = int((await printed(child, "grandchild")).split()[1])
            await child.stop(5.0)
            assert survivors([grandchild], WAIT_S) == []

    run(main())


@linux
def test_a_worker_with_an_escaped_grandchild_can_be_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready_child(tmp_path, Behaviour.ESCAPED_GRANDCHILD) as child:
            escaped = int((await printed(child, "grandchild")).split()[1])
            try:
                await child.stop(5.0)
                assert await child.exited() is None
            finally:
                os.kill(escaped, signal.SIGKILL)

    run(main())


@pytest.mark.slow
@linux
@pytest.mark.parametrize("behaviour", [Behaviour.NORMAL, Behaviour.REFUSES_TO_LOAD, Behaviour.EXIT_AT_START])
@pytest.mark.parametrize("times", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_loading_over_and_over_leaks_no_descriptor_and_no_folder(
    behaviour: Behaviour, times: int, tmp_path: Path
) -> None:
    async def main() -> tuple[int, int]:
        before = 0
        for number in range(times):
            async with child_of(tmp_path, behaviour) as child:
                await asyncio.gather(child.ready(), return_exceptions=True)
            if number == 1:
                before = descriptors()
        return before, descriptors()

    before, after = run(main()) if times < 50 else asyncio.run(asyncio.wait_for(main(), 250))
    assert after <= before


def test_the_address_falls_back_to_tcp_where_the_path_is_too_long(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 90)
    long.mkdir()

    async def main() -> None:
        async with ready_child(long, Behaviour.NORMAL) as child:
            assert isinstance(await child.draw(draw_of("j1"), stop=StopToken(), tell=Heard()), Drawn)

    run(main())


@linux
@pytest.mark.parametrize(
    ("device", "environment", "torch_device", "dtype", "threads"),
    [
        (
            "cuda:2",
            {"CUDA_VISIBLE_DEVICES": "2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
            "cuda:0",
            "float16",
            None,
        ),
        ("rocm:1", {"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0"}, "cuda:0", "float16", None),
        ("mps", {}, "mps", "float16", None),
        ("cpu", {"CUDA_VISIBLE_DEVICES": ""}, "cpu", "float32", 1),
    ],
)
def test_a_worker_sees_its_own_device_alone_and_loads_in_what_suits_it(
    device: str,
    environment: dict[str, str],
    torch_device: str,
    dtype: str,
    threads: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    async def main() -> tuple[dict[str, str], dict[str, Any]]:
        options = {"path": "/nowhere/normal", "layout": "folder", "family": "sd1"}
        plan = LoadPlan(ModelId("m"), "diffusers", {}, options=options)
        child = await engine_at(tmp_path).start(plan, fake_device(device, 1))
        await child.ready()
        (pid,) = child.pids
        environ = Path(f"/proc/{pid}/environ").read_text().split("\0")
        said = await printed(child, "load ")
        await child.stop(0.3)
        await child.discard()
        return dict(entry.split("=", 1) for entry in environ if "=" in entry), json.loads(said[5:])

    seen, load = run(main())
    assert {name: value for name, value in seen.items() if "DEVICE" in name} == environment
    assert (load["device"], load["dtype"], load.get("threads")) == (torch_device, dtype, threads)
    assert load["path"] == "/nowhere/normal"


def test_an_answer_to_the_load_that_is_none_is_a_failure(tmp_path: Path) -> None:
    async def main() -> None:
        async with child_of(tmp_path, Behaviour.ANSWERS_WRONGLY) as child:
            with pytest.raises(ChildFailed, match="answered its load with Drawn"):
                await child.ready()

    run(main())
