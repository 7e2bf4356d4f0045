# SPDX-License-Identifier: Apache-2.0
"""Looking at real processes through /proc, and small programs that are hard to get rid of."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Protocol

import pytest

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc is looked at")

QUIET = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + QUIET
WITH_GRANDCHILD = f"""
import signal, subprocess, sys
made = subprocess.Popen([sys.executable, "-I", "-S", "-c", {STUBBORN!r}], stdout=subprocess.PIPE)
made.stdout.readline()
print("grandchild", made.pid, flush=True)
signal.pause()
"""


def python(program: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program]


def state_of(pid: int) -> str:
    """The letter that `ps` shows; X when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def thread_states(pid: int) -> set[str]:
    """The letters of all its threads; empty when there is no such process."""
    states = set()
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            states.add(stat.read_text().rpartition(")")[2].split()[0])
    return states


async def halt(pid: int, within_s: float = 60.0) -> None:
    """Stop it, so that it does not hear SIGTERM.

    Threads stop one by one: while one still runs, SIGTERM ends a process that has no handler for it yet.
    """
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(within_s):
        while thread_states(pid) != {"T"}:
            await asyncio.sleep(0.001)


class Logged(Protocol):
    def log(self) -> tuple[str, ...]: ...


async def printed(child: Logged, word: str, within_s: float = 60.0) -> str:
    """The first line of its log that begins with `word`.

    What a child prints and what it says over its wire come by different ways: neither waits for the other.
    """
    async with asyncio.timeout(within_s):
        while True:
            for line in child.log():
                if line.startswith(word):
                    return line
            await asyncio.sleep(0.001)


def is_gone(pid: int) -> bool:
    """It has ended; a zombie that waits for its parent's attention counts as gone."""
    return state_of(pid) in "ZX"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def survivors(pids: list[int], within_s: float) -> list[int]:
    """Those that still live after so long; returns as soon as there are none."""
    deadline = time.monotonic() + within_s
    left = [pid for pid in pids if not is_gone(pid)]
    while left and time.monotonic() < deadline:
        os.sched_yield()
        time.sleep(0.01)
        left = [pid for pid in pids if not is_gone(pid)]
    return left


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
