# SPDX-License-Identifier: Apache-2.0
"""The server itself: how fast it starts, what it weighs, and whether it answers while others work.

`python -m benchmarks.server` prints one JSON object. Times are medians over `STARTS` starts, on an empty
data folder for the first start (which makes the database) and on the same one after that.
"""

import json
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from inglenook.testing.server import RunningServer

STARTS = 5
PROBE_EVERY_S = 0.01
MODEL = "auto"
ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        first = _start(data)
        again = [_start(data) for _ in range(STARTS)]
        with RunningServer.start(data, environ=ENVIRON) as server:
            idle = _probe_while(server, lambda: time.sleep(2))
            loading = _probe_while(server, lambda: _draw(server, n=1))
            drawing = _probe_while(server, lambda: _draw(server, n=10, size="512x512"))
    return {
        "first_start_s": first.seconds,
        "first_idle_rss_mb": first.rss_bytes / 1e6,
        "start_s": statistics.median(one.seconds for one in again),
        "start_cpu_s": statistics.median(one.cpu_s for one in again),
        "idle_rss_mb": statistics.median(one.rss_bytes for one in again) / 1e6,
        "health_idle_ms": idle,
        "health_while_a_model_loads_ms": loading,
        "health_while_pictures_are_drawn_ms": drawing,
    }


@dataclass(frozen=True)
class Started:
    """`seconds` and `cpu_s`: from the command to the first `/readyz`; `rss_bytes`: a second later."""

    seconds: float
    cpu_s: float
    rss_bytes: int


def _start(data: Path) -> Started:
    with RunningServer.start(data, environ=ENVIRON) as server:
        process = psutil.Process(server.pid)
        spent = process.cpu_times()
        time.sleep(1.0)  # the catalogue is read behind the first answers
        return Started(server.started_s, spent.user + spent.system, process.memory_info().rss)


def _draw(server: RunningServer, *, n: int, size: str = "256x256") -> None:
    body = {"model": MODEL, "prompt": "a red fox", "n": n, "size": size}
    with httpx.Client(trust_env=False, timeout=300) as client:
        client.post(f"{server.base_url}/v1/images/generations", json=body).raise_for_status()


def _probe_while(server: RunningServer, work: Any) -> dict[str, float]:
    """p50 and p99 of `/health` in milliseconds while `work` runs in another thread."""
    worker = threading.Thread(target=work)
    samples: list[float] = []
    with httpx.Client(trust_env=False, timeout=30) as client:
        client.get(f"{server.base_url}/health")
        worker.start()
        while worker.is_alive():
            began = time.perf_counter()
            client.get(f"{server.base_url}/health").raise_for_status()
            samples.append((time.perf_counter() - began) * 1000)
            time.sleep(PROBE_EVERY_S)
    worker.join()
    samples.sort()
    return {
        "p50": statistics.median(samples),
        "p99": samples[min(len(samples) - 1, int(0.99 * len(samples)))],
        "samples": len(samples),
    }


if __name__ == "__main__":
    main()
