# SPDX-License-Identifier: Apache-2.0
"""The extension for Aseprite: what an answer costs in Lua, and the time from the button to the layer.

`python -m benchmarks.aseprite` prints one JSON object. The extension's real files run under `lua5.4` in the
harness of the tests. Decoding is the processor time of Lua alone, from the binary message to the finished
cel, medians; in Aseprite the same Lua runs, but its own part (a copy of the bytes) is native code. From the
button to the layer is wall time over a real socket of a real server that draws with the model that ships.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.clients.aseprite.bridge import bridged
from tests.clients.aseprite.host import INDEXED, RGB, Aseprite, started
from tests.clients.aseprite.server import Server

from inglenook.testing.server import RunningServer

EXTENSION = Path(__file__).parents[1] / "clients" / "aseprite"
SIZES = ((64, 64), (256, 256), (400, 224), (640, 480), (960, 540))
COLORS = 32
DECODED = 7
DRAWN = 5
ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    print(json.dumps({"decoding": decoding(), "button": button()}, indent=1))


def decoding() -> dict[str, Any]:
    """Milliseconds of processor time by size and colour mode."""
    found: dict[str, Any] = {}
    for width, height in SIZES:
        with started(EXTENSION) as aseprite:
            aseprite.command()
            server = Server(aseprite)
            server.welcome()
            found[f"{width} x {height}"] = {
                name: _decoded_ms(aseprite, server, width, height, mode)
                for name, mode in (("rgb", RGB), ("indexed", INDEXED))
            } | {"bytes": width * height * 4}
    return found


def _decoded_ms(aseprite: Aseprite, server: Server, width: int, height: int, mode: int) -> float:
    taken = []
    for seed in range(DECODED):
        palette = np.random.default_rng(seed).integers(0, 256, (COLORS, 4), dtype=np.uint8)
        palette[:, 3] = 255
        data = palette[np.random.default_rng(seed).integers(0, COLORS, (height, width))].tobytes()
        number = aseprite.open_sprite(width, height, mode)
        aseprite.write(prompt="x", size="64 x 64")
        aseprite.press("generate")
        work = server.asked()[0]["id"]
        server.say(type="frame", id=work, index=0, count=1, width=width, height=height, bytes=len(data))
        done = json.dumps({"type": "done", "id": work, "seed": seed})
        seconds: float = aseprite.lua(
            "local began = os.clock()"
            " host.sockets.hear(1, 'binary', blobs[1])"
            " host.sockets.hear(1, 'text', blobs[2])"
            " return os.clock() - began",
            data,
            done.encode(),
        )
        assert len(aseprite.lua(f"return host.sprite({number}).layers")) == 2
        aseprite.lua(f"host.documents.close(host.documents.open[{number}])")
        taken.append(seconds * 1000)
    return statistics.median(taken)


def button() -> dict[str, Any]:
    """Seconds by the wall: the first picture, for which the model is loaded, and later ones."""
    with (
        tempfile.TemporaryDirectory() as data,
        RunningServer.start(Path(data), environ=ENVIRON) as server,
        started(EXTENSION, f'host.plugin.preferences.address = "{server.base_url}"') as aseprite,
    ):
        aseprite.command()
        with bridged(aseprite) as bridge:
            bridge.until_status("Ready")
            aseprite.write(prompt="a red fox", size="32 x 32")

            def drawn() -> None:
                aseprite.press("generate")
                bridge.until(lambda: not aseprite.look("cancel")["enabled"], what="a layer", timeout_s=300)
                assert "Done" in aseprite.status(), aseprite.status()

            return {
                "first_s": _timed(drawn),
                "later_s": statistics.median(_timed(drawn) for _ in range(DRAWN)),
            }


def _timed(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
