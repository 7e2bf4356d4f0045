# SPDX-License-Identifier: Apache-2.0
"""llama.cpp out of the package registry: the package `xllamacpp`, by pip.

The registry has its build for the CPU, and for Metal on macOS. Builds for CUDA, ROCm and Vulkan lie on the
index of its own project.
"""

import importlib.metadata
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inglenook.base.errors import Failed
from inglenook.base.pip import pip_failure, run_pip
from inglenook.engines.llamacpp.found import PACKAGE

WANTED: Final = f"{PACKAGE}>=2026.10.11549"
"""Older ones have other parameters than `workers/llama` sets."""
TIMEOUT_S: Final = 1800.0
OTHER_BUILDS: Final = (
    f"builds of {PACKAGE} for CUDA, ROCm and Vulkan are on its project's own index, which its page names: "
    f"pip install --force-reinstall {PACKAGE} --index-url INDEX; or take llama.cpp's release archive: "
    "inglenook engines install --release"
)


def installed_version() -> str | None:
    """By the installed packages' records; nothing is imported."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def newer_version(*, command: Sequence[str] | None = None) -> str | None:
    """The version that an update would install, or None when there is no newer one. Blocks.

    Raises:
        Unavailable, Failed: see `base.pip`.
    """
    arguments = ["install", "--quiet", "--dry-run", "--upgrade", "--no-deps", "--report", "-", WANTED]
    output = _pip(arguments, command)
    try:
        wanted = json.loads(output)["install"]
        return str(wanted[0]["metadata"]["version"]) if wanted else None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise Failed("pip's report cannot be read.", hint="update pip: pip install --upgrade pip") from error


def install_package(*, command: Sequence[str] | None = None) -> None:
    """Install the package into this environment, or update it. Blocks. Raises as `newer_version`."""
    _pip(["install", "--quiet", "--upgrade", "--no-deps", "--only-binary", ":all:", WANTED], command)


def _pip(arguments: Sequence[str], command: Sequence[str] | None) -> str:
    with tempfile.TemporaryDirectory(prefix="inglenook-") as scratch:
        answer = run_pip(arguments, scratch=Path(scratch), timeout_s=TIMEOUT_S, command=command)
    if answer.status != 0:
        raise pip_failure(answer, f"package {PACKAGE}")
    return answer.output
