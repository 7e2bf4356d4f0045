# SPDX-License-Identifier: Apache-2.0
"""The image worker: diffusers' components in a child of our own, spoken to over the wire."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from inglenook.base.cancel import StopToken
from inglenook.base.units import format_seconds
from inglenook.runtime import amd
from inglenook.runtime.contracts import (
    ChildFailed,
    Device,
    Failure,
    LoadPlan,
    OutOfMemoryEvidence,
    StopReceipt,
)
from inglenook.runtime.worker import WorkerProcess
from inglenook.wire.image import (
    Draw,
    DrawCancelled,
    DrawFailed,
    Drawn,
    FromImageWorker,
    LastWord,
    Layout,
    LoadImageModel,
)
from inglenook.wire.message import Cancel, Loaded, LoadFailed, Message, OutOfMemory

NAME: Final = "diffusers"
MODULE: Final = "inglenook.workers.image"
TORCH_DEVICE: Final = {"cuda": "cuda", "rocm": "cuda", "mps": "mps", "cpu": "cpu"}
DTYPES: Final = {"cuda": "float16", "rocm": "float16", "mps": "float16", "cpu": "float32"}
"""What is loaded by default: half precision where the hardware is made for it."""

LOADING: Final = "while it was being loaded"
IDLE: Final = "while it was idle"
DRAWING: Final = "while it drew"

Tell = Callable[[Message], Awaitable[None]]


class DiffusersEngine:
    """Args:
    spool_root: where each child gets a folder for the pictures that it exchanges with us.
    start_timeout_s: from the start of the process to the loaded model.
    cancel_grace_s: how long a cancelled picture may take to stop before the child is ended.
    stop_grace_s: how long a child may take to end by itself.
    cpu_threads: for a child on the CPU; None leaves it to the library.
    compile_mode: a mode of `torch.compile` for the denoising network; None does not compile.
    compile_cache: where compiled code is kept between runs; made when it is needed.
    profile: an AMD profile, see `amd`; "auto" takes the one of the device, where there is one.
    """

    name = NAME

    def __init__(
        self,
        *,
        spool_root: Path,
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
        cpu_threads: int | None,
        compile_mode: str | None = None,
        compile_cache: Path | None = None,
        profile: str = amd.NONE,
        module: str = MODULE,
    ) -> None:
        self._spool_root = spool_root
        self._start_timeout_s = start_timeout_s
        self._cancel_grace_s = cancel_grace_s
        self._stop_grace_s = stop_grace_s
        self._cpu_threads = cpu_threads
        self._compile_mode = compile_mode
        self._compile_cache = compile_cache
        self._profile = profile
        self._module = module

    async def start(self, plan: LoadPlan, device: Device) -> "ImageChild":
        """`plan.options`: `path`, `layout`, `family`, and perhaps `variant`, `parts`, `dtype`, `saving`,
        `vae_on_cpu`.

        Raises `ChildFailed`.
        """
        if self._compile_mode is not None and self._compile_cache is not None:
            self._compile_cache.mkdir(parents=True, exist_ok=True)
        worker = WorkerProcess(
            module=self._module,
            name=f"The image worker of {plan.model}",
            union=FromImageWorker,
            spool_root=self._spool_root,
            extra=_device_environment(device) | amd.environment(self._profile, device),
            grace_s=self._stop_grace_s,
        )
        await worker.start()
        layout: Layout = plan.options["layout"]
        load = LoadImageModel(
            path=str(plan.options["path"]),
            layout=layout,
            family=plan.options["family"],
            variant=plan.options.get("variant", ""),
            parts=dict(plan.options.get("parts", {})),
            device=_torch_device(device),
            dtype=plan.options.get("dtype", DTYPES[device.kind]),
            saving=plan.options.get("saving", 0),
            vae_on_cpu=plan.options.get("vae_on_cpu", False),
            compile=self._compile_mode,
            compile_cache=None if self._compile_cache is None else str(self._compile_cache),
            threads=self._cpu_threads if device.kind == "cpu" else None,
            spool=str(worker.spool),
        )
        return ImageChild(
            worker,
            load,
            model=str(plan.model),
            start_timeout_s=self._start_timeout_s,
            cancel_grace_s=self._cancel_grace_s,
            stop_grace_s=self._stop_grace_s,
        )


def _torch_device(device: Device) -> str:
    name = TORCH_DEVICE[device.kind]
    return name if name != "cuda" else "cuda:0"  # the child sees only its own device


def _device_environment(device: Device) -> dict[str, str]:
    """Only the child's own device is visible to it, numbered as the vendor's tools number it."""
    if device.kind == "cuda":
        return {"CUDA_VISIBLE_DEVICES": str(device.index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if device.kind == "rocm":
        # The lower layer hides the others and counts anew: for the upper one there is only number 0.
        return {"ROCR_VISIBLE_DEVICES": str(device.index), "HIP_VISIBLE_DEVICES": "0"}
    return {"CUDA_VISIBLE_DEVICES": ""} if device.kind == "cpu" else {}


class ImageChild:
    """One image worker with one model. Draws one `Draw` at a time: its lease capacity is 1."""

    def __init__(
        self,
        worker: WorkerProcess,
        load: LoadImageModel,
        *,
        model: str,
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
    ) -> None:
        self._worker = worker
        self._load = load
        self._model = model
        self._start_timeout_s = start_timeout_s
        self._cancel_grace_s = cancel_grace_s
        self._stop_grace_s = stop_grace_s
        self._drawing = asyncio.Lock()
        self._doing = LOADING

    @property
    def alive(self) -> bool:
        return self._worker.alive

    @property
    def pids(self) -> frozenset[int]:
        return self._worker.pids

    @property
    def spool(self) -> Path:
        """Where input pictures are put and made ones are found."""
        return self._worker.spool

    def log(self) -> tuple[str, ...]:
        return self._worker.log()

    async def ready(self) -> None:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await self._worker.connect(self._doing)
                await self._worker.send(self._load, self._doing)
                answer = await self._worker.watched(self._worker.receive(self._doing), self._doing)
        except TimeoutError:
            limit = format_seconds(self._start_timeout_s)
            text = f"{self._model} was not ready after {limit}."
            hint = "raise runtime.start_timeout_s, or look at the worker's last lines in `GET /v1/runtime`"
            raise ChildFailed(Failure("child.never_ready", text, hint, last_lines=self.log()[-5:])) from None
        if isinstance(answer, LoadFailed):
            raise ChildFailed(_load_failure(self._model, answer))
        if not isinstance(answer, Loaded):
            text = f"{self._model}: the image worker answered its load with {type(answer).__name__}."
            raise ChildFailed(Failure("wire.malformed", text))
        self._doing = IDLE

    async def exited(self) -> Failure | None:
        return await self._worker.gone(lambda: self._doing)

    async def stop(self, grace_s: float) -> StopReceipt:
        return await self._worker.stop(grace_s)

    async def discard(self) -> None:
        await self._worker.discard()

    async def draw(self, draw: Draw, *, stop: StopToken, tell: Tell) -> LastWord:
        """Make the pictures of `draw`; `tell` gets every message before the last.

        When `stop` is set, the call is cancelled or `tell` raises, the worker is asked to stop; if it has
        not within the grace, its process is ended. After `stop` the answer is a `DrawCancelled` all the same.
        A worker that goes on living has said its last word on this drawing before it gets the next.

        Raises:
            ChildFailed: the worker has ended.
        """
        ear = _Ear(tell)
        session = asyncio.ensure_future(self._session(draw, stop, ear))
        try:
            return await asyncio.shield(session)
        except asyncio.CancelledError:
            ear.enough.set()
            await asyncio.wait({session})  # may be cancelled too: the session goes on by itself
            raise
        finally:
            session.add_done_callback(_seen)

    async def _session(self, draw: Draw, stop: StopToken, ear: "_Ear") -> LastWord:
        async with self._drawing:
            self._doing = DRAWING
            conversation = asyncio.ensure_future(self._converse(draw, ear))
            stopped = asyncio.ensure_future(stop.wait())
            enough = asyncio.ensure_future(ear.enough.wait())
            try:
                await asyncio.wait({conversation, stopped, enough}, return_when=asyncio.FIRST_COMPLETED)
                if not conversation.done():
                    await self._worker.send(Cancel(job=draw.job), self._doing)
                    await asyncio.wait({conversation}, timeout=self._cancel_grace_s)
                last: LastWord = DrawCancelled(job=draw.job, picture=-1, step=-1)
                if conversation.done():
                    last = conversation.result()
                    self._doing = IDLE
                else:
                    await self._worker.stop(self._stop_grace_s)
                if ear.trouble is not None:
                    raise ear.trouble
                return last
            finally:
                for task in (conversation, stopped, enough):
                    task.cancel()
                conversation.add_done_callback(_seen)

    async def _converse(self, draw: Draw, ear: "_Ear") -> LastWord:
        await self._worker.send(draw, self._doing)
        while True:
            message = await self._worker.receive(self._doing)
            if isinstance(message, Drawn | DrawFailed | DrawCancelled):
                return message
            await ear.hear(message)


class _Ear:
    """Whoever is told of a drawing. After it has raised it is told nothing more, and the drawing is ended."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.enough = asyncio.Event()
        self.trouble: BaseException | None = None

    async def hear(self, message: Message) -> None:
        if self.trouble is not None:
            return
        telling = asyncio.ensure_future(_told(self._tell, message))
        try:
            await asyncio.wait({telling})
        finally:
            telling.cancel()
        self.trouble = telling.exception()
        if self.trouble is not None:
            self.enough.set()


async def _told(tell: Tell, message: Message) -> None:
    await tell(message)


def _seen(task: "asyncio.Future[LastWord]") -> None:
    """Whatever it raises has been told elsewhere, or nobody is there any more to be told."""
    if not task.cancelled():
        task.exception()


def evidence_of(out_of_memory: OutOfMemory | None) -> OutOfMemoryEvidence | None:
    if out_of_memory is None:
        return None
    return OutOfMemoryEvidence(
        "the allocator's error",
        out_of_memory.requested_bytes,
        out_of_memory.free_bytes,
        out_of_memory.total_bytes,
    )


def _load_failure(model: str, answer: LoadFailed) -> Failure:
    failure = Failure(answer.code, f"{model} could not be loaded: {answer.message}")
    return replace(failure, out_of_memory=evidence_of(answer.out_of_memory))
