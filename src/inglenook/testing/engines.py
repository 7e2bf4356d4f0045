# SPDX-License-Identifier: Apache-2.0
"""Engines for tests: one without processes, whose children do what the test says and when it says it, and
one with real processes that misbehave on request."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from inglenook.base.ids import DeviceId, ModelId
from inglenook.engines.llamacpp.child import LlamaChild
from inglenook.engines.llamacpp.engine import NAME as LLAMA
from inglenook.engines.llamacpp.engine import LlamaEngine
from inglenook.engines.studio import NAME as STUDIO
from inglenook.engines.studio import StudioChild, StudioEngine
from inglenook.runtime.contracts import (
    ChildFailed,
    Device,
    Failure,
    LoadPlan,
    NothingToPark,
    OutOfMemoryEvidence,
    ParkReceipt,
    StopReceipt,
    UnparkReceipt,
)
from inglenook.runtime.image_child import ImageChild
from inglenook.runtime.worker import WorkerProcess
from inglenook.testing.child import Behaviour
from inglenook.testing.llama import LlamaBehaviour
from inglenook.wire.image import FromImageWorker, LoadImageModel
from inglenook.wire.llama import LoadLanguageModel

T = TypeVar("T")
_FIRST_PID: Final = 1_000_000
"""Beyond what a system gives by default: no real process is meant by accident."""
PATIENCE_S: Final = 60.0
"""How long a child that has closed its wire or cut off an answer may take to be gone. After that it counts as
hung; a busy machine needs a second to tell how a process has ended."""


def failed_to_load(text: str = "it could not be loaded") -> Failure:
    return Failure("child.exited", text, "look at the log")


def out_of_memory(text: str = "memory ran out") -> Failure:
    evidence = OutOfMemoryEvidence("the test said so", requested_bytes=2, free_bytes=1, total_bytes=8)
    return Failure("load.out_of_memory", text, None, evidence)


class FakeChild:
    """A child without a process. The test drives it: `load`, `fail`, `crash`, `let_go`.

    Attributes:
        stubborn: it does not end when it is asked to, but only when the test calls `let_go`.
        discarded: how often it was told to remove what it left.
    """

    def __init__(self, plan: LoadPlan, device: Device, pid: int) -> None:
        loop = asyncio.get_running_loop()
        self.plan = plan
        self.device = device
        self.pid = pid
        self.stubborn = False
        self.discarded = 0
        self._loaded: asyncio.Future[Failure | None] = loop.create_future()
        self._gone: asyncio.Future[Failure | None] = loop.create_future()
        self._asked = False
        self._forced = False
        self._dying: Failure | None = None
        self._lines: list[str] = []

    # -- what the test says --------------------------------------------------------------------------

    def load(self) -> None:
        """Loading is over; from now on it can serve."""
        if not self._loaded.done():
            self._loaded.set_result(None)

    def fail(self, failure: Failure) -> None:
        """Loading fails; the process goes with it."""
        self._loaded.set_result(failure)
        self._end(failure)

    def crash(self, failure: Failure) -> None:
        """It ends although nobody has asked it to."""
        if not self._loaded.done():
            self._loaded.set_result(failure)
        self._end(failure)

    def mistake(self, error: Exception) -> None:
        """`ready` raises what no engine should raise."""
        self._loaded.set_exception(error)

    def begin_to_die(self, failure: Failure) -> None:
        """Whoever works with it sees the end already; `let_go` lets the others see it."""
        self._dying = failure

    def let_go(self) -> None:
        """What was stubborn, or was dying, is gone now; by force if it had been asked to go."""
        self._forced = self._asked
        self._end(self._dying)

    def print(self, line: str) -> None:
        self._lines.append(line)

    # -- what an engine's child can do ---------------------------------------------------------------

    @property
    def asked_to_stop(self) -> bool:
        return self._asked

    @property
    def is_gone(self) -> bool:
        return self._gone.done()

    @property
    def is_loaded(self) -> bool:
        return self._loaded.done() and self._loaded.exception() is None and self._loaded.result() is None

    @property
    def alive(self) -> bool:
        return not (self._asked or self._dying is not None or self._gone.done())

    @property
    def pids(self) -> frozenset[int]:
        return frozenset() if self._gone.done() else frozenset({self.pid})

    def log(self) -> tuple[str, ...]:
        return tuple(self._lines)

    async def ready(self) -> None:
        failure = await asyncio.shield(self._loaded)
        if failure is not None:
            raise ChildFailed(failure)

    async def exited(self) -> Failure | None:
        return await asyncio.shield(self._gone)

    async def stop(self, grace_s: float) -> StopReceipt:  # noqa: ARG002 - the protocol's parameter
        """`grace_s` does not pass here: a stubborn child is gone when the test lets it go."""
        if self._gone.done():
            return StopReceipt(how="killed" if self._forced else "exited", seconds=0.0)
        self._asked = True
        if not self._loaded.done():
            name = self.plan.model
            self._loaded.set_result(
                Failure("child.stopped", f"{name} was stopped while it was being loaded.")
            )
        if not self.stubborn:
            self._end(None)
        await asyncio.shield(self._gone)
        return StopReceipt(how="killed" if self._forced else "terminated", seconds=0.0)

    async def discard(self) -> None:
        assert self._gone.done(), "what a living child has written is still needed"
        self.discarded += 1

    def _end(self, failure: Failure | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None if self._asked else failure)


class FakeTraining(FakeChild):
    """A child that can be parked. The test drives it: `free`, `nothing`, `come_back`, `cannot`.

    Attributes:
        told: what it was asked, in that order: `park`, `unpark`.
    """

    def __init__(self, plan: LoadPlan, device: Device, pid: int) -> None:
        super().__init__(plan, device, pid)
        self.told: list[str] = []
        self._parking: asyncio.Future[ParkReceipt] | None = None
        self._receipt: ParkReceipt | None = None
        self._back: asyncio.Future[UnparkReceipt] | None = None

    def free(self, after_bytes: int | None = 0, before_bytes: int | None = None) -> None:
        """It has freed the device, but for `after_bytes`."""
        assert self._parking is not None, "nobody has asked it to park"
        before = before_bytes
        if before is None:
            before = self.plan.footprint_bytes[self.device.kind]
        self._receipt = ParkReceipt(0.5, before, after_bytes, epoch=3, batch=41)
        self._parking.set_result(self._receipt)

    def nothing(self) -> None:
        """It has no work to park."""
        assert self._parking is not None, "nobody has asked it to park"
        self._parking.set_exception(NothingToPark(f"{self.plan.model} does no work that could be parked."))

    def come_back(self) -> None:
        """It has the device again."""
        assert self._back is not None, "nobody has asked it to come back"
        self._receipt = None
        self._back.set_result(UnparkReceipt(0.25))

    def cannot(self, error: Exception) -> None:
        """What it was asked last fails with `error`."""
        asked = self._parking if self.told[-1] == "park" else self._back
        assert asked is not None
        asked.set_exception(error)

    async def park(self) -> ParkReceipt:
        self.told.append("park")
        if self._receipt is not None:
            return self._receipt
        self._parking = asyncio.get_running_loop().create_future()
        return await self._unless_gone(self._parking)

    async def unpark(self) -> UnparkReceipt:
        self.told.append("unpark")
        if self._receipt is None:
            return UnparkReceipt(0.0)
        self._back = asyncio.get_running_loop().create_future()
        return await self._unless_gone(self._back)

    async def _unless_gone(self, answer: "asyncio.Future[T]") -> T:
        either: set[asyncio.Future[Any]] = {answer, self._gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        failure = self._gone.result()
        if failure is None:
            failure = Failure("child.stopped", f"{self.plan.model} was stopped while it was parked.")
        raise ChildFailed(failure)


class FakeEngine:
    """An `Engine` whose children are `FakeChild`, or `FakeTraining` where the plan says `parkable`.

    Args:
        auto: children are loaded as soon as they are started, unless the test says otherwise.
        child: what its children are.

    Attributes:
        children: all that were ever started, oldest first.
        broken: raised by the next `start`.
    """

    def __init__(self, *, name: str = "fake", auto: bool = False, child: type[FakeChild] = FakeChild) -> None:
        self.name = name
        self._child = child
        self._auto = auto
        self._pids = count(_FIRST_PID)
        self.children: list[FakeChild] = []
        self.broken: Exception | None = None
        self.gate: asyncio.Event | None = None
        """When it is there, `start` returns only after it is set."""

    async def start(self, plan: LoadPlan, device: Device) -> FakeChild:
        """Asserts what a scheduler promises: at most one living child of a model on a device."""
        if self.gate is not None:
            await self.gate.wait()
        if self.broken is not None:
            error, self.broken = self.broken, None
            raise error
        twins = [c for c in self.living if (c.plan.key, c.device.id) == (plan.key, device.id)]
        assert not twins, f"{plan.model} runs on {device.id} already"
        kind = FakeTraining if plan.parkable and self._child is FakeChild else self._child
        child = kind(plan, device, next(self._pids))
        self.prepare(child)
        self.children.append(child)
        if self._auto:
            child.load()
        return child

    def prepare(self, child: FakeChild) -> None:
        """For engines whose children need more than a plan."""

    @property
    def living(self) -> list[FakeChild]:
        return [child for child in self.children if not child.is_gone]

    def of(self, model: str) -> FakeChild:
        """The newest child of a model."""
        return next(child for child in reversed(self.children) if child.plan.model == model)

    def training(self, model: str) -> FakeTraining:
        """The newest child of a model that can be parked."""
        child = self.of(model)
        assert isinstance(child, FakeTraining), f"{model} cannot be parked"
        return child

    def started(self) -> list[ModelId]:
        """The models for which children were started, in that order."""
        return [child.plan.model for child in self.children]

    def held_bytes(self, device: DeviceId) -> int:
        """By the estimates of what lives there."""
        living = (child for child in self.living if child.device.id == device)
        return sum(child.plan.footprint_bytes[child.device.kind] for child in living)


class ScriptedEngine:
    """An `Engine` whose children are real processes: `inglenook.testing.child`.

    `plan.options["behaviour"]` tells what a child does; see `Behaviour`.

    Attributes:
        children: all that were ever started, oldest first.
    """

    def __init__(
        self,
        *,
        spool_root: Path,
        name: str = "scripted",
        start_timeout_s: float = 60.0,
        cancel_grace_s: float = 0.2,
        stop_grace_s: float = PATIENCE_S,
    ) -> None:
        self.name = name
        self._spool_root = spool_root
        self._start_timeout_s = start_timeout_s
        self._cancel_grace_s = cancel_grace_s
        self._stop_grace_s = stop_grace_s
        self.children: list[ImageChild] = []

    async def start(self, plan: LoadPlan, device: Device) -> ImageChild:
        behaviour = Behaviour(plan.options.get("behaviour", Behaviour.NORMAL))
        worker = WorkerProcess(
            module="inglenook.testing.child",
            name=f"The scripted worker of {plan.model}",
            union=FromImageWorker,
            spool_root=self._spool_root,
            extra={},
            grace_s=self._stop_grace_s,
            arguments=(behaviour.value,),
        )
        await worker.start()
        load = LoadImageModel(
            path="/nowhere",
            layout="folder",
            family="sd1",
            device=device.id,
            dtype="float32",
            spool=str(worker.spool),
        )
        child = ImageChild(
            worker,
            load,
            model=str(plan.model),
            start_timeout_s=self._start_timeout_s,
            cancel_grace_s=self._cancel_grace_s,
            stop_grace_s=self._stop_grace_s,
        )
        self.children.append(child)
        return child

    def living_pids(self) -> Iterator[int]:
        for child in self.children:
            if child.alive:
                yield from child.pids


class ScriptedLlamaEngine(LlamaEngine):
    """A `LlamaEngine` whose children are real processes without weights: `inglenook.testing.llama`.

    What a child does is told by its model's file name (`dies_in_stream.gguf`), or by `behaviours`.

    Args:
        behaviours: by model id; stands above the file's name.

    Attributes:
        children: all that were ever started, oldest first.
    """

    def __init__(
        self,
        *,
        spool_root: Path,
        start_timeout_s: float = 60.0,
        stop_grace_s: float = PATIENCE_S,
        hang_after_s: float = 60.0,
        behaviours: Mapping[str, LlamaBehaviour] | None = None,
    ) -> None:
        super().__init__(
            spool_root=spool_root,
            find=lambda: None,
            start_timeout_s=start_timeout_s,
            stop_grace_s=stop_grace_s,
            threads=1,
            hang_after_s=hang_after_s,
            launcher="inglenook.testing.llama",
        )
        self.behaviours = {} if behaviours is None else dict(behaviours)
        self.children: list[LlamaChild] = []

    async def start(self, plan: LoadPlan, device: Device) -> LlamaChild:
        behaviour = self.behaviours.get(str(plan.model))
        if behaviour is not None:
            load = msgspec.structs.replace(plan.options["load"], path=f"/{behaviour.value}.gguf")
            plan = replace(plan, options={**plan.options, "load": load})
        child = await super().start(plan, device)
        self.children.append(child)
        return child


def llama_plan(
    behaviour: LlamaBehaviour = LlamaBehaviour.NORMAL, *, model: str = "m", parallel: int = 4, **load: Any
) -> LoadPlan:
    """A plan for a child of `ScriptedLlamaEngine`; `load`: more fields of `LoadLanguageModel`."""
    asked = LoadLanguageModel(
        path=f"/{behaviour.value}.gguf", alias=model, context=4096, parallel=parallel, **load
    )
    return LoadPlan(ModelId(model), LLAMA, {"cpu": 10**8}, capacity=parallel, options={"load": asked})


class ScriptedStudioEngine(StudioEngine):
    """A `StudioEngine` whose children are real processes without PyTorch: `inglenook.testing.studio`.

    Attributes:
        children: all that were ever started, oldest first.
    """

    def __init__(
        self,
        *,
        spool_root: Path,
        start_timeout_s: float = 60.0,
        cancel_grace_s: float = 5.0,
        stop_grace_s: float = PATIENCE_S,
    ) -> None:
        super().__init__(
            spool_root=spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            stop_grace_s=stop_grace_s,
            cpu_threads=1,
            module="inglenook.testing.studio",
        )
        self.children: list[StudioChild] = []

    async def start(self, plan: LoadPlan, device: Device) -> StudioChild:
        child = await super().start(plan, device)
        self.children.append(child)
        return child


def studio_plan(model: str = "small_cnn") -> LoadPlan:
    """A plan for a child of `ScriptedStudioEngine`, or of the real one."""
    return LoadPlan(ModelId(model), STUDIO, {"cpu": 10**8}, variant="train", parkable=True)
