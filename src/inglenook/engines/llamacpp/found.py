# SPDX-License-Identifier: Apache-2.0
"""Where a llama.cpp is, and which of several is used.

Looked for in this order: the setting `language.server`, the package `xllamacpp`, `PATH`, our own folder
(`inglenook engines install --release`). The first that can be used is used; one that cannot is passed over,
and `inglenook engines list` says why.
"""

import importlib.util
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from inglenook.base.errors import InglenookError
from inglenook.engines.llamacpp.probing import Probe, probe_library, probe_program
from inglenook.runtime.contracts import ChildFailed, Failure
from inglenook.store.files import write_atomic

SERVER: Final = "llama-server.exe" if os.name == "nt" else "llama-server"
PACKAGE: Final = "xllamacpp"
OWN_FOLDER: Final = "llama.cpp"
"""Below the folder of engines; holds one folder for each installed build, `b11462`."""
CACHE: Final = "llama.cpp.probes.json"
AGAIN_S: Final = 60.0
"""One that could not be used is asked again after so long: it may have been busy, or been repaired."""

_log = logging.getLogger(__name__)


class Source(StrEnum):
    SETTING = "setting"
    PACKAGE = "package"
    PATH = "path"
    OWN = "own"


AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Attributes:
    path: a `llama-server`; of the package, its library.
    """

    source: Source
    path: Path


@dataclass(frozen=True, slots=True)
class Program:
    """A llama.cpp that was found, with what it says of itself."""

    source: Source
    path: Path
    probe: Probe

    @property
    def launched(self) -> Path | None:
        """What is started: None for the library, which our own launcher loads."""
        return None if self.source is Source.PACKAGE else self.path


def library() -> Path | None:
    """The library of the package, without loading it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent
    libraries = sorted((*folder.glob(f"{PACKAGE}*.so"), *folder.glob(f"{PACKAGE}*.pyd")))
    return libraries[0] if libraries else Path(found.origin)


def own_builds(engines: Path) -> list[tuple[int, Path]]:
    """(build, folder) of what was installed from release archives, the newest first."""
    folder = engines / OWN_FOLDER
    names = [path for path in folder.glob("b*") if path.name[1:].isdigit()] if folder.is_dir() else []
    return sorted(((int(path.name[1:]), path) for path in names), reverse=True)


class LlamaPrograms:
    """Args:
        setting: `language.server`: a path, or `auto`, `package`, `path`, `own`.
        engines: our folder for engines; remembers what each program said of itself.
        ask, ask_library: how that is asked.

    Every method blocks (on the disk, and on children with a time limit), and may be called from any thread.
    """

    def __init__(
        self,
        *,
        setting: str,
        engines: Path,
        ask: Callable[[Path], Probe] = probe_program,
        ask_library: Callable[[], Probe] = probe_library,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._setting = setting
        self._engines = engines
        self._ask = ask
        self._ask_library = ask_library
        self._now = now
        self._lock = threading.Lock()
        self._sound: dict[str, Probe] | None = None
        self._failed: dict[str, tuple[float, Probe]] = {}

    def find(self) -> Path | None:
        """What `LlamaEngine` starts now: a `llama-server`, or None for the package's library.

        Raises:
            ChildFailed: there is none that can be used; the message says what was looked at.
        """
        return self.current().launched

    def current(self) -> Program:
        """The one that is used. Raises as `find`."""
        problems = []
        for candidate in self.candidates():
            program = self.probed(candidate)
            if program.probe.problem is None:
                return program
            problems.append(program.probe.problem)
        raise ChildFailed(_none_usable(self._setting, problems))

    def every(self, *, again: bool = False) -> list[Program]:
        """All that were found, in the order of preference, usable or not.

        Args:
            again: ask each of them anew: a driver may have come since.
        """
        if again:
            with self._lock:
                self._sound, self._failed = {}, {}
        return [self.probed(candidate) for candidate in self.candidates()]

    def candidates(self) -> list[Candidate]:
        """Where they are, in the order of preference, unasked. A setting that names one kind leaves out the
        others."""
        setting = self._setting
        if setting not in (AUTO, Source.PACKAGE, Source.PATH, Source.OWN):
            return [Candidate(Source.SETTING, Path(setting))]
        return [one for one in self._anywhere() if setting in (AUTO, one.source)]

    def _anywhere(self) -> Iterator[Candidate]:
        packaged = library()
        if packaged is not None:
            yield Candidate(Source.PACKAGE, packaged)
        on_path = shutil.which(SERVER)
        if on_path is not None:
            yield Candidate(Source.PATH, Path(on_path))
        for _, folder in own_builds(self._engines):
            if (folder / SERVER).is_file():
                yield Candidate(Source.OWN, folder / SERVER)

    def probed(self, candidate: Candidate) -> Program:
        """The candidate with its answer, which is remembered as long as its file is the same."""
        program = Program(candidate.source, candidate.path, Probe())
        try:
            key = _key(candidate)
        except OSError as error:
            problem = f"{candidate.path} cannot be read: {error.strerror}"
            return replace(program, probe=Probe(problem=problem))
        with self._lock:  # also so that one is not asked by two at once
            return replace(program, probe=self._remembered(key) or self._asked(candidate, key))

    def _remembered(self, key: str) -> Probe | None:
        if self._sound is None:
            self._sound = self._read()
        found = self._sound.get(key)
        if found is not None:
            return found
        at, failed = self._failed.get(key, (float("-inf"), None))
        return failed if self._now() - at < AGAIN_S else None

    def _asked(self, candidate: Candidate, key: str) -> Probe:
        package = candidate.source is Source.PACKAGE
        found = self._ask_library() if package else self._ask(candidate.path)
        if found.problem is not None:
            _log.warning("a llama.cpp is passed over: %s", found.problem)
            self._failed[key] = (self._now(), found)
            return found
        assert self._sound is not None
        self._sound[key] = found
        self._write(self._sound)
        return found

    def _read(self) -> dict[str, Probe]:
        """What was asked in earlier runs; nothing of it where the file is not as we write it."""
        try:
            return msgspec.json.decode((self._engines / CACHE).read_bytes(), type=dict[str, Probe])
        except (OSError, msgspec.MsgspecError):
            return {}

    def _write(self, sound: dict[str, Probe]) -> None:
        here = {key: probe for key, probe in sound.items() if _is_current(key)}
        try:
            self._engines.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(self._engines / CACHE, msgspec.json.encode(here))
        except (OSError, InglenookError) as error:  # it is asked again next time, which costs a second
            _log.info("what llama.cpp said of itself is not kept: %s", error)


def _key(candidate: Candidate) -> str:
    """The file, and what changes when it is replaced. Raises OSError."""
    status = candidate.path.stat()
    return f"{candidate.source}|{status.st_mtime_ns}|{status.st_size}|{candidate.path}"


def _is_current(key: str) -> bool:
    source, _, rest = key.partition("|")
    path = Path(rest.split("|", 2)[-1])
    try:
        return _key(Candidate(Source(source), path)) == key
    except (OSError, ValueError):
        return False


def _none_usable(setting: str, problems: list[str]) -> Failure:
    where = "" if setting == AUTO else f" (language.server is {setting})"
    if problems:
        text = f"No llama.cpp can be used{where}: {'; '.join(problems)}."
        return Failure("engine.unusable", text, "`inglenook engines list` shows them; install another build")
    hint = "install it: inglenook engines install llama.cpp"
    return Failure("engine.missing", f"There is no llama.cpp on this machine{where}.", hint)
