# SPDX-License-Identifier: Apache-2.0
"""The terminal: commands parse, call and print.

Data goes to standard output, progress and messages to standard error. Exit codes: 0 it worked, 1 it did not,
2 the command line was wrong, 130 interrupted. Only `click` and the ground are imported here. A command is
imported when it is called, so that a server keeps none of the others in memory; what is heavier is imported
by the command that needs it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from inglenook import __version__
from inglenook.base.errors import InglenookError
from inglenook.cli.screen import show_error

COMMANDS: Final[Mapping[str, str]] = {
    "serve": "serve",
    "image": "image",
    "pixel": "pixel",
    "transcribe": "transcribe",
    "predict": "predict",
    "import": "bring",
    "studio": "studio",
    "models": "models",
    "jobs": "jobs",
    "mcp": "mcp",
    "starters": "starters",
    "engines": "engines",
    "config": "config",
    "doctor": "doctor",
}
"""A command, and the module of this package that holds it under its own name."""


class Program(click.Group):
    """Imports a command when it is asked for. Turns an error of ours into its message, and an interrupt into
    the exit code that shells expect."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"inglenook.cli.{module}"), module)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InglenookError as error:
            show_error(error)
            ctx.exit(130 if error.kind == "cancelled" else 1)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="inglenook", message="%(prog)s %(version)s")
def program() -> None:
    """Inglenook: a private AI workshop for one machine."""


def main() -> None:
    program(prog_name="inglenook")
