# SPDX-License-Identifier: Apache-2.0
"""One fire: chat and pictures for ten minutes on a device that holds only one of the two models.

Twenty clients at once, each asking for an answer and then for a picture, over and over, of a real server with
real children. What must hold: nothing runs out of memory, no stream is cut, no request is lost, waiting is
bounded and always explained, and what the ledger reserves is what the processes use.

    python -m benchmarks.fire [--seconds 600] [--clients 20]

prints one JSON object.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.starters import CHAT, installed, with_starters

from inglenook.testing.server import RunningServer

PICTURES = "starter-339"
CLIENTS = 20
SECONDS = 600.0
PROBE_EVERY_S = 1.0
TOKENS = 16
CONTEXT = 512
SLOTS = 4
ROOM_FOR_ONE = 1.15
"""The budget, as a multiple of the larger model's footprint: too little for both."""
ENVIRON = {
    "INGLENOOK_RUNTIME__CPU_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "INGLENOOK_LANGUAGE__CONTEXT": str(CONTEXT),
    "INGLENOOK_LANGUAGE__PARALLEL": str(SLOTS),
}


@dataclass
class Tally:
    """What the clients have seen."""

    waits: dict[str, list[float]] = field(default_factory=lambda: {"chat": [], "picture": []})
    troubles: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def trouble(self, kind: str, text: str) -> None:
        self.troubles[kind] += 1
        if len(self.examples) < 10:
            self.examples.append(f"{kind}: {text[:300]}")


@dataclass
class Watched:
    """What the runtime has told, once a second."""

    looks: int = 0
    unexplained: int = 0
    both_at_once: int = 0
    over_budget: int = 0
    most_waiting: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    events: dict[str, str] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fire")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.seconds, chosen.clients), indent=1))


def measure(seconds: float, clients: int) -> dict[str, Any]:
    model = installed(CHAT)
    with tempfile.TemporaryDirectory() as folder:
        data = with_starters(Path(folder), model)
        footprints = _learn(data)
        budget = int(max(footprints.values()) * ROOM_FOR_ONE)
        if sum(footprints.values()) <= budget:
            raise RuntimeError(f"both models fit into {budget} bytes: {footprints}; nothing would be shown")
        environ = ENVIRON | {"INGLENOOK_RUNTIME__BUDGETS": json.dumps({"cpu": budget})}
        with RunningServer.start(data, environ=environ) as server:
            tally, watched = asyncio.run(_fire(server, seconds, clients))
            output = server.output
    return _report(tally, watched, footprints, budget, seconds, clients) | {
        "out_of_memory_in_the_log": sum("out of memory" in line for line in output.splitlines()),
        "tracebacks_in_the_log": sum("Traceback" in line for line in output.splitlines()),
    }


def _learn(data: Path) -> dict[str, int]:
    """Each model once, alone and as hard as it will be worked later, so that its footprint is known."""
    with RunningServer.start(data, environ=ENVIRON) as server:
        for _ in range(2):
            asyncio.run(_warm(server))
            time.sleep(2.5)  # so that the measurement has seen it
        with httpx.Client(base_url=server.base_url, trust_env=False, timeout=30) as http:
            residents = http.get("/v1/runtime").json()["residents"]
    return {one["model"]: max(one["measured_bytes"], 1) for one in residents}


async def _warm(server: RunningServer) -> None:
    tally = Tally()
    async with _client(server) as http:
        await asyncio.gather(*(_chat(http, tally, 0, n) for n in range(SLOTS)), _picture(http, tally, 0, 0))
    if tally.troubles:
        raise RuntimeError(f"the first requests failed: {tally.examples}")


def _client(server: RunningServer) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(
        base_url=server.base_url, trust_env=False, timeout=httpx.Timeout(None), limits=limits
    )


async def _fire(server: RunningServer, seconds: float, clients: int) -> tuple[Tally, Watched]:
    tally, watched = Tally(), Watched()
    until = time.monotonic() + seconds
    async with _client(server) as http:
        watching = asyncio.create_task(_watch(http, watched))
        await asyncio.gather(*(_one_client(http, tally, number, until) for number in range(clients)))
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return tally, watched


async def _one_client(http: httpx.AsyncClient, tally: Tally, number: int, until: float) -> None:
    """Half begin with a picture, so that both kinds are always asked for."""
    turn = number
    while time.monotonic() < until:
        if turn % 2 == 0:
            await _chat(http, tally, number, turn)
        else:
            await _picture(http, tally, number, turn)
        turn += 1


async def _chat(http: httpx.AsyncClient, tally: Tally, number: int, turn: int) -> None:
    body = {
        "model": CHAT,
        "messages": [{"role": "user", "content": f"Client {number}, turn {turn}: tell me about foxes."}],
        "max_tokens": TOKENS,
        "stream": True,
    }
    began, finish, done = time.monotonic(), None, False
    try:
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                return tally.trouble(f"chat {answer.status_code}", (await answer.aread()).decode())
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    said = json.loads(line[6:])
                    if "error" in said:
                        return tally.trouble("chat error event", line)
                    finish = (said.get("choices") or [{}])[0].get("finish_reason") or finish
    except httpx.HTTPError as error:
        return tally.trouble("chat connection", repr(error))
    if not done or finish not in ("stop", "length"):
        return tally.trouble("chat cut off", f"finish_reason {finish}, done {done}")
    tally.waits["chat"].append(time.monotonic() - began)
    return None


async def _picture(http: httpx.AsyncClient, tally: Tally, number: int, turn: int) -> None:
    body = {"model": PICTURES, "prompt": "a red fox", "size": "128x128", "seed": 1000 * number + turn}
    began = time.monotonic()
    try:
        answer = await http.post("/v1/images/generations", json=body)
    except httpx.HTTPError as error:
        return tally.trouble("picture connection", repr(error))
    if answer.status_code != 200 or not answer.json()["data"][0].get("b64_json"):
        return tally.trouble(f"picture {answer.status_code}", answer.text)
    tally.waits["picture"].append(time.monotonic() - began)
    return None


async def _watch(http: httpx.AsyncClient, watched: Watched) -> None:
    while True:
        await asyncio.sleep(PROBE_EVERY_S)
        _look((await http.get("/v1/runtime")).json(), watched)


def _look(told: dict[str, Any], watched: Watched) -> None:
    watched.looks += 1
    watched.most_waiting = max(watched.most_waiting, len(told["queue"]))
    for waiting in told["queue"]:
        watched.reasons[waiting["reason"]["kind"]] += 1
        watched.unexplained += not waiting["reason"]["text"]
    here = [one for one in told["residents"] if one["state"] in ("starting", "ready", "draining")]
    watched.both_at_once += len({one["model"] for one in here}) > 1
    for device in told["devices"]:
        watched.over_budget += device["reserved_bytes"] > device["budget_bytes"]
    for one in here:
        if one["state"] == "ready" and one["measured_bytes"] and (one["leases"] or one["idle_s"]):
            ratio = one["reserved_bytes"] / one["measured_bytes"]
            watched.ratios.setdefault(one["model"], []).append(ratio)
    for event in told.get("recent", []):
        watched.events[f"{event['when']} {event['model']} {event['what']}"] = event["what"]


def _report(
    tally: Tally, watched: Watched, footprints: dict[str, int], budget: int, seconds: float, clients: int
) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "clients": clients,
        "budget_bytes": budget,
        "footprints_bytes": footprints,
        "served": {kind: len(waits) for kind, waits in tally.waits.items()},
        "wait_s": {kind: _spread(waits) for kind, waits in tally.waits.items() if waits},
        "troubles": dict(tally.troubles),
        "examples": tally.examples,
        "looks": watched.looks,
        "waits_without_a_reason": watched.unexplained,
        "reasons": dict(watched.reasons.most_common()),
        "most_waiting": watched.most_waiting,
        "looks_with_both_models_in_memory": watched.both_at_once,
        "looks_over_budget": watched.over_budget,
        "reserved_over_measured": {
            model: {"median": statistics.median(ratios), "last": ratios[-1]}
            for model, ratios in watched.ratios.items()
        },
        "events": dict(Counter(watched.events.values())),
    }


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
        "longest": ordered[-1],
    }


if __name__ == "__main__":
    main()
