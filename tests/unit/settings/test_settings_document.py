# SPDX-License-Identifier: Apache-2.0
"""The file itself: what is read, what is refused, and how a migration keeps comments."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from inglenook.settings import SettingsError, load
from inglenook.settings.document import migrate


def _problem(file: Path) -> tuple[str, str | None]:
    with pytest.raises(SettingsError) as caught:
        load(file=file, environ={})
    (problem,) = caught.value.problems
    return str(problem), problem.hint


def _write(folder: Path, data: str | bytes) -> Path:
    file = folder / "config.yaml"
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


@pytest.mark.parametrize(
    "text",
    ["", "\n", "# nothing\n", "---\n", "schema_version: 1\n", "server:\n  # port: 1\n", "\ufeffjobs:\n"],
)
def test_a_file_that_sets_nothing_is_fine(tmp_path: Path, text: str) -> None:
    loaded = load(file=_write(tmp_path, text), environ={})
    assert set(loaded.origin.values()) == {"default"}


def test_a_file_that_is_named_and_not_there_stops_the_server(tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    assert _problem(file) == (f"{file}: cannot be read: No such file or directory", None)


def test_a_folder_in_place_of_the_file_stops_the_server(tmp_path: Path) -> None:
    assert _problem(tmp_path) == (f"{tmp_path}: cannot be read: Is a directory", None)


def test_broken_yaml_stops_the_server_with_the_line(tmp_path: Path) -> None:
    file = _write(tmp_path, "server:\n  port: [1, 2\njobs:\n")
    what, _ = _problem(file)
    assert what.startswith(f"{file}:3: not valid YAML: ")


def test_a_key_that_is_there_twice_stops_the_server_and_shows_neither_value(tmp_path: Path) -> None:
    file = _write(tmp_path, "server:\n  port: 1111\n  port: 2222\n")
    assert _problem(file) == (f"{file}:3: this key is there twice", "keep one of the two")


@pytest.mark.parametrize("text", ["- server\n", "server\n", "3\n"])
def test_a_file_without_sections_is_refused(tmp_path: Path, text: str) -> None:
    what, hint = _problem(_write(tmp_path, text))
    assert "where sections with settings are expected" in what
    assert hint == "write `server:` and below it, indented, `port: 8190`"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = _write(tmp_path, b"server:\n  host: \xff\xfe\n")
    assert _problem(file) == (f"{file}: is not UTF-8 at byte 16", None)


def test_a_file_of_absurd_size_is_refused_unread(tmp_path: Path) -> None:
    file = _write(tmp_path, b"#" * (1 << 20) + b"\n")
    assert _problem(file) == (f"{file}: is larger than 1048576 bytes", None)


@pytest.mark.parametrize("text", ["[" * 1000, "server: {port: " + "9" * 9000 + "}", "a: &x [*x]", "a\0b: 1"])
def test_a_hostile_file_ends_in_a_message(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError):
        load(file=_write(tmp_path, text), environ={})


@example(data=b"+_")
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8"))))
def test_whatever_a_file_holds_the_answer_is_settings_or_a_settings_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = _write(tmp_path_factory.mktemp("any"), data)
    with contextlib.suppress(SettingsError):
        load(file=file, environ={})


@pytest.mark.parametrize("version", ["0", "-1", "true", "'1'", "1.0", "[1]", ""])
def test_a_version_that_is_none_is_refused(tmp_path: Path, version: str) -> None:
    file = _write(tmp_path, f"# first\nschema_version: {version}\n")
    what, hint = _problem(file)
    assert what.startswith(f"{file}:2: schema_version = ")
    assert what.endswith(" is not a version")
    assert hint == "write 1"


def test_a_file_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    file = _write(tmp_path, "schema_version: 2\n")
    assert _problem(file) == (
        f"{file}:1: schema_version = 2 is newer than this program, which reads up to 1",
        "use the program that wrote the file, or a newer one",
    )


COMMENTED = """\
# my machine
schema_version: 1

server:
  # the old name
  portnumber: 9000  # since spring
  host: 127.0.0.1
"""


def _rename_port(document: Any) -> None:
    server = document["server"]
    place = list(server).index("portnumber")
    server.insert(place, "port", server.pop("portnumber"))


def test_the_first_version_is_left_as_it_is(tmp_path: Path) -> None:
    yaml = YAML()
    before = yaml.load(COMMENTED)
    after = migrate(before, file=tmp_path)
    out = io.StringIO()
    yaml.dump(after, out)
    assert out.getvalue() == COMMENTED


def test_a_migration_runs_from_each_version_to_the_next_and_keeps_comments(tmp_path: Path) -> None:
    yaml = YAML()
    steps: list[int] = []

    def noted(document: Any) -> None:
        steps.append(document["schema_version"])

    after = migrate(
        yaml.load(COMMENTED), file=tmp_path, migrations={1: _rename_port, 2: noted, 3: noted}, current=4
    )
    assert steps == [2, 3]
    assert after["schema_version"] == 4
    out = io.StringIO()
    yaml.dump(after, out)
    assert "port: 9000" in out.getvalue()
    assert "# my machine" in out.getvalue()
    assert "# the old name" in out.getvalue()
