# SPDX-License-Identifier: Apache-2.0
"""The command as a whole: quick to start, and clear about what went wrong."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from inglenook.base.errors import Cancelled, Failed
from inglenook.cli import program, screen

HEAVY = (
    "fastapi",
    "starlette",
    "sqlalchemy",
    "pydantic",
    "httpx",
    "ruamel",
    "msgspec",
    "numpy",
    "PIL",
    "torch",
    "inglenook.app",
    "inglenook.settings",
)


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_terminal_starts_without_what_its_commands_need() -> None:
    found = _python(f"import sys, inglenook.cli; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert found == "[]"


def test_the_version_is_told() -> None:
    command = [sys.executable, "-m", "inglenook", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("inglenook ")


def test_the_first_screen_names_every_command_in_a_whole_sentence() -> None:
    said = CliRunner().invoke(program, ["--help"]).stdout
    commands = said.partition("Commands:\n")[2].strip().splitlines()
    assert [line.split()[0] for line in commands] == [
        "config",
        "doctor",
        "engines",
        "image",
        "import",
        "jobs",
        "mcp",
        "models",
        "pixel",
        "predict",
        "serve",
        "starters",
        "studio",
        "transcribe",
    ]
    assert all(line.endswith(".") and not line.endswith("...") for line in commands)


@pytest.mark.parametrize("arguments", [["nothing"], ["image"], ["image", "x", "--steps", "0"], ["--nothing"]])
def test_a_wrong_command_line_ends_with_two(arguments: list[str]) -> None:
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Usage: " in done.stderr


def test_an_error_is_told_with_its_hint_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show_error(Failed("The disk is full.", hint="free some room"))
    screen.show_error(Cancelled("The job was cancelled."))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: The disk is full.\nhint: free some room\nerror: The job was cancelled.\n"
