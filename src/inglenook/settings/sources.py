# SPDX-License-Identifier: Apache-2.0
"""Default < file < environment < override in the database < command line; and where each value came from.

A value that a later source replaces is checked all the same: a mistake in the file does not hide behind a
variable that happens to be set today.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from inglenook.settings.declaration import Section, Settings, default_data_folder, is_early, sections
from inglenook.settings.document import read_lines
from inglenook.settings.fields import FOLDER_CONTEXT
from inglenook.settings.problems import (
    Problem,
    SettingsError,
    all_keys,
    bad_values,
    show,
    unknown_section,
    unknown_setting,
)

PREFIX = "INGLENOOK_"
CONFIG_VARIABLE = "INGLENOOK_CONFIG"
RESERVED = frozenset({CONFIG_VARIABLE, "INGLENOOK_WIRE", "INGLENOOK_WIRE_TOKEN"})
"""Variables that begin like ours and are no settings: the file's name, and what a worker is told."""
FILE_NAME = "config.yaml"
DEFAULT_ORIGIN = "default"


@dataclass(frozen=True, slots=True)
class Override:
    """A value that somebody has set in the database."""

    value: Any
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Given:
    """One value from one source. `folder`: against which a relative path in it is read."""

    section: str
    name: str
    value: Any
    origin: str
    where: str
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and for each ``section.key`` where its value came from, in words.

    Origins: ``default`` · ``file config.yaml:12`` · ``environment INGLENOOK_SERVER__PORT`` ·
    ``override by owner at 2026-01-01T00:00:00+00:00`` · ``command line --port``.
    """

    settings: Settings
    origin: Mapping[str, str]
    file: Path | None
    _given: tuple[Given, ...] = ()
    _flags: tuple[Given, ...] = ()

    def with_overrides(self, overrides: Mapping[str, Override]) -> "Loaded":
        """The same with what the database says, below the command line. Raises `SettingsError`."""
        given, problems = _from_overrides(overrides)
        return _merge(self.file, self._given + tuple(given), self._flags, problems)


def find_file(*, config: Path | None, data: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Which file is read: the one that is named, else `config.yaml` in the data folder, if it is there.

    Args:
        config, data: as given on the command line.
    """
    if config is not None:
        return config
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE]).expanduser()
    file = default_file(data=data, environ=environ)
    return file if file.exists() else None


def default_file(*, data: Path | None, environ: Mapping[str, str]) -> Path:
    """The file in the data folder, there or not. The folder is the one of command line or environment."""
    if data is not None:
        return data.expanduser() / FILE_NAME
    variable = environ.get(f"{PREFIX}SERVER__DATA")
    folder = Path(variable).expanduser() if variable else default_data_folder()
    return folder / FILE_NAME


def load(
    *,
    file: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, Override] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read all sources.

    Args:
        file: must exist when it is given; None reads none.
        environ: the process's environment; what does not begin with ``INGLENOOK_`` is not ours.
        overrides: by ``section.key``; None as long as the database is not open.
        flags: from the command line, by ``section.key``.

    Raises:
        SettingsError: with every problem of every source.
    """
    problems: list[Problem] = []
    given: list[Given] = []
    for found, wrong in (_from_file(file), _from_environment(environ), _from_overrides(overrides or {})):
        given += found
        problems += wrong
    return _merge(file, tuple(given), tuple(_from_flags(flags or {})), problems)


# ── the sources ─────────────────────────────────────────────────────────────────────────────────────────


def _from_file(file: Path | None) -> tuple[list[Given], list[Problem]]:
    if file is None:
        return [], []
    given: list[Given] = []
    problems: list[Problem] = []
    folder = file.absolute().parent
    for line in read_lines(file):
        where, section, name = f"{file}:{line.line}", line.section, line.name
        if section not in sections():
            shown = section if name is not None or line.value is None else f"{section} = {show(line.value)}"
            problems.append(unknown_section(f"{file}:{line.section_line}", section, shown))
        elif name is None:
            if line.value is not None:
                problems.append(
                    Problem(where, f"{section} = {show(line.value)} must be a section with settings")
                )
        elif name not in sections()[section].model_fields:
            problems.append(unknown_setting(where, section, name, f"{section}.{name} = {show(line.value)}"))
        else:
            given.append(Given(section, name, line.value, f"file {where}", where, folder))
    return given, list(dict.fromkeys(problems))  # an unknown section is one problem, however much is in it


def _from_environment(environ: Mapping[str, str]) -> tuple[list[Given], list[Problem]]:
    """``INGLENOOK_SECTION__KEY``. An empty variable counts as not set, as container files often write it."""
    given: list[Given] = []
    problems: list[Problem] = []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in RESERVED or environ[variable] == "":
            continue
        where = f"environment {variable}"
        section, separator, name = variable.removeprefix(PREFIX).lower().partition("__")
        if not separator or section not in sections():
            problems.append(_unknown_variable(where, variable))
        elif name not in sections()[section].model_fields:
            problem = unknown_setting(where, section, name, f"{section}.{name}")
            problems.append(Problem(where, problem.what, _as_variable(problem.hint)))
        else:
            given.append(Given(section, name, environ[variable], where, where))
    return given, problems


def _unknown_variable(where: str, variable: str) -> Problem:
    names = [*(variable_of(key) for key in all_keys()), CONFIG_VARIABLE]
    near = difflib.get_close_matches(variable, names, n=1, cutoff=0.6)
    hint = (
        f"did you mean {near[0]}?" if near else "write INGLENOOK_SECTION__KEY, with two underscores between"
    )
    return Problem(where, "is not a setting", hint)


def _from_overrides(overrides: Mapping[str, Override]) -> tuple[list[Given], list[Problem]]:
    given: list[Given] = []
    problems: list[Problem] = []
    for key, override in overrides.items():
        where = f"override by {override.by} at {override.at.isoformat(timespec='seconds')}"
        section, _, name = key.partition(".")
        if section not in sections():
            problems.append(unknown_section(where, section, key))
        elif name not in sections()[section].model_fields:
            problems.append(unknown_setting(where, section, name, key))
        elif is_early(key):
            hint = "set it in the file or in the environment"
            problems.append(Problem(where, f"{key} is needed before the database is open", hint))
        else:
            given.append(Given(section, name, override.value, where, where))
    return given, problems


def _from_flags(flags: Mapping[str, Any]) -> list[Given]:
    given = []
    for key, value in flags.items():
        section, _, name = key.partition(".")
        where = f"command line --{name.replace('_', '-')}"
        given.append(Given(section, name, value, where, where))
    return given


def variable_of(key: str) -> str:
    """``server.port`` → ``INGLENOOK_SERVER__PORT``."""
    section, _, name = key.partition(".")
    return f"{PREFIX}{section.upper()}__{name.upper()}"


def _as_variable(hint: str | None) -> str | None:
    """The nearest name as a variable: the hint names settings, and the reader looks at variables."""
    for key in all_keys():
        if hint == f"did you mean {key}?":
            return f"did you mean {variable_of(key)}?"
    return hint


# ── one tree from them ──────────────────────────────────────────────────────────────────────────────────


def _merge(
    file: Path | None, given: tuple[Given, ...], flags: tuple[Given, ...], problems: list[Problem]
) -> Loaded:
    values: dict[str, dict[str, Any]] = {name: {} for name in sections()}
    origin = dict.fromkeys(all_keys(), DEFAULT_ORIGIN)
    problems = list(problems)
    for one in given + flags:
        try:
            values[one.section][one.name] = check(one)
        except ValidationError as error:
            problems += bad_values(one.where, one.section, one.name, one.value, error)
        else:
            origin[f"{one.section}.{one.name}"] = one.origin
    if problems:
        raise SettingsError(problems)
    built: dict[str, Section] = {
        name: model.model_validate(values[name]) for name, model in sections().items()
    }
    return Loaded(Settings.model_validate(built), origin, file, given, flags)


def check(one: Given) -> Any:
    """The value as its setting holds it. Raises pydantic's `ValidationError`."""
    model = sections()[one.section]
    checked = model.model_validate({one.name: one.value}, context={FOLDER_CONTEXT: one.folder})
    return getattr(checked, one.name)
