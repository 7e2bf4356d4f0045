# SPDX-License-Identifier: Apache-2.0
"""The file that `make aseprite` makes."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import inglenook
from tests.clients.aseprite.conftest import PACK

ROOT = Path(__file__).parents[3]


def test_it_holds_the_modules_a_manifest_with_our_version_and_the_licence(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("package.json"))
        licence = archive.read("LICENSE")
    assert names == sorted(names)
    assert {"main.lua", "dialog.lua", "link.lua", "LICENSE", "package.json"} <= set(names)
    assert all("/" not in name and not name.endswith(".py") for name in names)
    assert manifest["version"] == inglenook.__version__
    assert manifest["contributes"] == {"scripts": [{"path": "./main.lua"}]}
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_packing_twice_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    for source in PACK.parent.glob("*.lua"):
        source.touch()
    again = tmp_path / "folder" / "again.aseprite-extension"
    subprocess.run([sys.executable, str(PACK), str(again)], check=True, capture_output=True)
    assert again.read_bytes() == package.read_bytes()
