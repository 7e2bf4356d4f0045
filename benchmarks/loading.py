# SPDX-License-Identifier: Apache-2.0
"""How long a language model takes to begin: from a cold and from a warm page cache, ours against llama.cpp's
server started by hand; and what reading the next model's file ahead is worth when two share the memory.

`python -m benchmarks.loading` prints one JSON object. Seconds by the wall, until an answer's first token.
"""

import asyncio
import ctypes
import json
import mmap
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from tests.starters import CHAT, installed, with_starters

from benchmarks.fire import ENVIRON, PICTURES, ROOM_FOR_ONE
from benchmarks.language import by_hand
from inglenook.testing.server import RunningServer

ROUNDS = 5


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    model = installed(CHAT)
    droppable = drop(model)
    with tempfile.TemporaryDirectory() as folder:
        starts = _starts(with_starters(Path(folder), model), model, droppable)
    with tempfile.TemporaryDirectory() as folder:
        swaps = _swaps(with_starters(Path(folder), model), model)
    return {
        "file_bytes": model.stat().st_size,
        "page_cache_can_be_dropped": droppable,
        "start_s": starts,
        "swap_s": swaps,
    }


def _starts(data: Path, model: Path, droppable: bool) -> dict[str, Any]:
    """In turn, so that what the machine does meanwhile hits both alike."""
    found: dict[str, dict[str, list[float]]] = {
        side: {"cold": [], "warm": []} for side in ("ours", "by hand")
    }
    with RunningServer.start(data, environ=ENVIRON) as server, _http(server) as http:
        first_token(http)  # the libraries' files are in the page cache from here on, for both sides
        unload(http)
        for _ in range(ROUNDS):
            for state in ("cold", "warm") if droppable else ("warm",):
                prepare(model, state)
                found["ours"][state].append(first_token(http))
                unload(http)
                prepare(model, state)
                found["by hand"][state].append(_by_hand(model))
    return {
        side: {state: statistics.median(times) for state, times in states.items() if times}
        for side, states in found.items()
    }


def _by_hand(model: Path) -> float:
    began = time.perf_counter()
    with (
        by_hand(model) as side,
        httpx.Client(base_url=f"http://{side.host}:{side.port}", trust_env=False) as http,
    ):
        _first_token(http)
        return time.perf_counter() - began


def _swaps(data: Path, model: Path) -> dict[str, Any]:
    """A chat that comes while pictures are drawn, on a device that holds one of the two: seconds from the
    last picture to the first token, the file out of the page cache when the chat was asked for."""
    found = {}
    for ahead in ("true", "false"):
        environ = ENVIRON | {"INGLENOOK_RUNTIME__READ_AHEAD": ahead}
        with RunningServer.start(data, environ=environ) as server, _http(server) as http:
            first_token(http)
            _draw(http, 2)
            time.sleep(2.5)  # measured
            residents = http.get("/v1/runtime").json()["residents"]
        budget = int(max(one["measured_bytes"] for one in residents) * ROOM_FOR_ONE)
        environ |= {"INGLENOOK_RUNTIME__BUDGETS": json.dumps({"cpu": budget})}
        with RunningServer.start(data, environ=environ) as server, _http(server) as http:
            found["read ahead" if ahead == "true" else "cold"] = statistics.median(
                asyncio.run(_swap(server, http, model)) for _ in range(ROUNDS)
            )
    return found


async def _swap(server: RunningServer, http: httpx.Client, model: Path) -> float:
    await asyncio.to_thread(_draw, http, 1)
    drop(model)
    drawing = asyncio.create_task(_timed(asyncio.to_thread(_draw, http, 8)))
    await asyncio.sleep(0.5)  # the pictures are at work
    with _http(server) as other:
        chatting = asyncio.create_task(_timed(asyncio.to_thread(first_token, other)))
        drawn_at, begun_at = await drawing, await chatting
    return begun_at - drawn_at


async def _timed(work: Any) -> float:
    await work
    return time.perf_counter()


def _http(server: RunningServer) -> httpx.Client:
    return httpx.Client(base_url=server.base_url, trust_env=False, timeout=httpx.Timeout(None))


def _draw(http: httpx.Client, count: int) -> None:
    body = {"model": PICTURES, "prompt": "a red fox", "n": count, "size": "256x256"}
    http.post("/v1/images/generations", json=body).raise_for_status()


def first_token(http: httpx.Client) -> float:
    began = time.perf_counter()
    _first_token(http)
    return time.perf_counter() - began


def _first_token(http: httpx.Client) -> None:
    body = {"model": CHAT, "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 1}
    http.post("/v1/chat/completions", json=body).raise_for_status()


def unload(http: httpx.Client) -> None:
    """And wait until its process is gone."""
    http.post(f"/v1/models/{CHAT}/unload").raise_for_status()
    while http.get("/v1/runtime").json()["residents"]:
        time.sleep(0.02)


def prepare(model: Path, state: str) -> None:
    if state == "cold":
        drop(model)
    else:
        model.read_bytes()


def drop(path: Path) -> bool:
    """Take a file out of the page cache; whether that worked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return _cached_share(file.fileno(), path.stat().st_size) < 0.1


def _cached_share(descriptor: int, size: int) -> float:
    """How much of a file is in the page cache, by the kernel's own word: mincore(2) over a mapping."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    pages = -(-size // mmap.PAGESIZE)
    there = (ctypes.c_ubyte * pages)()
    place = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    try:
        if libc.mincore(place, size, there) != 0:
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(one & 1 for one in there) / pages
    finally:
        libc.munmap(place, size)


if __name__ == "__main__":
    main()
