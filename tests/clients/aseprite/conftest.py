# SPDX-License-Identifier: Apache-2.0
"""The packed extension, unpacked as Aseprite does it, and Aseprite's stand-in with it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.aseprite.host import Aseprite, started, unpacked
from tests.clients.aseprite.server import Server

PACK = Path(__file__).parents[3] / "clients" / "aseprite" / "pack.py"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("package") / "inglenook.aseprite-extension"
    subprocess.run([sys.executable, str(PACK), str(target)], check=True, capture_output=True)
    return target


@pytest.fixture(scope="session")
def extension(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(package, tmp_path_factory.mktemp("extension"))


@pytest.fixture
def aseprite(extension: Path) -> Iterator[Aseprite]:
    with started(extension) as running:
        yield running


@pytest.fixture
def server(aseprite: Aseprite) -> Server:
    """Of the first dialog, which is open and was welcomed."""
    aseprite.command()
    one = Server(aseprite)
    one.welcome()
    aseprite.taken()
    return one
