# SPDX-License-Identifier: Apache-2.0
"""A whole server in a process of its own, on a free loopback port, for tests and benchmarks."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

_LISTENS = re.compile(r"listens on (http://\S+)")


class RunningServer:
    """Start with `RunningServer.start(...)`; use as a context manager, or call `stop`.

    Attributes:
        base_url: `http://127.0.0.1:port`.
        started_s: seconds from the command to the first `/readyz` that says 200.
    """

    def __init__(self, process: "subprocess.Popen[str]", data: Path) -> None:
        self._process = process
        self._lines: list[str] = []
        self._found = threading.Event()
        self.data = data
        self.base_url = ""
        self.started_s = 0.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def start(
        cls,
        data: Path,
        *,
        environ: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        timeout_s: float = 60.0,
    ) -> "RunningServer":
        """Start `inglenook serve` on `data` and wait until it is ready.

        Args:
            environ: more variables, for instance `INGLENOOK_RUNTIME__CPU_THREADS`.

        Raises:
            RuntimeError: it ended, or was not ready in time; the message holds its output.
        """
        began = time.monotonic()
        command = [sys.executable, "-m", "inglenook", "serve", "--port", "0", "--data", str(data), *arguments]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environ or {}),
        )
        server = cls(process, data)
        try:
            server._wait_ready(began + timeout_s)
        except BaseException:
            server.kill()
            raise
        server.started_s = time.monotonic() - began
        return server

    def _wait_ready(self, deadline: float) -> None:
        self._found.wait(max(0.0, deadline - time.monotonic()))
        if not self.base_url:
            raise RuntimeError(f"the server did not start:\n{self.output}")
        with httpx.Client(trust_env=False) as client:
            while time.monotonic() < deadline:
                try:
                    if client.get(f"{self.base_url}/readyz").status_code == 200:
                        return
                except httpx.TransportError:
                    pass  # it has not begun to answer
                if self._process.poll() is not None:
                    break
                time.sleep(0.01)
        raise RuntimeError(f"the server was not ready in time:\n{self.output}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.append(line)
                match = _LISTENS.search(line)
                if match:
                    self.base_url = match[1]
                    self._found.set()
        self._found.set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self._lines)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Its exit status. Raises `subprocess.TimeoutExpired`."""
        status = self._process.wait(timeout_s)
        self._reader.join(5)
        return status

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
