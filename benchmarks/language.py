# SPDX-License-Identifier: Apache-2.0
"""What our door costs: one llama.cpp server asked directly, through us, and through LiteLLM's proxy.

Three processes serve the same file with the same parameters: llama.cpp's server by hand, ours with its child,
and LiteLLM in front of the one by hand. The same small client asks each in turn, round after round, with the
same prompt, so that llama.cpp has read it before and the first token comes quickly: what is added shows.

`python -m benchmarks.language` prints one JSON object. LiteLLM is installed once into `.benchmarks/litellm`,
an environment of its own, because it wants other versions than we do.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from tests.starters import CHAT, installed, with_starters

from inglenook.testing.server import RunningServer

ROOT = Path(__file__).parents[1]
LITELLM = ROOT / ".benchmarks" / "litellm"
CLIENTS = (1, 8, 32)
ROUNDS = {1: 40, 8: 4, 32: 2}
"""How often each number of clients asks each side; every client once a round. With one client the figure is a
middle of few milliseconds among answers that differ by ten: it takes many."""
TOKENS = {1: 32, 8: 32, 32: 16}
SLOTS = 32
CONTEXT = 256
PROMPT = "Tell a long story about a fox and a raven who share a house in the woods."
ENVIRON = {
    "INGLENOOK_RUNTIME__CPU_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "INGLENOOK_LANGUAGE__PARALLEL": str(SLOTS),
    "INGLENOOK_LANGUAGE__CONTEXT": str(CONTEXT),
    "INGLENOOK_RUNTIME__IDLE_UNLOAD_S": "never",
}
BY_HAND = """
import signal, sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.hostnames, p.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
p.n_parallel, p.n_ctx, p.use_jinja, p.ui = int(sys.argv[3]), int(sys.argv[3]) * int(sys.argv[4]), True, False
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
s = xllamacpp.Server(p)
signal.pause()
"""
"""llama.cpp's server as somebody would start it: from the same package as ours, on a port."""


@dataclass
class Side:
    """One way to the model. `processes`: what it adds between the client and llama.cpp."""

    name: str
    host: str
    port: int
    model: str
    processes: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    first_s: float
    whole_s: float
    tokens: int


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    model = installed(CHAT)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        direct = stack.enter_context(by_hand(model))
        server = stack.enter_context(RunningServer.start(with_starters(folder, model), environ=ENVIRON))
        address = httpx.URL(server.base_url)
        ours = Side("ours", address.host, address.port or 0, CHAT, (server.pid,))
        sides = [direct, ours, *stack.enter_context(litellm(direct))]
        for side in sides:  # loads the model, and has llama.cpp read the prompt
            asyncio.run(_together(side, SLOTS, 2))
        found = {str(clients): _compare(sides, clients) for clients in CLIENTS}
    return {"sides": [side.name for side in sides], "clients": found}


def _compare(sides: list[Side], clients: int) -> dict[str, Any]:
    answers: dict[str, list[Answered]] = {side.name: [] for side in sides}
    spent: dict[str, float] = dict.fromkeys(answers, 0.0)
    cpu: dict[str, float] = dict.fromkeys(answers, 0.0)
    for _ in range(ROUNDS[clients]):
        for side in sides:
            before, began = _cpu(side), time.perf_counter()
            answers[side.name] += asyncio.run(_together(side, clients, TOKENS[clients]))
            spent[side.name] += time.perf_counter() - began
            cpu[side.name] += _cpu(side) - before
    rates = {name: sum(one.tokens for one in given) / spent[name] for name, given in answers.items()}
    direct = _firsts(answers["direct"])
    return {
        name: {
            "first_token_ms": {"p50": _at(firsts, 0.5), "p99": _at(firsts, 0.99)},
            "added_ms": {
                "p50": _at(firsts, 0.5) - _at(direct, 0.5),
                "p99": _at(firsts, 0.99) - _at(direct, 0.99),
            },
            "tokens_per_s": rates[name],
            "share_of_direct": rates[name] / rates["direct"],
            "cpu_s_per_1000_tokens": 1000 * cpu[name] / sum(one.tokens for one in answers[name]),
            "answers": len(answers[name]),
        }
        for name, firsts in ((name, _firsts(given)) for name, given in answers.items())
    }


def _firsts(answers: list[Answered]) -> list[float]:
    return sorted(one.first_s * 1000 for one in answers)


def _at(values: list[float], share: float) -> float:
    if share == 0.5:
        return statistics.median(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def _cpu(side: Side) -> float:
    """CPU seconds of what lies between. What has ended meanwhile counts for nothing."""
    total = 0.0
    for pid in side.processes:
        for process in (psutil.Process(pid), *_children(pid, side)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


def _children(pid: int, side: Side) -> list[psutil.Process]:
    """LiteLLM's own workers; of ours only the server, since its children are llama.cpp's."""
    return psutil.Process(pid).children(recursive=True) if side.name == "LiteLLM" else []


async def _together(side: Side, clients: int, tokens: int) -> list[Answered]:
    return list(await asyncio.gather(*(_ask(side, tokens) for _ in range(clients))))


async def _ask(side: Side, tokens: int) -> Answered:
    """One streamed answer over a connection of its own."""
    body = json.dumps(
        {
            "model": side.model,
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
        }
    ).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in side.headers.items())
    reader, writer = await asyncio.open_connection(side.host, side.port)
    began = time.perf_counter()
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {side.host}\r\nContent-Type: application/json\r\n{more}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    first_s, found = 0.0, 0
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"{side.name}: {status!r} {(await reader.read())[:500]!r}")
    async for line in reader:
        if line.startswith(b"data: {") and (b'"content":"' in line or b'"content": "' in line):
            delta = json.loads(line[6:])["choices"]
            if delta and delta[0]["delta"].get("content"):
                found += 1
                first_s = first_s or time.perf_counter() - began
        elif line.startswith(b"data: [DONE]"):
            break
    writer.close()
    return Answered(first_s, time.perf_counter() - began, found)


@contextmanager
def by_hand(model: Path) -> Iterator[Side]:
    port = free_port()
    command = [sys.executable, "-c", BY_HAND, str(model), str(port), str(SLOTS), str(CONTEXT)]
    with _running(command, f"http://127.0.0.1:{port}/health", os.environ | {"OMP_NUM_THREADS": "1"}):
        yield Side("direct", "127.0.0.1", port, "smollm2")


@contextmanager
def litellm(direct: Side) -> Iterator[list[Side]]:
    """LiteLLM's proxy in front of `direct`."""
    program = LITELLM / "bin" / "litellm"
    if not program.exists():
        install_litellm()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(
            json.dumps(
                {
                    "model_list": [
                        {
                            "model_name": "smollm2",
                            "litellm_params": {
                                "model": "openai/smollm2",
                                "api_base": f"http://{direct.host}:{direct.port}/v1",
                                "api_key": "none",
                            },
                        }
                    ]
                }
            )
        )
        port = free_port()
        command = [
            str(program),
            "--config",
            str(config),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--num_workers",
            "1",
        ]
        environ = os.environ | {
            "LITELLM_TELEMETRY": "False",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_DOCS": "True",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # on loopback, for some minutes
        }
        with _running(command, f"http://127.0.0.1:{port}/health/liveliness", environ, timeout_s=180) as pid:
            yield [Side("LiteLLM", "127.0.0.1", port, "smollm2", (pid,), {"Authorization": "Bearer none"})]


def install_litellm() -> None:
    LITELLM.parent.mkdir(exist_ok=True)
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", str(LITELLM)], check=True, stdout=sys.stderr)
    subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", str(LITELLM / "bin" / "python"), "litellm[proxy]"],
        check=True,
        stdout=sys.stderr,
    )


@contextmanager
def _running(
    command: list[str], health: str, environ: Mapping[str, str], *, timeout_s: float = 60.0
) -> Iterator[int]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(environ)
    )
    try:
        deadline = time.monotonic() + timeout_s
        with httpx.Client(trust_env=False, timeout=5) as client:
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not come up")
                try:
                    if client.get(health).status_code == 200:
                        break
                except httpx.TransportError:
                    pass  # it does not listen yet
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
