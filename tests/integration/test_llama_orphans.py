# SPDX-License-Identifier: Apache-2.0
"""No llama.cpp child outlives the server, however the server ends."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.gguf_files import write_llama
from tests.integration.processes import is_gone, linux, survivors
from tests.llama_server import require_library, write_llama_server

BOUND_S = 60.0
SERVER = """
import asyncio, json, signal, sys
from pathlib import Path
from inglenook.base.ids import ModelId
from inglenook.engines.llamacpp.engine import LlamaEngine
from inglenook.runtime.contracts import LoadPlan
from inglenook.testing.devices import fake_device
from inglenook.wire.llama import LoadLanguageModel

async def main(spool, model, program, mmproj):
    engine = LlamaEngine(spool_root=Path(spool), find=lambda: Path(program) if program else None,
                         start_timeout_s=90.0, stop_grace_s=0.5, threads=1)
    load = LoadLanguageModel(path=model, alias="m", context=256, mmproj=mmproj or None)
    child = await engine.start(LoadPlan(ModelId("m"), "llama.cpp", {"cpu": 1}, options={"load": load}),
                               fake_device("cpu", 10**9))
    await child.ready()
    body = json.dumps({"prompt": "the", "n_predict": 100, "stream": True}).encode()
    async with child.request("POST", "/completion", body=body) as reply:
        await anext(aiter(reply.content))
        print(json.dumps([*child.pids, child._process._guard.pid]), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize("how", ["launcher", "program"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_llama_child_outlives_the_server(tmp_path: Path, how: str, end: signal.Signals) -> None:
    check(tmp_path, how, end, "")


@linux
@pytest.mark.slow
@pytest.mark.parametrize("how", ["launcher", "program"])
def test_one_in_a_network_of_its_own_does_not_either(tmp_path: Path, how: str) -> None:
    from tests.gguf_files import write_projector

    check(tmp_path, how, signal.SIGKILL, str(write_projector(tmp_path / "mmproj.gguf")))


def check(tmp_path: Path, how: str, end: signal.Signals, mmproj: str) -> None:
    require_library()
    program = str(write_llama_server(tmp_path)) if how == "program" else ""
    model = str(write_llama(tmp_path / "m.gguf"))
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "spool"), model, program, mmproj],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        pids: list[int] = json.loads(server.stdout.readline())
        assert not any(is_gone(pid) for pid in pids)
        server.send_signal(end)
        server.wait(BOUND_S)
        assert survivors(pids, BOUND_S) == []
    finally:
        server.kill()
        server.communicate()
