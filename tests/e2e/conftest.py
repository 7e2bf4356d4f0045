# SPDX-License-Identifier: Apache-2.0
"""A real server for each module, drawing with the model that ships; a real browser for those who ask."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inglenook.testing.parts import require
from inglenook.testing.server import RunningServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.e2e.browser import Watched

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that the module's tests share; its data folder is thrown away."""
    with RunningServer.start(tmp_path_factory.mktemp("data"), environ=ENVIRON) as running:
        yield running


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a disk of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True
    )
    require(made.returncode == 0, "a small disk can only be made by root (mount -t tmpfs)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    from tests.e2e.browser import chromium_browser

    with chromium_browser() as browser:
        yield browser


@pytest.fixture
def nook(chromium: "Browser", server: RunningServer) -> "Iterator[Watched]":
    """A browser that has never been here. At the end: no other host was asked, nothing was wrong."""
    from tests.e2e.browser import watched

    with watched(chromium, server.base_url) as nook:
        yield nook
