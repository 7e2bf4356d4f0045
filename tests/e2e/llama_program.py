# SPDX-License-Identifier: Apache-2.0
"""A `llama-server` for a real server of ours (`language.server`) whose models do what their files' names say.

It is `inglenook.testing.llama` behind the arguments that a llama-server is given: `dies_in_stream.gguf` dies
in mid-stream, `never_ready.gguf` loads for ever, any other name answers properly.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import psutil

from inglenook.testing.llama import LlamaBehaviour
from tests.e2e.workbench import command
from tests.gguf_files import write_llama

PROGRAM = f"""#!{sys.executable}
import argparse, os, pathlib, sys
import msgspec
from inglenook.testing import llama
from inglenook.wire.llama import Launch, LoadLanguageModel
if "--version" in sys.argv:
    print("version: 9993 (602f828b4)")
    sys.exit(0)
if "--list-devices" in sys.argv:
    print("Available devices:")
    sys.exit(0)
parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--model", required=True)
parser.add_argument("--alias", required=True)
parser.add_argument("--host", required=True)
parser.add_argument("--ctx-size", type=int, required=True)
parser.add_argument("--parallel", type=int, required=True)
given, _ = parser.parse_known_args()
load = LoadLanguageModel(
    path=given.model, alias=given.alias, context=given.ctx_size // given.parallel, parallel=given.parallel
)
order = pathlib.Path("launch.json")
order.write_bytes(msgspec.json.encode(Launch(load=load, socket=given.host)))
sys.argv = [sys.argv[0], str(order)]
sys.exit(llama.main())
"""


def write_scripted_llama_server(folder: Path) -> Path:
    """An executable file in `folder`."""
    program = folder / "llama-server"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return program


def write_models(data: Path, names: Iterable[str]) -> None:
    """The same small model under several names, in the data folder's `models`."""
    content = write_llama(data / "first.gguf").read_bytes()
    (data / "first.gguf").unlink()
    (data / "models").mkdir(exist_ok=True)
    for name in names:
        (data / "models" / f"{name}.gguf").write_bytes(content)


BEHAVIOURS = tuple(behaviour.value for behaviour in LlamaBehaviour)


def llama_children(server_pid: int) -> list[psutil.Process]:
    """The llama.cpp processes of a server, scripted or not, without their guards."""
    try:
        family = psutil.Process(server_pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [child for child in family if _is_llama(command(child))]


def _is_llama(line: str) -> bool:
    return "guard.py" not in line and ("inglenook.workers.llama" in line or "llama-server --model" in line)


def asked(child: psutil.Process, path: str) -> Any:
    """What a scripted child says on one of its own routes: `/asked`, `/given-up`."""
    with _talk(child) as client:
        return client.get(path).json()


def go(child: psutil.Process) -> None:
    """Let what waits in a scripted child go on."""
    with _talk(child) as client:
        client.post("/go", json={})


def _talk(child: psutil.Process) -> httpx.Client:
    line = child.cmdline()
    socket = line[line.index("--host") + 1]
    return httpx.Client(base_url="http://child", transport=httpx.HTTPTransport(uds=socket), timeout=30)


def events(lines: Iterable[str]) -> list[Any]:
    """The data of server-sent events: JSON, or the text `[DONE]`."""
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]
