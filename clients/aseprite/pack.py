# SPDX-License-Identifier: Apache-2.0
"""Pack the extension for Aseprite: `python clients/aseprite/pack.py dist/inglenook.aseprite-extension`.

The same files give the same bytes: entries are sorted, stored, and dated 1980. The version is the project's.
"""

import json
import sys
import tomllib
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_ORDINARY_FILE = 0o100644 << 16


def contents() -> dict[str, bytes]:
    """Each file of the package by its name in it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    manifest = json.loads((HERE / "package.json").read_text("utf-8")) | {"version": version}
    files = {path.name: path.read_bytes() for path in HERE.glob("*.lua")}
    files["package.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return files


def pack(target: Path) -> None:
    """Write the package; folders on the way are made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as package:
        for name, data in sorted(contents().items()):
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.external_attr = _ORDINARY_FILE
            entry.create_system = 3  # Unix, on whatever system it is packed
            package.writestr(entry, data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: pack.py TARGET.aseprite-extension")
    pack(Path(sys.argv[1]))
    print(f"wrote {sys.argv[1]}: in Aseprite, Edit > Preferences > Extensions > Add Extension")
