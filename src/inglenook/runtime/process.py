# SPDX-License-Identifier: Apache-2.0
"""One child process as a state machine with a single writer.

    starting ──► running ──► stopping ──► exited
        └───────────┴───────────────────────┘

Only its own two tasks move the state (`_watch`, and `_stop` once); callers ask (`stop`, `exited`) and
wait. The child runs under a guard (`guard.py`), in a process group of its own, with a clean environment,
and it never outlives us.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from inglenook.base.journal import CHILD, WORKERS
from inglenook.runtime.contracts import ChildFailed, Failure, StopReceipt

_output = logging.getLogger(WORKERS)

GUARD: Final = Path(__file__).with_name("guard.py")
LOG_LINES: Final = 200
"""Kept of a child's output, where its engine wants no other number."""
LONGEST_LINE_BYTES: Final = 64 * 1024
OUTPUT_WAIT_S: Final = 1.0
KILL_WAIT_S: Final = 10.0
"""How long a process group may take to be gone after SIGKILL: only a hung driver takes longer."""

PASSED_ON: Final = frozenset(
    {"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH",
     "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "XDG_CACHE_HOME",
     "SSL_CERT_FILE", "DISPLAY", "COVERAGE_PROCESS_START"}
)  # fmt: skip
PASSED_ON_PREFIXES: Final = (
    "LC_", "CUDA_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "ROCM_", "AMD_", "MIOPEN_", "OMP_", "MKL_",
    "OPENBLAS_", "GOMP_", "KMP_", "VK_", "MTL_", "PYTORCH_", "TORCHINDUCTOR_", "GGML_",
)  # fmt: skip
"""What a child needs to find libraries and devices. Tokens, keys and cloud credentials are not among it."""


LevelOf = Callable[[str], int]
"""The level (of `logging`) of a line that a child has printed."""


def _information(_line: str) -> int:
    return logging.INFO


class ProcessState(StrEnum):
    STARTING = "starting"  # the guard runs, the child has no pid yet
    RUNNING = "running"
    STOPPING = "stopping"  # it was asked to go
    EXITED = "exited"


PROCESS_NEXT: Mapping[ProcessState, frozenset[ProcessState]] = {
    ProcessState.STARTING: frozenset({ProcessState.RUNNING, ProcessState.STOPPING, ProcessState.EXITED}),
    ProcessState.RUNNING: frozenset({ProcessState.STOPPING, ProcessState.EXITED}),
    ProcessState.STOPPING: frozenset({ProcessState.EXITED}),
    ProcessState.EXITED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: with a `code`, or by a `signal`, or `error`: it never began.

    `guard_killed`: somebody killed the guard, and the child went with it.
    """

    code: int | None = None
    signal: int | None = None
    peak_bytes: int | None = None
    error: str | None = None
    guard_killed: bool = False


def clean_environment(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child: what libraries and drivers need, and `extra`; nothing secret."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    return kept | {"PYTHONUNBUFFERED": "1"} | dict(extra)


class ChildProcess:
    """Start with `ChildProcess.start(...)`; there is no way to hold one that was not started."""

    def __init__(
        self,
        name: str,
        guard: asyncio.subprocess.Process,
        lifeline: int,
        grace_s: float,
        kept_lines: int,
        level_of: LevelOf,
    ) -> None:
        self._name = name
        self._level_of = level_of
        self._guard = guard
        self._lifeline: int | None = lifeline
        self._grace_s = grace_s
        self._lines: deque[str] = deque(maxlen=kept_lines)
        self._stopping: asyncio.Task[StopReceipt] | None = None
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._watcher: asyncio.Task[None] | None = None
        self.state = ProcessState.STARTING
        """For display only: a read that gates an action is a race."""
        self.pid: int | None = None

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        name: str,
        environ: Mapping[str, str],
        cwd: Path,
        grace_s: float,
        kept_lines: int = LOG_LINES,
        level_of: LevelOf = _information,
    ) -> "ChildProcess":
        """Start `argv` under a guard and return at once.

        Args:
            environ: the child's whole environment (see `clean_environment`).
            grace_s: how long the child may take to end by itself when the server is gone.
            kept_lines: of its output.
            level_of: how important a line of it is.

        Raises:
            ChildFailed: the guard itself could not be started.
        """
        try:
            pipes = _Pipes.open()
        except OSError as error:
            raise _not_started(name, error) from error
        began = False
        try:
            guard = await asyncio.create_subprocess_exec(
                *pipes.guard_command(grace_s),
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=pipes.output_write,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(pipes.lifeline_read, pipes.status_write),
                start_new_session=True,  # Ctrl-C in our terminal is ours to handle
                env=dict(environ),
                cwd=cwd,
            )
            began = True
        except OSError as error:
            raise _not_started(name, error) from error
        finally:
            pipes.close_theirs()
            if not began:  # also when the caller was cancelled
                pipes.close_ours()
        child = cls(name, guard, pipes.lifeline_write, grace_s, kept_lines, level_of)
        watch = child._watch(pipes.status_read, pipes.output_read)
        child._watcher = asyncio.create_task(watch, name=f"watch {name}")
        return child

    @property
    def alive(self) -> bool:
        """Whether it has neither ended nor been asked to. It may end a moment later."""
        return self._stopping is None and not self._exit.done()

    def log(self) -> tuple[str, ...]:
        """The last lines of its output, oldest first."""
        return tuple(self._lines)

    async def exited(self) -> Exit:
        """Wait until the process and its whole group are gone."""
        return await asyncio.shield(self._exit)

    async def stop(self, grace_s: float) -> StopReceipt:
        """SIGTERM to its group, SIGKILL after `grace_s`; returns when it is gone. Callers share one stop."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace_s), name=f"stop {self._name}")
        return await asyncio.shield(self._stopping)

    async def _stop(self, grace_s: float) -> StopReceipt:
        began = time.monotonic()
        how = "exited"
        if not self._exit.done():
            how = "terminated"
            self._command(b"T")
            await asyncio.wait({self._exit}, timeout=grace_s)
        if not self._exit.done():
            how = "killed"
            self._command(b"K")
            await asyncio.wait({self._exit}, timeout=KILL_WAIT_S)
        return StopReceipt(how=how, seconds=time.monotonic() - began)

    def _command(self, letter: bytes) -> None:
        if self._lifeline is None:
            return
        self._move(ProcessState.STOPPING)
        try:
            os.write(self._lifeline, letter)
        except BrokenPipeError:
            return  # the guard has ended: its last status line is on its way

    def _move(self, to: ProcessState) -> None:
        if to in PROCESS_NEXT[self.state]:
            self.state = to

    async def _watch(self, status_fd: int, output_fd: int) -> None:
        status, status_pipe = await _reader(status_fd)
        output, output_pipe = await _reader(output_fd)
        reading = asyncio.create_task(self._read_output(output), name=f"output of {self._name}")
        end = await self._follow(status)
        status_pipe.close()
        guard_status = await self._guard.wait()
        if end is None:
            self._end_group()
            lost = f"its guard ended with status {guard_status}"
            end = Exit(guard_killed=True) if guard_status < 0 else Exit(error=lost)
        # A process that left the group may still hold the pipe: what it prints is no longer ours.
        await asyncio.wait({reading}, timeout=OUTPUT_WAIT_S)
        reading.cancel()
        output_pipe.close()
        self._close_lifeline()
        self._move(ProcessState.EXITED)
        self._exit.set_result(end)

    async def _follow(self, status: asyncio.StreamReader) -> Exit | None:
        """What the guard reports until it ends; None when it was killed before it could tell the end."""
        end: Exit | None = None
        while line := await status.readline():
            report = json.loads(line)
            if "pid" in report:
                self.pid = report["pid"]
                self._move(ProcessState.RUNNING)
            elif "error" in report:
                end = Exit(error=report["error"])
            elif end is None:
                end = Exit(report["code"], report["signal"], report["peak_kib"] * 1024)
        return end

    def _end_group(self) -> None:
        """Without its guard nobody else ends the child's descendants; where the system has no
        `PR_SET_PDEATHSIG`, not the child either."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def _read_output(self, output: asyncio.StreamReader) -> None:
        dropped = f"(a line of over {LONGEST_LINE_BYTES} bytes was dropped)"
        while True:
            try:
                line = await output.readline()
            except ValueError:  # longer than the limit: that part is dropped, the stream goes on
                if not self._lines or self._lines[-1] != dropped:
                    self._lines.append(dropped)
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self._lines.append(text)
            if text:
                _output.log(self._level_of(text), "%s: %s", self._name, text, extra={CHILD: self._name})

    def _close_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


@dataclass(frozen=True, slots=True)
class _Pipes:
    """The three pipes between us and a guard: our orders, its reports, and what the child prints."""

    lifeline_read: int
    lifeline_write: int
    status_read: int
    status_write: int
    output_read: int
    output_write: int

    @classmethod
    def open(cls) -> "_Pipes":
        """Raises `OSError` when there are no descriptors left; then none of them stays open."""
        made: list[int] = []
        try:
            for _ in range(3):
                made.extend(os.pipe())
        except OSError:
            _close(*made)
            raise
        return cls(*made)

    def guard_command(self, grace_s: float) -> list[str]:
        guard = [sys.executable, "-I", "-S", str(GUARD)]
        return [*guard, str(self.lifeline_read), str(self.status_write), str(grace_s)]

    def close_theirs(self) -> None:
        _close(self.lifeline_read, self.status_write, self.output_write)

    def close_ours(self) -> None:
        _close(self.lifeline_write, self.status_read, self.output_read)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    """Pipes of our own and not asyncio's: its `wait` would not end while an escaped process holds them."""
    reader = asyncio.StreamReader(limit=LONGEST_LINE_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: protocol, os.fdopen(descriptor, "rb", 0)
    )
    return reader, transport


def _not_started(name: str, error: OSError) -> ChildFailed:
    text = f"{name} could not be started: {error.strerror}."
    return ChildFailed(Failure("child.not_started", text, "look at `inglenook doctor`"))
