# SPDX-License-Identifier: Apache-2.0
"""A small program between the server and one child: no child outlives the server, however that ends.

    server ── lifeline (pipe) ──► guard ── starts, waits for ──► child (a process group of its own)
           ◄── status (pipe) ───

The guard holds the reading end of the lifeline. A `T` on it sends SIGTERM to the child's group, a `K`
SIGKILL; end-of-file means that the server is gone (a clean stop, a crash or SIGKILL look the same), and
the child's group is ended: SIGTERM, then SIGKILL after the grace. On Linux the child dies with the
guard too (`PR_SET_PDEATHSIG`), and processes that the child left behind are ended with its group.

Standard library only, started with `python -I -S` by its path: it costs some 15 ms and 8 MB.
Usage: guard.py LIFELINE_FD STATUS_FD GRACE_S PROGRAM [ARGUMENT ...]
Status lines, JSON: {"pid": 12} once it runs, then {"code": 0, "signal": null, "peak_kib": 1234}; or
{"error": "..."} when it could not be started.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Guard:
    def __init__(self, lifeline: int, status: int, grace_s: float) -> None:
        self._lifeline = lifeline
        self._status = status
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._pid = 0

    def run(self, argv: list[str]) -> None:
        libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(argv, libc, parent)
        self._pid = pid
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # the child does the same: whoever comes first wins the race
        self._tell({"pid": pid})
        threading.Thread(target=self._watch, daemon=True).start()
        # The zombie is kept until its group has been ended, so that its number cannot be anybody else's.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._signal_group(signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            self._over.set()
        code = os.waitstatus_to_exitcode(status)
        peak_kib = usage.ru_maxrss if sys.platform == "linux" else usage.ru_maxrss // 1024
        self._tell(
            {"code": code if code >= 0 else None, "signal": -code if code < 0 else None, "peak_kib": peak_kib}
        )

    def _become(self, argv: list[str], libc: ctypes.CDLL | None, parent: int) -> None:
        """In the forked process: never returns."""
        try:
            os.setpgid(0, 0)
            for number in IGNORED_BY_PYTHON:  # ignored signals stay ignored through `exec`
                signal.signal(number, signal.SIG_DFL)
            os.close(self._lifeline)
            os.set_inheritable(self._status, False)
            if libc is not None:
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)
            os.execvpe(argv[0], argv, os.environ)  # noqa: S606 - this is what a guard is for
        except OSError as error:
            self._tell({"error": f"{argv[0]}: {error.strerror}"})
        os._exit(127)

    def _watch(self) -> None:
        while True:
            command = os.read(self._lifeline, 1)
            if command == b"T":
                self._send(signal.SIGTERM)
            elif command == b"K":
                self._send(signal.SIGKILL)
            elif not command:
                break
        self._send(signal.SIGTERM)
        if not self._over.wait(self._grace_s):
            self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        with self._lock:
            if not self._over.is_set():
                self._signal_group(number)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)

    def _tell(self, status: dict[str, object]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the server is gone; the watcher sees it too
            os.write(self._status, json.dumps(status).encode() + b"\n")


def main() -> None:
    lifeline, status, grace_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    Guard(lifeline, status, grace_s).run(sys.argv[4:])


if __name__ == "__main__":
    main()
