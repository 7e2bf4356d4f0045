# SPDX-License-Identifier: Apache-2.0
"""No child outlives the server, however the server ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.processes import (
    QUIET,
    STUBBORN,
    WITH_GRANDCHILD,
    halt,
    is_gone,
    linux,
    python,
    survivors,
)

BOUND_S = 60.0
"""The grace is 0.3 s; the rest is for a busy machine."""

SERVER = """
import asyncio, json, os, sys
from pathlib import Path
from inglenook.runtime.process import ChildProcess, clean_environment

async def main(programs):
    children = [
        await ChildProcess.start(argv, name="child", environ=clean_environment(os.environ, {}),
                                 cwd=Path("."), grace_s=0.3)
        for argv in programs
    ]
    while not all(child.log() for child in children):
        await asyncio.sleep(0.01)
    pids = []
    for child in children:
        pids += [child.pid, child._guard.pid]
        pids += [int(line.split()[1]) for line in child.log() if line.startswith("grandchild")]
    print(json.dumps(pids), flush=True)
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told.set)
    await told.wait()
    if sys.argv[2] == "abort":
        os.abort()
    raise RuntimeError("the server crashes")

asyncio.run(main(json.loads(sys.argv[1])))
"""


def begin(how: str) -> "tuple[subprocess.Popen[str], list[int]]":
    programs = [python(QUIET), python(STUBBORN), python(WITH_GRANDCHILD)]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(programs), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    pids: list[int] = json.loads(server.stdout.readline())
    assert len(pids) == 7
    assert not any(is_gone(pid) for pid in pids)
    return server, pids


@linux
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT", "abort", "exception"])
def test_no_child_grandchild_or_guard_outlives_the_server(how: str) -> None:
    server, pids = begin(how)
    try:
        if how.startswith("SIG"):
            server.send_signal(signal.Signals[how])
        else:
            assert server.stdin is not None
            server.stdin.write("go\n")
            server.stdin.flush()
        server.wait(BOUND_S)
        assert survivors(pids, BOUND_S) == []
    finally:
        server.kill()
        server.communicate()


@linux
def test_a_server_that_hangs_and_is_killed_leaves_nothing_behind_either() -> None:
    """Stopped by SIGSTOP it reads no pipe and answers nobody; its end is still seen by the guards."""
    server, pids = begin("hang")
    try:
        server.send_signal(signal.SIGSTOP)
        server.kill()
        server.wait(BOUND_S)
        assert survivors(pids, BOUND_S) == []
    finally:
        server.communicate()


@linux
def test_a_child_dies_with_its_guard_also_when_the_server_cannot_see_to_it() -> None:
    """The server is stopped, so that it cannot end the group itself."""
    server, pids = begin("hang")
    try:
        asyncio.run(halt(server.pid))
        children, guards = [pids[0], pids[2], pids[4]], [pids[1], pids[3], pids[5]]
        for guard in guards:
            os.kill(guard, signal.SIGKILL)
        assert survivors(children, BOUND_S) == []
    finally:
        server.kill()
        server.communicate()
        os.kill(pids[6], signal.SIGKILL)  # its child's guard was killed by us: nobody else ends it


@linux
def test_a_guard_costs_little(tmp_path: Path) -> None:
    """A claim of `guard.py`: one is started for every child."""
    server, pids = begin("SIGTERM")
    try:
        guard = pids[1]
        rows = Path(f"/proc/{guard}/status").read_text().splitlines()
        own_kib = next(int(row.split()[1]) for row in rows if row.startswith("RssAnon"))
        assert own_kib < 16 * 1024
        assert os.getpgid(pids[0]) != os.getpgid(guard) != os.getpgid(server.pid)
    finally:
        server.kill()
        server.communicate()
        survivors(pids, BOUND_S)
