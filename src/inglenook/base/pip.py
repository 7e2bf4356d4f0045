# SPDX-License-Identifier: Apache-2.0
"""pip, run in a child with the person's own configuration of it, and what it says as errors of ours."""

import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inglenook.base.errors import Failed, InglenookError, Unavailable
from inglenook.base.units import format_seconds

MISSING: Final = "pip.missing"
NO_CONNECTION: Final = "pip.no_connection"
NOT_THERE: Final = "pip.not_there"
WRONG_DIGEST: Final = "pip.wrong_digest"
DISK_FULL: Final = "store.disk_full"
FAILED: Final = "pip.failed"

_NO_CONNECTION: Final = (
    "NewConnectionError", "Failed to establish a new connection", "NameResolutionError",
    "Temporary failure in name", "ConnectTimeout", "Max retries exceeded", "ProxyError",
    "ReadTimeoutError", "Connection refused", "Network is unreachable", "Connection broken",
    "connection aborted",
)  # fmt: skip
_ALWAYS: Final = ("--no-input", "--disable-pip-version-check", "--retries", "1")


@dataclass(frozen=True, slots=True)
class PipAnswer:
    """`output`: what it printed as its result; `said`: its messages."""

    status: int
    output: str
    said: str


def pip_command() -> list[str]:
    """How pip is run here: the environment's own, or the copy that Python keeps for new environments (one
    that uv made has no pip, and uv cannot download).

    Raises:
        Unavailable: there is neither (`pip.missing`).
    """
    # Past the hooks of others: setuptools' own takes a search for pip for pip running, and then leaves the
    # standard library's distutils in place, on which the compiler of torch stumbles in this process.
    if importlib.machinery.PathFinder.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    bundled = importlib.util.find_spec("ensurepip")
    for folder in (bundled.submodule_search_locations or ()) if bundled is not None else ():
        for wheel in sorted(Path(folder, "_bundled").glob("pip-*.whl")):
            return [sys.executable, str(wheel / "pip")]
    raise Unavailable(
        "pip is needed to fetch packages, and this Python has none.",
        code=MISSING,
        hint=f"install it: {sys.executable} -m ensurepip, or: uv pip install pip",
    )


def run_pip(
    arguments: Sequence[str], *, scratch: Path, timeout_s: float, command: Sequence[str] | None = None
) -> PipAnswer:
    """Run pip and wait. Blocks.

    Args:
        scratch: for its own temporary files.
        command: runs pip; by default `pip_command()`.

    Raises:
        Unavailable: there is no pip, or it has not ended in time.
    """
    argv = [*(pip_command() if command is None else command), arguments[0], *_ALWAYS, *arguments[1:]]
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=os.environ | {"TMPDIR": str(scratch), "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"pip could not be started: {error.strerror}.", code=MISSING) from error
    try:
        output, said = child.communicate(timeout=timeout_s)
    except BaseException as error:
        _end(child)
        if isinstance(error, subprocess.TimeoutExpired):
            text = f"pip had not finished after {format_seconds(timeout_s)}."
            raise Unavailable(text, code=FAILED, hint="try again when the connection is better") from None
        raise
    return PipAnswer(child.returncode, output, said)


def _end(child: "subprocess.Popen[str]") -> None:
    """The child and whatever it has started."""
    if os.name == "posix":
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.communicate()


def pip_failure(answer: PipAnswer, named: str) -> InglenookError:
    """What pip said, as an error of ours. Which case it is shows in texts that it has used for years.

    Args:
        named: what it was to fetch.
    """
    said = answer.said + answer.output
    if "DO NOT MATCH THE HASHES" in said:
        return Failed(
            f"The registry's {named} is not the file that is expected: its digest differs.",
            code=WRONG_DIGEST,
            hint="nothing was kept; somebody may have changed it, or something changes downloads on the way",
        )
    if "No space left on device" in said or "Disk quota exceeded" in said:
        text = f"There is no room on the disk for {named}."
        return Failed(text, code=DISK_FULL, hint="free some room, then try again")
    if any(sign in said for sign in _NO_CONNECTION):
        text = f"The package registry cannot be reached for {named}."
        return Unavailable(text, code=NO_CONNECTION, hint="try again when there is a connection")
    if "No matching distribution found" in said:
        return Unavailable(
            f"The package registry does not have {named}.",
            code=NOT_THERE,
            hint="another registry or folder can be named in pip's configuration: pip config list",
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR")] or said.strip().splitlines()
    last = errors[-1].removeprefix("ERROR: ")[:300] if errors else f"it ended with {answer.status}"
    return Unavailable(f"pip could not fetch {named}: {last}", code=FAILED)
