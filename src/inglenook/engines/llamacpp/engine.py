# SPDX-License-Identifier: Apache-2.0
"""Starts one llama.cpp server for each loaded model."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.engines.llamacpp import words
from inglenook.engines.llamacpp.child import LlamaChild
from inglenook.engines.llamacpp.command import arguments, environment
from inglenook.engines.llamacpp.place import Place, default_threads, device_environment
from inglenook.runtime.contracts import ChildFailed, Device, Failure, LoadPlan
from inglenook.runtime.process import ChildProcess, clean_environment
from inglenook.wire.llama import Launch, LoadLanguageModel

NAME: Final = "llama.cpp"
LAUNCHER: Final = "inglenook.workers.llama"
APART: Final = "inglenook.workers.llama.apart"
LOG_LINES: Final = 1000
"""Kept of each child: llama.cpp prints some six for each answer."""
HANG_AFTER_S: Final = 120.0
FindProgram = Callable[[], Path | None]
"""The `llama-server` to start now; None for the library of the package."""


class LlamaEngine:
    """Args:
    spool_root: where each child gets a folder for its files.
    find: asked before each start.
    start_timeout_s: from the start of the process to its first token.
    threads: of a child; None for one less than this machine has cores.
    hang_after_s: without a sign of life while it is asked something, it is ended; see `watching`.
    launcher: the module that serves a `Launch` when `find` finds no program.
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
        hang_after_s: float = HANG_AFTER_S,
        launcher: str = LAUNCHER,
    ) -> None:
        self._spool_root = spool_root
        self._find = find
        self._start_timeout_s = start_timeout_s
        self._stop_grace_s = stop_grace_s
        self._threads = threads
        self._hang_after_s = hang_after_s
        self._launcher = launcher

    async def start(self, plan: LoadPlan, device: Device) -> LlamaChild:
        """`plan.options`: `load` (a `LoadLanguageModel`), and perhaps `layers`: how many lie on the device at
        each saving level, and `saving`: the level.

        Raises `ChildFailed`.
        """
        load = self._load(plan.options, device)
        place = await asyncio.to_thread(self._place, plan)
        launch = Launch(load=load, socket=place.socket, port=place.port, key=place.key)
        try:
            argv = await asyncio.to_thread(self._command, launch, place.spool)
            process = await ChildProcess.start(
                argv,
                name=str(plan.model),
                environ=self._environment(launch, device, place.spool),
                cwd=place.spool,
                grace_s=self._stop_grace_s,
                kept_lines=LOG_LINES,
                level_of=words.level_of,
            )
        except BaseException as error:
            for folder in place.folders:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):  # the disk is full
                raise self._not_started(plan, error) from error
            raise
        return LlamaChild(
            process,
            launch,
            model=str(plan.model),
            spool=place.spool,
            folders=place.folders,
            start_timeout_s=self._start_timeout_s,
            stop_grace_s=self._stop_grace_s,
            hang_after_s=self._hang_after_s,
        )

    def _load(self, options: Mapping[str, Any], device: Device) -> LoadLanguageModel:
        load: LoadLanguageModel = options["load"]
        layers: Sequence[int] = options.get("layers", ())
        threads = load.threads if load.threads is not None else self._threads
        if threads is None:
            threads = default_threads()
        if device.kind == "cpu":
            return msgspec.structs.replace(
                load, gpu_layers=0, draft_gpu_layers=0, device=None, threads=threads
            )
        on_device = layers[options.get("saving", 0)] if layers else load.gpu_layers
        return msgspec.structs.replace(load, gpu_layers=on_device, threads=threads)

    def _environment(self, launch: Launch, device: Device, spool: Path) -> dict[str, str]:
        """Without a search path: llama.cpp starts ffprobe, if it finds it, on media that it cannot read."""
        own = device_environment(device) | environment(launch) | {"PATH": str(spool)}
        return clean_environment(os.environ, own)

    def _place(self, plan: LoadPlan) -> Place:
        try:
            return Place.make(self._spool_root)
        except OSError as error:
            raise self._not_started(plan, error) from error

    def _not_started(self, plan: LoadPlan, error: OSError) -> ChildFailed:
        text = f"{plan.model} could not be started: {error.strerror} ({self._spool_root})."
        return ChildFailed(Failure("child.not_started", text, "look at the data folder's disk and its owner"))

    def _command(self, launch: Launch, spool: Path) -> list[str]:
        program = self._find()
        if program is not None:
            _check_adapters(launch.load)
            apart = (
                [] if launch.load.mmproj is None or launch.socket is None else [sys.executable, "-m", APART]
            )
            return [*apart, str(program.resolve()), *arguments(launch)]
        order = spool / "launch.json"
        order.touch(mode=0o600)
        order.write_bytes(msgspec.json.encode(launch))
        return [sys.executable, "-m", self._launcher, str(order)]


def _check_adapters(load: LoadLanguageModel) -> None:
    """As an argument, adapters stand in one text between commas, each with a colon before its scale."""
    for lora in load.loras:
        if "," in lora.path or ":" in lora.path:
            text = f"The adapter {lora.path} of {load.alias} cannot be told to llama-server: comma or colon."
            raise ChildFailed(Failure("load.refused", text, "rename the file or its folder, and scan again"))
