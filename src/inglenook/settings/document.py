# SPDX-License-Identifier: Apache-2.0
"""The configuration file: YAML 1.2 whose lines are known, with a schema version.

A file that cannot be understood as a whole stops the server; nothing is ever replaced by a default.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inglenook.settings.declaration import SCHEMA_VERSION
from inglenook.settings.problems import Problem, SettingsError, show

VERSION_KEY = "schema_version"
MAX_FILE_BYTES = 1 << 20

Migration = Callable[[Any], None]
"""Changes a ruamel document of one version in place into one of the next. Comments stay where they are."""

MIGRATIONS: Mapping[int, Migration] = {}
"""By the version that a migration starts from. Empty: version 1 is the first."""


@dataclass(frozen=True, slots=True)
class Line:
    """One value of the file as it was written, not checked yet: `section.name`, or what stands in place of a
    section when `name` is None. Lines count from 1."""

    section: str
    name: str | None
    value: Any
    line: int
    section_line: int


def read_lines(file: Path) -> list[Line]:
    """Everything that the file sets.

    Raises:
        SettingsError: it cannot be read, is not YAML, names a key twice, or has a version that is not ours.
    """
    document = migrate(_parse(file), file=file)
    return _lines(document)


def migrate(
    document: Any,
    *,
    file: Path,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    current: int = SCHEMA_VERSION,
) -> Any:
    """Bring a document to the current version, in memory; a file without a version is of version 1.

    Raises:
        SettingsError: the version is not a whole number from 1, or newer than this program.
    """
    version = document.get(VERSION_KEY, 1)
    where = f"{file}:{_line_of(document, VERSION_KEY)}"
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise SettingsError(
            [Problem(where, f"{VERSION_KEY} = {show(version)} is not a version", f"write {current}")]
        )
    if version > current:
        hint = "use the program that wrote the file, or a newer one"
        what = f"{VERSION_KEY} = {version} is newer than this program, which reads up to {current}"
        raise SettingsError([Problem(where, what, hint)])
    for step in range(version, current):
        migrations[step](document)
        document[VERSION_KEY] = step + 1
    return document


def _parse(file: Path) -> Any:
    """The file as a ruamel mapping, which knows its lines and comments; empty for an empty file."""
    from ruamel.yaml import YAML  # here: most starts have no file
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    text = _read_text(file)
    reader = YAML(typ="rt")
    reader.allow_duplicate_keys = False
    try:
        document = reader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{file}:{mark.line + 1}" if mark is not None else str(file)
        if isinstance(error, DuplicateKeyError):  # its own text would show both values
            raise SettingsError([Problem(where, "this key is there twice", "keep one of the two")]) from None
        raise SettingsError([Problem(where, f"not valid YAML: {_first_line(error.problem)}")]) from None
    except (YAMLError, ValueError, IndexError, RecursionError) as error:
        # ValueError: a number of thousands of digits; IndexError: a number without digits (`+_`)
        raise SettingsError([Problem(str(file), f"not valid YAML: {_first_line(str(error))}")]) from None
    if document is None:
        return CommentedMap()
    if not isinstance(document, CommentedMap):
        what = f"holds {show(document)} where sections with settings are expected"
        raise SettingsError(
            [Problem(f"{file}:1", what, "write `server:` and below it, indented, `port: 8190`")]
        )
    return document


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise SettingsError([Problem(str(file), f"is larger than {MAX_FILE_BYTES} bytes")])
        return data.decode("utf-8-sig")
    except OSError as error:
        raise SettingsError([Problem(str(file), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise SettingsError([Problem(str(file), f"is not UTF-8 at byte {error.start}")]) from None


def _lines(document: Any) -> list[Line]:
    """A section without content sets nothing: so it reads when all below it is commented out."""
    found: list[Line] = []
    for key, content in document.items():
        if key == VERSION_KEY:
            continue
        at = _line_of(document, key)
        if not isinstance(content, Mapping) or not content:
            value = None if isinstance(content, Mapping) else _plain(content)
            found.append(Line(str(key), None, value, at, at))
            continue
        for name, value in content.items():
            found.append(Line(str(key), str(name), _plain(value), _line_of(content, name), at))
    return found


def _line_of(mapping: Any, key: object) -> int:
    """1 where ruamel does not know (a key that came through a YAML merge, or after a migration)."""
    try:
        return int(mapping.lc.key(key)[0]) + 1
    except (KeyError, TypeError, AttributeError):
        return 1


def _plain(value: Any) -> Any:
    """Without ruamel's types, which remember how a scalar was written."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _first_line(text: str | None) -> str:
    return (text or "unknown").strip().splitlines()[0]
