# SPDX-License-Identifier: Apache-2.0
"""Runs the extension's real Lua files in a harness that stands for Aseprite (`harness/host.lua`)."""

import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from inglenook.testing import parts

HARNESS = Path(__file__).parent / "harness"
RGB, GRAY, INDEXED = 0, 1, 2


class LuaError(AssertionError):
    """A piece of Lua raised."""


@dataclass(frozen=True)
class Action:
    """What a socket of the extension did: connect, text, binary, ping or close."""

    socket: int
    what: str
    data: bytes

    @property
    def message(self) -> dict[str, Any]:
        assert self.what == "text"
        told: dict[str, Any] = json.loads(self.data)
        return told


class Aseprite:
    """Aseprite with the extension loaded. Use `started`."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in: IO[bytes] = process.stdin
        self._out: IO[bytes] = process.stdout
        self.actions: list[Action] = []
        self.violations: list[str] = []

    def lua(self, source: str, *blobs: bytes) -> Any:
        """The value of a piece of Lua; byte strings in and out, `host` and `blobs` are its names."""
        sent = [source.encode(), *blobs]
        self._in.write(" ".join(str(len(part)) for part in sent).encode() + b"\n" + b"".join(sent))
        self._in.flush()
        lengths = self._out.readline().split()
        if not lengths:
            raise LuaError("the harness has ended")
        got = [self._out.read(int(length)) for length in lengths]
        told = json.loads(got[0])
        bytes_out = got[1:]
        self.actions += [
            Action(int(n), what, bytes_out[data["blob"] - 1]) for n, what, data in told["actions"]
        ]
        self.violations = told["violations"]
        if not told["ok"]:
            raise LuaError(told.get("value"))
        return _with_blobs(told.get("value"), bytes_out)

    # What an artist does

    def command(self) -> int:
        """File > Scripts > Inglenook; the number of the dialog."""
        number: int = self.lua('return host.command("InglenookSprites")')
        return number

    def press(self, button: str, dialog: int = 1) -> None:
        self.lua(f"host.dialogs.press({dialog}, {_quoted(button)})")

    def write(self, dialog: int = 1, **values: object) -> None:
        """Write into widgets, in the order given."""
        for name, value in values.items():
            self.lua(f"host.dialogs.write({dialog}, {_quoted(name)}, {_literal(value)})")

    def look(self, widget: str, dialog: int = 1) -> dict[str, Any]:
        told: dict[str, Any] = self.lua(f"return host.dialogs.look({dialog}, {_quoted(widget)})")
        return told

    def status(self, dialog: int = 1) -> str:
        return self.words("status", dialog)

    def words(self, canvas: str, dialog: int = 1) -> str:
        """What is written on a canvas of the dialog, its lines joined."""
        painted = self.painted(dialog, canvas)
        return " ".join(str(entry[1]) for entry in painted if entry[0] == "text")

    def close(self, dialog: int = 1) -> None:
        self.press("close", dialog)

    def pass_seconds(self, seconds: int) -> None:
        self.lua(f"host.sockets.pass({seconds})")

    def open_sprite(
        self,
        width: int,
        height: int,
        mode: int = RGB,
        pixels: bytes | None = None,
        palette: list[tuple[int, int, int, int]] | None = None,
    ) -> int:
        """The number of the sprite among the open ones; it becomes the active one."""
        colors = "nil" if palette is None else _literal([list(color) for color in palette])
        given = "blobs[1]" if pixels is not None else "nil"
        number: int = self.lua(
            f"return host.open_sprite({width}, {height}, {mode}, {given}, {colors})",
            *([] if pixels is None else [pixels]),
        )
        return number

    def sprite(self, number: int = 1) -> dict[str, Any]:
        told: dict[str, Any] = self.lua(f"return host.sprite({number})")
        return told

    def rendered(self, number: int = 1, frame: int = 1) -> bytes:
        seen: bytes = self.lua(f"return host.rendered({number}, {frame})")
        return seen

    def select(self, x: int, y: int, width: int, height: int, number: int = 1) -> None:
        self.lua(f"host.select({number}, {x}, {y}, {width}, {height})")

    def painted(self, dialog: int = 1, canvas: str = "preview") -> list[list[Any]]:
        """What a canvas of the dialog shows."""
        told: list[list[Any]] = self.lua(f"return host.dialogs.open[{dialog}].painted.{canvas}")
        return told

    # What comes over a socket

    def hear(self, what: str, data: bytes = b"", socket: int = 1) -> None:
        self.lua(f"host.sockets.hear({socket}, {_quoted(what)}, blobs[1])", data)

    def taken(self) -> list[Action]:
        """What the sockets did since this was last asked."""
        done, self.actions = self.actions, []
        return done


def _quoted(text: str) -> str:
    return (
        '"'
        + "".join(
            f"\\{byte:03d}" if not 32 <= byte < 127 or chr(byte) in '"\\' else chr(byte)
            for byte in text.encode()
        )
        + '"'
    )


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "{" + ", ".join(map(_literal, value)) + "}"
    return _quoted(str(value))


def _with_blobs(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"blob"}:
            return blobs[value["blob"] - 1]
        return {name: _with_blobs(item, blobs) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_blobs(item, blobs) for item in value]
    return value


def lua_program() -> str:
    """The interpreter, or the test is skipped."""
    found = shutil.which("lua5.4")
    parts.require(found is not None, "lua5.4 is not installed (Debian: apt install lua5.4)")
    assert found is not None
    return found


def unpacked(package: Path, folder: Path) -> Path:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    return folder


@contextmanager
def started(extension: Path, *before: str) -> Iterator[Aseprite]:
    """Aseprite with the extension in `extension`.

    Args:
        before: pieces of Lua that run before the extension is loaded.

    At the end the extension may not have used anything that Aseprite does not document.
    """
    command = [lua_program(), str(HARNESS / "host.lua"), str(HARNESS), str(extension)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            aseprite = Aseprite(process)
            for source in before:
                aseprite.lua(source)
            aseprite.lua("host.start()")
            yield aseprite
            aseprite.lua("return 0")
            assert aseprite.violations == [], "\n".join(aseprite.violations)
        finally:
            process.kill()
