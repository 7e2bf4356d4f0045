# SPDX-License-Identifier: Apache-2.0
"""Eight clients at once on one model: throughput, fairness, and a slow reader who must delay nobody.

Each client is the same person here (there are no accounts yet), so fairness is that of the order of arrival:
the largest mean wait of a client over the smallest. `python -m benchmarks.clients` prints one JSON object.
"""

import json
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from inglenook.testing.server import RunningServer

CLIENTS = 8
PICTURES_EACH = 5
ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningServer.start(Path(folder), environ=ENVIRON) as server,
    ):
        _draw(server, seed=0)  # loads the model
        alone = [_draw(server, seed=seed) for seed in range(10)]
        together = _all_at_once(server, slow_reader=False)
        beside_a_slow_one = _all_at_once(server, slow_reader=True)
    return {
        "one_client_pictures_per_s": 1 / statistics.median(alone),
        "eight_clients": together,
        "eight_clients_and_a_slow_reader": beside_a_slow_one,
        "throughput_ratio_eight_to_one": together["pictures_per_s"] * statistics.median(alone),
        "throughput_ratio_with_to_without_slow_reader": beside_a_slow_one["pictures_per_s"]
        / together["pictures_per_s"],
    }


def _draw(server: RunningServer, *, seed: int) -> float:
    body = {"model": "auto", "prompt": "a red fox", "size": "128x128", "seed": seed}
    began = time.perf_counter()
    with httpx.Client(trust_env=False, timeout=600) as client:
        client.post(f"{server.base_url}/v1/images/generations", json=body).raise_for_status()
    return time.perf_counter() - began


def _all_at_once(server: RunningServer, *, slow_reader: bool) -> dict[str, float]:
    waits: dict[int, list[float]] = {number: [] for number in range(CLIENTS)}
    ready = threading.Barrier(CLIENTS + 1)

    def client(number: int) -> None:
        ready.wait()
        for picture in range(PICTURES_EACH):
            waits[number].append(_draw(server, seed=1000 * number + picture))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    slow = _SlowReader(server) if slow_reader else None
    began = time.perf_counter()
    ready.wait()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - began
    if slow is not None:
        slow.close()
    means = [statistics.mean(of_one) for of_one in waits.values()]
    every = sorted(wait for of_one in waits.values() for wait in of_one)
    return {
        "pictures_per_s": CLIENTS * PICTURES_EACH / spent,
        "median_wait_s": statistics.median(every),
        "longest_wait_s": every[-1],
        "largest_mean_wait_over_smallest": max(means) / min(means),
    }


class _SlowReader:
    """Asks for a streamed picture with partial images, and never reads the answer."""

    def __init__(self, server: RunningServer) -> None:
        address = urlsplit(server.base_url)
        body = json.dumps(
            {
                "model": "auto",
                "prompt": "a cat",
                "size": "1024x1024",
                "n": 1,
                "stream": True,
                "partial_images": 3,
            }
        ).encode()
        self._socket = socket.create_connection((address.hostname or "", address.port or 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self._socket.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def close(self) -> None:
        self._socket.close()


if __name__ == "__main__":
    main()
