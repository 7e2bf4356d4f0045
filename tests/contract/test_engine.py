# SPDX-License-Identifier: Apache-2.0
"""What the scheduler relies on in every engine: the fake, those with scripted real children, those that start
our workers, and llama.cpp's."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.gguf_files import write_llama
from tests.integration.processes import halt, is_gone, linux, printed, survivors
from tests.onnx_files import write_colours
from tests.starters import SPEECH, installed

import inglenook
from inglenook.base.ids import ModelId
from inglenook.engines.diffusers import DiffusersEngine
from inglenook.engines.llamacpp.child import LlamaChild
from inglenook.engines.llamacpp.engine import LOG_LINES, LlamaEngine
from inglenook.engines.mlx import MlxEngine
from inglenook.engines.onnx import OnnxEngine
from inglenook.engines.sdcpp import SdcppEngine
from inglenook.engines.studio import StudioEngine
from inglenook.engines.whisper import WhisperEngine
from inglenook.runtime.contracts import Child, ChildFailed, Device, Engine, Failure, LoadPlan
from inglenook.runtime.worker_child import WorkerChild
from inglenook.testing import engines
from inglenook.testing.child import EXIT_AT_START, Behaviour
from inglenook.testing.devices import fake_device
from inglenook.testing.engines import FakeChild, FakeEngine, ScriptedEngine, ScriptedLlamaEngine, llama_plan
from inglenook.testing.llama import LlamaBehaviour
from inglenook.vision.preprocessing import Preprocessing, Resize
from inglenook.wire.llama import LoadLanguageModel

STARTER = Path(inglenook.__file__).parent / "catalog" / "builtin" / "starter-339"
CPU = fake_device("cpu", 10**9)
WAIT_S = 60.0
GRACE_S = 0.5


class Bench(Protocol):
    """One engine, and how its children are brought to what a test needs."""

    engine: Engine
    spool_root: Path | None
    has_processes: bool
    kept_lines: int

    async def normal(self) -> Child:
        """Becomes ready."""
        ...

    async def never_ready(self) -> Child: ...

    async def dies_at_start(self) -> Child: ...

    async def begun(self) -> Child:
        """Started, and not yet ready when this returns."""
        ...

    async def stubborn(self) -> tuple[Child, list[int]]:
        """Ready, ignores the polite request to go; with all processes that belong to it."""
        ...

    async def crash(self, child: Child) -> None:
        """End the child from outside."""
        ...


@dataclass
class FakeBench:
    engine: FakeEngine
    spool_root: Path | None = None
    has_processes: bool = False
    kept_lines: int = 200

    async def _start(self) -> FakeChild:
        return await self.engine.start(plan(), CPU)

    async def normal(self) -> Child:
        child = await self._start()
        child.print("loaded")
        child.load()
        return child

    async def never_ready(self) -> Child:
        child = await self._start()
        child.fail(Failure("child.never_ready", "m was not ready after 0.5 s."))
        return child

    async def dies_at_start(self) -> Child:
        child = await self._start()
        child.fail(engines.failed_to_load("m ended with status 3 while it was being loaded."))
        return child

    async def begun(self) -> Child:
        return await self._start()

    async def stubborn(self) -> tuple[Child, list[int]]:
        child = await self._start()
        child.load()
        child.stubborn = True
        asyncio.get_running_loop().call_later(GRACE_S, child.let_go)
        return child, []

    async def crash(self, child: Child) -> None:
        assert isinstance(child, FakeChild)
        child.crash(Failure("child.killed", "m was ended by signal 9 (SIGKILL) while it was idle."))


@dataclass
class ScriptedBench:
    spool_root: Path | None
    has_processes: bool = True
    kept_lines: int = 200

    def __post_init__(self) -> None:
        self.engine: Engine = self._with(WAIT_S)

    def _with(self, start_timeout_s: float) -> ScriptedEngine:
        assert self.spool_root is not None
        return ScriptedEngine(
            spool_root=self.spool_root, start_timeout_s=start_timeout_s, stop_grace_s=GRACE_S
        )

    async def _start(self, behaviour: Behaviour, start_timeout_s: float = WAIT_S) -> Child:
        return await self._with(start_timeout_s).start(plan(behaviour=behaviour), CPU)

    async def normal(self) -> Child:
        return await self._start(Behaviour.CHATTY)

    async def never_ready(self) -> Child:
        return await self._start(Behaviour.NEVER_READY, GRACE_S)

    async def dies_at_start(self) -> Child:
        return await self._start(Behaviour.EXIT_AT_START)

    async def begun(self) -> Child:
        return await self._start(Behaviour.SLOW_START)

    async def stubborn(self) -> tuple[Child, list[int]]:
        child = await self._start(Behaviour.GRANDCHILD)
        await child.ready()
        grandchild = int((await printed(child, "grandchild")).split()[1])
        (pid,) = child.pids
        await halt(pid)
        return child, [pid, grandchild]

    async def crash(self, child: Child) -> None:
        (pid,) = child.pids
        os.kill(pid, signal.SIGKILL)


@dataclass
class WorkerBench:
    """What the benches of our own workers have in common."""

    spool_root: Path | None
    has_processes: bool = True
    kept_lines: int = 200

    def __post_init__(self) -> None:
        self.engine: Engine = self.engine_with(WAIT_S)

    def engine_with(self, start_timeout_s: float) -> Engine:
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Of a plan that loads."""
        raise NotImplementedError

    async def _start(self, start_timeout_s: float = WAIT_S, **changes: Any) -> Child:
        return await self.engine_with(start_timeout_s).start(plan(**self.options() | changes), CPU)

    async def normal(self) -> Child:
        return await self._start()

    async def never_ready(self) -> Child:
        return await self._start(start_timeout_s=0.05)

    async def dies_at_start(self) -> Child:
        return await self._start(path=str(STARTER / "nothing-here"))

    async def begun(self) -> Child:
        return await self._start()

    async def stubborn(self) -> tuple[Child, list[int]]:
        child = await self._start()
        await child.ready()
        (pid,) = child.pids
        await halt(pid)
        return child, [pid]

    async def crash(self, child: Child) -> None:
        (pid,) = child.pids
        os.kill(pid, signal.SIGKILL)


class DiffusersBench(WorkerBench):
    """The image worker itself, with the model that ships."""

    def engine_with(self, start_timeout_s: float) -> Engine:
        assert self.spool_root is not None
        return DiffusersEngine(
            spool_root=self.spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=5.0,
            stop_grace_s=GRACE_S,
            cpu_threads=1,
        )

    def options(self) -> dict[str, Any]:
        return {"path": str(STARTER), "layout": "folder", "family": "sd1"}


class MlxBench(WorkerBench):
    """The MLX worker itself, with the model that ships, converted."""

    def engine_with(self, start_timeout_s: float) -> Engine:
        assert self.spool_root is not None
        return MlxEngine(
            spool_root=self.spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=5.0,
            stop_grace_s=GRACE_S,
        )

    def options(self) -> dict[str, Any]:
        from tests.mlx_models import converted

        assert self.spool_root is not None
        folder = self.spool_root.with_name("starter")
        if not folder.exists():
            converted(STARTER, folder)
        return {"path": str(folder), "family": "sd1"}


class SdcppBench(WorkerBench):
    """The worker of stable-diffusion.cpp itself, with a file that loads and is not drawn with."""

    def engine_with(self, start_timeout_s: float) -> Engine:
        assert self.spool_root is not None
        return SdcppEngine(
            spool_root=self.spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=5.0,
            stop_grace_s=GRACE_S,
            cpu_threads=1,
        )

    def options(self) -> dict[str, Any]:
        from tests.ldm_files import write_flux_without_encoders

        assert self.spool_root is not None
        file = self.spool_root.with_name("flux.safetensors")
        if not file.exists():
            write_flux_without_encoders(file)
        return {"path": str(file), "family": "sd1"}


class WhisperBench(WorkerBench):
    """The speech worker itself, with the starter."""

    def engine_with(self, start_timeout_s: float) -> Engine:
        assert self.spool_root is not None
        return WhisperEngine(
            spool_root=self.spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=5.0,
            stop_grace_s=GRACE_S,
            cpu_threads=1,
        )

    def options(self) -> dict[str, Any]:
        return {"path": str(installed(SPEECH))}


class OnnxBench(WorkerBench):
    """The vision worker itself, with a model of nine numbers."""

    def engine_with(self, start_timeout_s: float) -> Engine:
        assert self.spool_root is not None
        return OnnxEngine(
            spool_root=self.spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=5.0,
            stop_grace_s=GRACE_S,
            cpu_threads=1,
        )

    def options(self) -> dict[str, Any]:
        assert self.spool_root is not None
        path = write_colours(self.spool_root.with_name("colours.onnx"))
        return {"model": vision_model(path)}

    async def dies_at_start(self) -> Child:
        return await self._start(model=vision_model(STARTER / "nothing-here"))


class StudioBench(WorkerBench):
    """The studio's worker itself; what it trains comes later."""

    module = "inglenook.workers.studio"

    def engine_with(self, start_timeout_s: float, module: str | None = None) -> Engine:
        assert self.spool_root is not None
        return StudioEngine(
            spool_root=self.spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=5.0,
            stop_grace_s=GRACE_S,
            cpu_threads=1,
            module=self.module if module is None else module,
        )

    def options(self) -> dict[str, Any]:
        return {}

    async def dies_at_start(self) -> Child:
        return await self.engine_with(WAIT_S, "inglenook.workers.nothing").start(plan(), CPU)


class ScriptedStudioBench(StudioBench):
    """The same with a worker that only plays."""

    module = "inglenook.testing.studio"


def vision_model(path: Path) -> dict[str, Any]:
    return {
        "path": str(path),
        "input": "image",
        "output": "scores",
        "layout": "NCHW",
        "dtype": "float32",
        "batch": 0,
        "scores": "logits",
        "preprocessing": Preprocessing(steps=(Resize(size=(8, 8)),)),
        "max_pixels": 10**6,
    }


@dataclass
class ScriptedLlamaBench:
    """llama.cpp's engine with children that have no weights."""

    spool_root: Path | None
    has_processes: bool = True
    kept_lines: int = LOG_LINES

    def __post_init__(self) -> None:
        self.engine: Engine = self._with(WAIT_S)

    def _with(self, start_timeout_s: float) -> ScriptedLlamaEngine:
        assert self.spool_root is not None
        return ScriptedLlamaEngine(
            spool_root=self.spool_root, start_timeout_s=start_timeout_s, stop_grace_s=GRACE_S
        )

    async def _start(self, behaviour: LlamaBehaviour, start_timeout_s: float = WAIT_S) -> Child:
        return await self._with(start_timeout_s).start(llama_plan(behaviour), CPU)

    async def normal(self) -> Child:
        return await self._start(LlamaBehaviour.CHATTY)

    async def never_ready(self) -> Child:
        return await self._start(LlamaBehaviour.NEVER_READY, GRACE_S)

    async def dies_at_start(self) -> Child:
        return await self._start(LlamaBehaviour.EXIT_AT_START)

    async def begun(self) -> Child:
        return await self._start(LlamaBehaviour.SLOW_START)

    async def stubborn(self) -> tuple[Child, list[int]]:
        return await stopped(await self._start(LlamaBehaviour.NORMAL))

    async def crash(self, child: Child) -> None:
        kill(child)


@dataclass
class LlamaBench:
    """llama.cpp itself, with a model of some 600 tokens that is made for this."""

    spool_root: Path | None
    has_processes: bool = True
    kept_lines: int = LOG_LINES

    def __post_init__(self) -> None:
        assert self.spool_root is not None
        self._model = write_llama(self.spool_root.with_name("tiny.gguf"))
        self.engine: Engine = self._with(WAIT_S)

    def _with(self, start_timeout_s: float) -> LlamaEngine:
        assert self.spool_root is not None
        return LlamaEngine(
            spool_root=self.spool_root,
            find=lambda: None,
            start_timeout_s=start_timeout_s,
            stop_grace_s=GRACE_S,
            threads=1,
        )

    async def _start(self, start_timeout_s: float = WAIT_S, **changes: Any) -> LlamaChild:
        load = LoadLanguageModel(**({"path": str(self._model), "alias": "m", "context": 256} | changes))
        return await self._with(start_timeout_s).start(plan(load=load), CPU)

    async def normal(self) -> Child:
        return await self._start()

    async def never_ready(self) -> Child:
        return await self._start(start_timeout_s=0.01)

    async def dies_at_start(self) -> Child:
        return await self._start(path="/nothing/here.gguf")

    async def begun(self) -> Child:
        return await self._start()

    async def stubborn(self) -> tuple[Child, list[int]]:
        return await stopped(await self._start())

    async def crash(self, child: Child) -> None:
        kill(child)


async def stopped(child: Child) -> tuple[Child, list[int]]:
    """Ready, and deaf to SIGTERM."""
    await child.ready()
    (pid,) = child.pids
    await halt(pid)
    return child, [pid]


def kill(child: Child) -> None:
    (pid,) = child.pids
    os.kill(pid, signal.SIGKILL)


def plan(**options: Any) -> LoadPlan:
    return LoadPlan(model=ModelId("m"), engine="any", footprint_bytes={"cpu": 10**8}, options=options)


@asynccontextmanager
async def bench_of(name: str, tmp_path: Path) -> AsyncIterator[Bench]:
    spool_root = tmp_path / "spool"
    made: Bench = {
        "fake": lambda: FakeBench(FakeEngine()),
        "scripted": lambda: ScriptedBench(spool_root),
        "diffusers": lambda: DiffusersBench(spool_root),
        "mlx": lambda: MlxBench(spool_root),
        "sdcpp": lambda: SdcppBench(spool_root),
        "scripted llama": lambda: ScriptedLlamaBench(spool_root),
        "llama.cpp": lambda: LlamaBench(spool_root),
        "faster-whisper": lambda: WhisperBench(spool_root),
        "onnxruntime": lambda: OnnxBench(spool_root),
        "studio": lambda: StudioBench(spool_root),
        "scripted studio": lambda: ScriptedStudioBench(spool_root),
    }[name]()
    yield made


Open = Callable[[], AbstractAsyncContextManager[Bench]]


@pytest.fixture(
    params=[
        "fake",
        "scripted",
        "scripted llama",
        "scripted studio",
        pytest.param("llama.cpp", marks=pytest.mark.slow),
        pytest.param("diffusers", marks=pytest.mark.slow),
        pytest.param("mlx", marks=pytest.mark.slow),
        pytest.param("sdcpp", marks=pytest.mark.slow),
        pytest.param("faster-whisper", marks=pytest.mark.slow),
        pytest.param("onnxruntime", marks=pytest.mark.slow),
        pytest.param("studio", marks=pytest.mark.slow),
    ]
)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return lambda: bench_of(request.param, tmp_path)


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 3 * WAIT_S))


async def end(bench: Bench, child: Child) -> None:
    await child.stop(GRACE_S)
    await child.discard()
    assert_nothing_left(bench)


def assert_nothing_left(bench: Bench) -> None:
    if bench.spool_root is not None:
        assert list(bench.spool_root.iterdir()) == []


async def pid_known(bench: Bench, child: Child) -> None:
    async with asyncio.timeout(WAIT_S):
        while bench.has_processes and not child.pids:
            await asyncio.sleep(0.005)


def test_a_child_gets_ready_works_on_and_goes_when_it_is_asked_to(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.normal()
            await child.ready()
            assert child.alive
            exited = asyncio.create_task(child.exited())
            await asyncio.sleep(0)
            assert not exited.done()
            receipt = await child.stop(GRACE_S)
            assert receipt.how in ("terminated", "killed")
            assert receipt.seconds >= 0
            assert await exited is None, "it was asked to go: nothing has failed"
            assert not child.alive
            await end(bench, child)

    run(main())


def test_its_processes_are_named_while_it_lives(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.normal()
            await child.ready()
            assert len(child.pids) >= 1
            assert not bench.has_processes or not any(is_gone(pid) for pid in child.pids)
            pids = child.pids
            await end(bench, child)
            assert not bench.has_processes or all(is_gone(pid) for pid in pids)

    run(main())


def test_its_last_lines_are_kept_also_after_its_end(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.normal()
            await child.ready()
            await end(bench, child)
            assert child.log()
            assert all(isinstance(line, str) for line in child.log())
            assert len(child.log()) <= bench.kept_lines

    run(main())


def test_a_stop_may_come_many_times_at_once_and_again(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.normal()
            await child.ready()
            receipts = await asyncio.gather(*(child.stop(GRACE_S) for _ in range(5)))
            assert {receipt.how for receipt in receipts} <= {"terminated", "killed", "exited"}
            await child.stop(GRACE_S)
            assert await child.exited() is None
            await child.discard()
            await end(bench, child)

    run(main())


def test_a_stop_during_start_is_honoured_and_leaves_no_child(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.begun()
            ready = asyncio.create_task(child.ready())
            await pid_known(bench, child)
            pids = child.pids
            await child.stop(GRACE_S)
            with pytest.raises(ChildFailed) as failed:
                await ready
            assert failed.value.code == "child.stopped"
            assert await child.exited() is None
            assert not bench.has_processes or all(is_gone(pid) for pid in pids)
            await end(bench, child)

    run(main())


def test_a_stop_in_the_first_moment_is_honoured_too(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.begun()
            await child.stop(GRACE_S)
            assert not child.alive
            with pytest.raises(ChildFailed):
                await child.ready()
            await end(bench, child)

    run(main())


def test_a_stop_after_its_death_changes_nothing(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.normal()
            await child.ready()
            await bench.crash(child)
            failure = await child.exited()
            assert failure is not None
            assert (await child.stop(GRACE_S)).how == "exited"
            await end(bench, child)

    run(main())


def test_a_death_that_nobody_asked_for_is_told_with_its_cause(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.normal()
            await child.ready()
            await bench.crash(child)
            failure = await child.exited()
            assert failure is not None
            assert failure.code == "child.killed"
            assert "SIGKILL" in failure.message
            assert "while it was idle" in failure.message
            assert "memory" not in failure.message, "nothing has said so"
            assert failure.out_of_memory is None
            assert not child.alive
            await end(bench, child)

    run(main())


def test_one_that_is_never_ready_is_given_up(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.never_ready()
            with pytest.raises(ChildFailed) as failed:
                await child.ready()
            assert failed.value.code == "child.never_ready"
            await end(bench, child)
            assert not bench.has_processes or survivors(list(child.pids), WAIT_S) == []

    run(main())


def test_one_that_cannot_load_says_why(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child = await bench.dies_at_start()
            with pytest.raises(ChildFailed) as failed:
                await child.ready()
            assert failed.value.failure.message
            assert failed.value.failure.out_of_memory is None
            if isinstance(bench, ScriptedBench | ScriptedLlamaBench):
                assert f"status {EXIT_AT_START} while it was being loaded" in failed.value.message
                assert "I do not feel like it" in failed.value.message
            await end(bench, child)

    run(main())


@linux
def test_one_that_ignores_the_request_to_go_is_killed_with_all_that_belongs_to_it(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            child, pids = await bench.stubborn()
            receipt = await child.stop(GRACE_S)
            assert receipt.how == "killed"
            assert survivors(pids, WAIT_S) == []
            assert await child.exited() is None
            await end(bench, child)

    run(main())


def test_what_it_wrote_stays_until_it_is_discarded(opened: Open) -> None:
    async def main() -> None:
        async with opened() as bench:
            if bench.spool_root is None:
                return  # a fake writes nothing
            child = await bench.normal()
            await child.ready()
            assert isinstance(child, WorkerChild | LlamaChild)
            (child.spool / "picture.png").write_bytes(b"a finished picture")
            assert child.spool.stat().st_mode & 0o077 == 0, "others could read it"
            await bench.crash(child)
            await child.exited()
            await child.stop(GRACE_S)
            assert (child.spool / "picture.png").read_bytes() == b"a finished picture"
            await end(bench, child)

    run(main())


def test_a_spool_that_cannot_be_made_fails_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "spool").write_text("a file where a folder should be")
        async with bench_of("scripted", tmp_path) as bench:
            with pytest.raises(ChildFailed) as failed:
                await bench.engine.start(plan(), CPU)
            assert failed.value.code == "child.not_started"

    run(main())


def test_the_fake_asserts_that_a_model_is_on_a_device_once() -> None:
    async def main() -> None:
        engine = FakeEngine(auto=True)
        first = await engine.start(plan(), CPU)
        with pytest.raises(AssertionError, match="already"):
            await engine.start(plan(), CPU)
        other: Device = fake_device("cuda:0", 10)
        await engine.start(LoadPlan(ModelId("m"), "any", {"cuda": 5}), other)
        assert engine.held_bytes(CPU.id) == 10**8
        assert engine.held_bytes(other.id) == 5
        await first.stop(GRACE_S)
        await engine.start(plan(), CPU)
        assert engine.started() == ["m", "m", "m"]

    run(main())
