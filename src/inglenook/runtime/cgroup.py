# SPDX-License-Identifier: Apache-2.0
"""Which control group of Linux (version 2) we run in, and what it says."""

import contextlib
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def groups(root: Path = ROOT, own: Path = OWN) -> list[Path]:
    """Our group's folder and those above it, up to and with `root`; only `root` where that cannot be told.

    In a container the path may be the host's, of which nothing is there: then `root` is our own group.
    """
    try:
        # Beside hierarchies of version 1, the line of version 2 is the one with the number 0.
        entries = (line.split(":", 2) for line in own.read_text().splitlines())
        path = next(entry[2] for entry in entries if len(entry) == 3 and entry[0] == "0")
    except (OSError, StopIteration):
        return [root]
    folder = root / path.lstrip("/")
    return [*(g for g in (folder, *folder.parents) if root in g.parents and g.is_dir()), root]


def processors(root: Path = ROOT, own: Path = OWN) -> int | None:
    """How many processors' time our group or one above it may use, rounded up; None for no limit."""
    limits = []
    for group in groups(root, own):
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            quota, period = (group / "cpu.max").read_text().split()
            limits.append(-(-int(quota) // int(period)))
    return min(limits, default=None)
