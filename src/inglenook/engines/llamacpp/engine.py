# SPDX-License-Identifier: Apache-2.0
"""Starts one llama.cpp server for each loaded model."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.engines.llamacpp.child import LlamaChild
from inglenook.engines.llamacpp.command import arguments
from inglenook.runtime.contracts import ChildFailed, Device, Failure, LoadPlan
from inglenook.runtime.process import ChildProcess, clean_environment
from inglenook.wire.llama import Launch, LoadLanguageModel

NAME: Final = "llama.cpp"
SOCKET: Final = "llama.sock"

FindProgram = Callable[[], Path | None]
"""The `llama-server` to start now; None for the library of the package."""


class LlamaEngine:
    """Args:
    spool_root: where each child gets a folder for its files.
    find: asked before each start.
    threads: of a child on the CPU; None leaves it to the program.
    """

    name = NAME

    def __init__(
        self,
        *,
        spool_root: Path,
        find: FindProgram,
        start_timeout_s: float,
        stop_grace_s: float,
        threads: int | None,
    ) -> None:
        self._spool_root = spool_root
        self._find = find
        self._start_timeout_s = start_timeout_s
        self._stop_grace_s = stop_grace_s
        self._threads = threads

    async def start(self, plan: LoadPlan, device: Device) -> LlamaChild:
        """`plan.options`: `load` (a `LoadLanguageModel`), and perhaps `layers`: how many lie on the device at
        each saving level, and `saving`: the level.

        Raises `ChildFailed`.
        """
        load = self._load(plan.options, device)
        folder, spool = await asyncio.to_thread(self._folders, plan)
        launch = Launch(load=load, socket=str(folder / SOCKET))
        try:
            argv = await asyncio.to_thread(self._command, launch, spool)
            process = await ChildProcess.start(
                argv,
                name=f"llama.cpp with {plan.model}",
                environ=clean_environment(os.environ, _device_environment(device)),
                cwd=spool,
                grace_s=self._stop_grace_s,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(spool, ignore_errors=True)
            raise
        return LlamaChild(
            process,
            launch,
            model=str(plan.model),
            folders=(folder, spool),
            start_timeout_s=self._start_timeout_s,
        )

    def _load(self, options: Mapping[str, Any], device: Device) -> LoadLanguageModel:
        load: LoadLanguageModel = options["load"]
        layers: Sequence[int] = options.get("layers", ())
        on_device = (
            0 if device.kind == "cpu" else (layers[options.get("saving", 0)] if layers else load.gpu_layers)
        )
        threads = load.threads if load.threads is not None else self._threads
        return msgspec.structs.replace(load, gpu_layers=on_device, threads=threads)

    def _folders(self, plan: LoadPlan) -> tuple[Path, Path]:
        """A short path for the socket (a system's limit is about 100 bytes), and the spool. Blocks."""
        try:
            self._spool_root.mkdir(parents=True, exist_ok=True)
            spool = Path(tempfile.mkdtemp(prefix="llama-", dir=self._spool_root))
            return Path(tempfile.mkdtemp(prefix="inglenook-")), spool
        except OSError as error:
            text = f"{plan.model} could not be started: {error.strerror} ({self._spool_root})."
            raise ChildFailed(
                Failure("child.not_started", text, "look at the data folder's disk and its owner")
            ) from error

    def _command(self, launch: Launch, spool: Path) -> list[str]:
        program = self._find()
        if program is not None:
            return [str(program), *arguments(launch)]
        order = spool / "launch.json"
        order.write_bytes(msgspec.json.encode(launch))
        return [sys.executable, "-m", "inglenook.workers.llama", str(order)]


def _device_environment(device: Device) -> dict[str, str]:
    """Only the child's own device is visible to it."""
    if device.kind == "cuda":
        return {"CUDA_VISIBLE_DEVICES": str(device.index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if device.kind == "rocm":
        return {"ROCR_VISIBLE_DEVICES": str(device.index), "HIP_VISIBLE_DEVICES": "0"}
    return {"CUDA_VISIBLE_DEVICES": ""} if device.kind == "cpu" else {}
