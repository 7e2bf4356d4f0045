# SPDX-License-Identifier: Apache-2.0
"""Asks a llama.cpp what it is: which version, built for what, and which devices it can use.

The program answers for itself in a supervised child with a time limit, so that one that crashes, hangs or
prints nonsense costs a sentence and nothing else.
"""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inglenook.base.units import format_seconds
from inglenook.runtime.contracts import ChildFailed
from inglenook.runtime.process import LOG_LINES, ChildProcess, Exit, clean_environment

TIMEOUT_S: Final = 20.0
"""A program answers in a tenth of a second, the library in one; a busy machine is slower."""
_GRACE_S: Final = 1.0
_LOOK_S: Final = 0.05

_VERSION: Final = re.compile(
    r"^version: (?:(\d+) \(([\w-]+)\)|(\S+) \(build (\d+), commit ([\w-]+)\))", re.MULTILINE
)
"""Until summer 2026 `version: 9993 (602f828b4)`, since then `version: 0.3.0-dev (build 10621, commit …)`."""
_DEVICE: Final = re.compile(r"^  (\S+): (.+?)(?: \(\d+ MiB, \d+ MiB free\))?$")
_LOADED: Final = re.compile(r"load_backend: loaded (\w+) backend", re.MULTILINE)
_LIBRARY: Final = re.compile(r"(?:lib)?ggml-([a-z]+)\b.*\.(?:so|dylib|dll)")

_BUILDS: Final[Mapping[str, str]] = {
    "cpu": "CPU", "cuda": "CUDA", "vulkan": "Vulkan", "metal": "Metal", "mtl": "Metal", "rocm": "ROCm",
    "hip": "ROCm", "sycl": "SYCL", "opencl": "OpenCL", "openvino": "OpenVINO", "musa": "MUSA", "cann": "CANN",
}  # fmt: skip
"""What ggml calls its backends, in device names, log lines and library names, by what people call them."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a llama.cpp says of itself.

    Attributes:
        version: as it writes it: `b9993`, `0.3.0-dev`, `2026.10.11549`; "" where it does not tell.
        build: its number in llama.cpp's history, or None.
        builds: what it was built for, the CPU first: `("CPU", "CUDA")`.
        devices: accelerators that it can use on this machine: `("CUDA0: NVIDIA …",)`.
        problem: why it cannot be used, or None.
    """

    version: str = ""
    build: int | None = None
    builds: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    problem: str | None = None


def probe_program(path: Path, *, timeout_s: float = TIMEOUT_S) -> Probe:
    """Ask a `llama-server`. Blocks, not on the event loop's thread."""
    end, said = _run([str(path), "--version"], timeout_s)
    trouble = _trouble(end, said, timeout_s)
    if trouble is not None:
        return Probe(problem=f"{path} {trouble}")
    found = _VERSION.search(said)
    if found is None:
        return Probe(problem=f"{path} is no llama-server: it answers --version with {_short(said)}")
    build = int(found[1] or found[4])
    end, listed = _run([str(path), "--list-devices"], timeout_s)
    trouble = _trouble(end, listed, timeout_s)
    if trouble is not None:
        return Probe(version=found[3] or f"b{build}", build=build, problem=f"{path} {trouble}")
    devices = _devices(listed)
    builds = _builds([*_LOADED.findall(said + listed), *devices, *_libraries_beside(path)])
    return Probe(version=found[3] or f"b{build}", build=build, builds=builds, devices=devices)


def _devices(said: str) -> tuple[str, ...]:
    _, _, listed = said.partition("Available devices:")
    found = (_DEVICE.match(line) for line in listed.splitlines())
    return tuple(f"{match[1]}: {match[2]}" for match in found if match is not None)


def _libraries_beside(program: Path) -> list[str]:
    """A build whose backends are libraries of their own names them also where it finds no device for them."""
    try:
        names = sorted(path.name for path in program.resolve().parent.iterdir())
    except OSError:
        return []
    return [match[1] for match in map(_LIBRARY.match, names) if match is not None]


def _builds(signs: Sequence[str]) -> tuple[str, ...]:
    """`CUDA0: …`, `CUDA` and `cuda` all mean CUDA. Every build can use the CPU."""
    names = (re.match(r"[A-Za-z]+", sign) for sign in signs)
    known = [_BUILDS.get(name[0].lower()) for name in names if name is not None]
    return tuple(dict.fromkeys(["CPU", *(name for name in known if name is not None)]))


_ASK_LIBRARY: Final = """
import json, xllamacpp as x
kind = lambda d: getattr(d["type"], "name", str(d["type"]))
devices = [[d["name"], d["description"], kind(d)] for d in x.get_device_info()]
print(json.dumps({"version": x.__version__, "system": x.get_system_info(), "devices": devices}))
"""


def probe_library(*, timeout_s: float = TIMEOUT_S) -> Probe:
    """Ask the package `xllamacpp` of this environment. Blocks, not on the event loop's thread."""
    end, said = _run([sys.executable, "-W", "ignore", "-c", _ASK_LIBRARY], timeout_s)
    trouble = _trouble(end, said, timeout_s)
    if trouble is not None:
        return Probe(problem=f"the package xllamacpp {trouble}")
    try:
        found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
        devices = [(str(name), str(what), str(kind)) for name, what, kind in found["devices"]]
        version, system = str(found["version"]), str(found["system"])
    except (ValueError, KeyError, TypeError, IndexError):
        return Probe(problem=f"the package xllamacpp describes itself with {_short(said)}")
    accelerators = tuple(f"{name}: {what}" for name, what, kind in devices if not kind.endswith("_CPU"))
    parts = [part.rpartition("|")[2].strip() for part in system.split(" : ")]
    build = re.fullmatch(r"\d+\.\d+\.(\d+)(?:\.\d+|[+.]?post\d+)?", version)
    return Probe(
        version=version,
        build=None if build is None else int(build[1]),
        builds=_builds([*parts, *accelerators]),
        devices=accelerators,
    )


def _run(argv: Sequence[str], timeout_s: float) -> tuple[Exit | None, str]:
    """How it ended (None: it had to be ended) and what it printed."""
    return asyncio.run(_ask(argv, timeout_s))


async def _ask(argv: Sequence[str], timeout_s: float) -> tuple[Exit | None, str]:
    with tempfile.TemporaryDirectory(prefix="inglenook-") as folder:
        try:
            child = await ChildProcess.start(
                argv,
                name="llama.cpp, asked what it is",
                environ=clean_environment(os.environ, {}),
                cwd=Path(folder),
                grace_s=_GRACE_S,
            )
        except ChildFailed as error:
            return Exit(error=error.message), ""
        ended = asyncio.ensure_future(child.exited())
        deadline = asyncio.get_running_loop().time() + timeout_s
        # A program that prints without end is not waited for: what it is has shown.
        while not ended.done() and len(child.log()) < LOG_LINES:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait({ended}, timeout=min(left, _LOOK_S))
        end = ended.result() if ended.done() else None
        await child.stop(_GRACE_S)
        await ended
        return end, "\n".join(child.log())


def _trouble(end: Exit | None, said: str, timeout_s: float) -> str | None:
    """Why that is no answer, in words that follow the program's name."""
    if end is None and len(said) > 0 and said.count("\n") >= LOG_LINES - 1:
        return f"prints without end: {_short(said)}"
    if end is None:
        return f"had not answered after {format_seconds(timeout_s)}"
    if end.error is not None:
        return f"cannot be run: {end.error}"
    if end.signal is not None:
        name = signal.Signals(end.signal).name if end.signal in set(signal.Signals) else "unknown"
        other = " (it was built for another processor)" if end.signal == signal.SIGILL else ""
        return f"was ended by signal {end.signal}, {name}{other}"
    if end.code != 0 or end.guard_killed:
        return f"ended with status {end.code}: {_short(said)}"
    return None


def _short(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return repr(lines[-1][:120]) if lines else "nothing"
