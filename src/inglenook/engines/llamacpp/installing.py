# SPDX-License-Identifier: Apache-2.0
"""Installs llama.cpp from its project's release archives into our own folder.

    list of releases → the build that fits → its archives, each against its digest → unpacked beside →
    asked for its version → moved to `<engines>/llama.cpp/b11462/` → older builds removed

What was there stays until the new build has answered.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from filelock import FileLock, Timeout

from inglenook.base.errors import Conflict
from inglenook.base.units import GIB, MIB, format_bytes
from inglenook.engines.llamacpp.archives import unpack
from inglenook.engines.llamacpp.errors import ArchiveRefused, EngineBroken
from inglenook.engines.llamacpp.found import OWN_FOLDER, SERVER, own_builds
from inglenook.engines.llamacpp.probing import Probe, probe_program
from inglenook.engines.llamacpp.releases import Archive, Choice, Machine, checked_tag, choose, parse_releases
from inglenook.outgoing.model import Bounds
from inglenook.outgoing.service import OutgoingService
from inglenook.store.files import sync_folder, write_atomic, write_error

NOTE: Final = "installed.json"
LIST_BOUNDS: Final = Bounds(max_bytes=8 * MIB, total_s=60)
MAX_ARCHIVE_BYTES: Final = 2 * GIB
ARCHIVE_S: Final = 3600.0
_LEFT_S: Final = 86400.0
_PER_PAGE: Final = 8
"""As many releases are looked at: there are several a day, and the newest may still be being made."""


class Told(Protocol):
    """Hears what is done, line by line."""

    def __call__(self, text: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Installed:
    """`folder`: where it lies now. `removed`: builds that were there before."""

    choice: Choice
    folder: Path
    probe: Probe
    removed: tuple[int, ...]


class ReleaseInstaller:
    """Args:
        engines: our folder for engines.
        outgoing: fetches, within the settings `outgoing.*`.
        releases: the address of the list of releases (`language.releases`).
        machine: for what archives must be built.

    Disk work is done on the event loop's thread: this is for the terminal, not for the server.
    """

    def __init__(self, *, engines: Path, outgoing: OutgoingService, releases: str, machine: Machine) -> None:
        self._engines = engines
        self._outgoing = outgoing
        self._releases = releases
        self._machine = machine

    async def newest(self, backend: str, *, tag: str | None = None) -> Choice:
        """What would be installed: of the release `tag`, or of the newest that has a build for this machine.

        Raises:
            NoFittingArchive, ReleaseUnreadable: see `releases`.
            NotAllowed, NotFetched, TooMuch, BadAddress: see `outgoing`.
        """
        path = f"?per_page={_PER_PAGE}" if tag is None else f"/tags/{checked_tag(tag)}"
        found = await self._outgoing.fetch(
            self._releases + path, purpose="releases of llama.cpp", bounds=LIST_BOUNDS
        )
        return choose(parse_releases(found.data), self._machine, backend)

    async def install(self, choice: Choice, *, say: Told) -> Path:
        """Fetch and unpack; returns a folder to give to `settle`, on the same disk as where it will lie.

        Raises:
            ArchiveRefused: an archive is not the one that is listed, or is not sound.
            NotAllowed, NotFetched, TooMuch, BadAddress: see `outgoing`.
            Failed, Unavailable: the disk; see `store.files`.
        """
        root = self._engines / OWN_FOLDER
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
        except OSError as error:
            raise write_error(error, root) from error
        try:
            for archive in choice.archives:
                say(f"{archive.name} ({format_bytes(archive.size)}) …")
                await self._take(archive, made)
            return made
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise

    async def _take(self, archive: Archive, made: Path) -> None:
        """The archive's own name is not used for a path: it comes from outside."""
        ending = ".zip" if archive.name.endswith(".zip") else ".tar.gz"
        packed = made.with_name(f"{made.name}{ending}")
        bounds = Bounds(
            max_bytes=min(MAX_ARCHIVE_BYTES, archive.size or MAX_ARCHIVE_BYTES), total_s=ARCHIVE_S
        )
        try:
            with packed.open("xb") as file:
                saved = await self._outgoing.save(
                    archive.url, file, purpose=f"llama.cpp: {archive.name}", bounds=bounds
                )
            if saved.sha256 != archive.sha256:
                raise ArchiveRefused(
                    f"{archive.name} has another SHA-256 ({saved.sha256[:12]}…) than the release lists "
                    f"({archive.sha256[:12]}…). Nothing was kept.",
                    hint="try again; if it recurs, something changes it on its way",
                )
            unpack(packed, made, name=archive.name)
        except OSError as error:
            raise write_error(error, packed) from error
        finally:
            packed.unlink(missing_ok=True)


def settle(engines: Path, made: Path, choice: Choice) -> Installed:
    """Check that what `install` has unpacked runs, put it to its place, and remove older builds. Blocks; not
    to be called on an event loop's thread.

    Raises:
        EngineBroken: it does not run here, or there is no `llama-server` in it.
        Conflict: another installation is at it.
        Failed, Unavailable: the disk.
    """
    root = engines / OWN_FOLDER
    try:
        with _alone(root):
            _clear(root, but=made)
            program = made / SERVER
            if not program.is_file():
                raise EngineBroken(f"There is no {SERVER} in {choice.archives[0].name}.")
            probe = probe_program(program)
            if probe.problem is not None:
                raise EngineBroken(
                    f"Build {choice.build} does not run on this machine: {probe.problem}. What was there "
                    "before is unchanged.",
                    hint="choose another build (--build) or release (--release TAG)",
                )
            write_atomic(made / NOTE, _note(choice))
            removed = _swap(root, made, choice.build)
            return Installed(choice, root / f"b{choice.build}", probe, removed)
    except OSError as error:
        raise write_error(error, root) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _clear(root: Path, *, but: Path) -> None:
    """What killed installations have left, a day ago or more."""
    for left in root.glob(".new-*"):
        if left.is_dir() and left != but and time.time() - left.stat().st_mtime > _LEFT_S:
            shutil.rmtree(left, ignore_errors=True)


def _swap(root: Path, made: Path, build: int) -> tuple[int, ...]:
    older = own_builds(root.parent)
    target = root / f"b{build}"
    if target.exists():
        target.replace(made.with_name(f"{made.name}-old"))
    made.replace(target)
    sync_folder(root)
    shutil.rmtree(made.with_name(f"{made.name}-old"), ignore_errors=True)
    others = [(number, folder) for number, folder in older if number != build]
    for _, folder in others:
        shutil.rmtree(folder, ignore_errors=True)
    return tuple(number for number, _ in others)


def _note(choice: Choice) -> bytes:
    said = {
        "tag": choice.tag,
        "build": choice.build,
        "backend": choice.backend,
        "archives": [{"name": one.name, "sha256": one.sha256} for one in choice.archives],
    }
    return json.dumps(said, indent=1).encode()


def installed_backend(folder: Path) -> str | None:
    """For what the build in `folder` was chosen, or None where no note of ours says it."""
    try:
        said = json.loads((folder / NOTE).read_bytes())
        return str(said["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    try:
        with FileLock(root / ".lock", mode=0o600, timeout=60):
            yield
    except Timeout as error:
        raise Conflict(
            "Another installation of llama.cpp is going on.", code="engine.locked", hint="wait for it"
        ) from error
