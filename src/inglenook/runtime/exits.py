# SPDX-License-Identifier: Apache-2.0
"""Why a child is gone, in words. Pure but for one reading of the kernel's own counter.

"Out of memory" is said only with evidence: the kernel's counter of processes it killed for memory, or an
allocator's own error on the wire. A bare SIGKILL is a bare SIGKILL.
"""

import signal
from pathlib import Path

from inglenook.runtime import cgroup
from inglenook.runtime.contracts import Failure, OutOfMemoryEvidence
from inglenook.runtime.process import Exit

SHOWN_LINES = 5


def classify(
    end: Exit, *, name: str, doing: str, log: tuple[str, ...] = (), oom_kills: int | None = None
) -> Failure:
    """What to tell about a child that ended although nobody had asked it to.

    Args:
        doing: what it did: "while it was being loaded", "while it drew".
        oom_kills: by how much the kernel's counter of out-of-memory kills in our control group rose
            while the child lived; None where that cannot be read.
    """
    lines = tuple(line for line in log if line.strip())[-SHOWN_LINES:]
    if end.error is not None:
        text = f"{name} could not be run: {end.error}."
        return Failure("child.not_started", text, "look at `inglenook doctor`", last_lines=lines)
    if end.guard_killed:
        text = f"{name} was ended {doing}, because somebody killed the process that guards it."
        return Failure("child.killed", text, "try again", last_lines=lines)
    if end.signal == signal.SIGKILL and oom_kills:
        evidence = OutOfMemoryEvidence(source=f"the kernel killed {oom_kills} process(es) of ours for memory")
        text = f"{name} was killed by the system {doing}: the machine ran out of memory."
        hint = "close other programs, use a smaller model, or lower runtime.budgets for cpu"
        return Failure("child.out_of_memory", text, hint, evidence, lines)
    if end.signal is not None:
        text = f"{name} was ended by {_signal_name(end.signal)} {doing}; the cause is not known."
        return Failure("child.killed", text, _hint(end.signal), last_lines=lines)
    said = f" Its last words: {lines[-1]}" if lines else ""
    text = f"{name} ended with status {end.code} {doing}.{said}"
    return Failure("child.exited", text, "its last lines are in `GET /v1/runtime`", last_lines=lines)


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _hint(number: int) -> str:
    if number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL):
        return "the model's file or the engine's build may be broken: try another model, then another build"
    return "try again; if it recurs, look at the system's log"


class KernelOomCounter:
    """How many processes of our control group the kernel has killed for memory (cgroup v2)."""

    def __init__(self, root: Path = cgroup.ROOT, own: Path = cgroup.OWN) -> None:
        self._root = root
        self._own = own

    def read(self) -> int | None:
        """None where the kernel does not tell (no cgroup v2, another system)."""
        try:
            events = cgroup.groups(self._root, self._own)[0] / "memory.events"
            rows = dict(line.split() for line in events.read_text().splitlines())
            return int(rows["oom_kill"])
        except (OSError, KeyError, ValueError):
            return None
