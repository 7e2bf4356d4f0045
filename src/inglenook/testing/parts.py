# SPDX-License-Identifier: Apache-2.0
"""Parts of a machine that a test needs and a person may lack: a skip with its reason, a failure in CI."""

import os
import shutil
from pathlib import Path

import pytest


def require(found: bool, reason: str) -> None:
    """Skip the test with `reason` when `found` is false; under `CI=true` fail instead."""
    if found:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI lacks a part that this test needs: {reason}", pytrace=False)
    pytest.skip(reason)


def chromium() -> Path | None:
    """The system's Chromium, if there is one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path is not None:
            return Path(path)
    return None


def postgres_bin() -> Path | None:
    """The folder with `initdb` and `pg_ctl` of the newest PostgreSQL installed, if there is one."""
    candidates = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if candidates:
        return candidates[-1].parent
    path = shutil.which("initdb")
    return Path(path).resolve().parent if path is not None else None
