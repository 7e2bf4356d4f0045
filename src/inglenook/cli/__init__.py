# SPDX-License-Identifier: Apache-2.0
"""The terminal: commands parse, call and print.

Data goes to standard output, progress and messages to standard error. Exit codes: 0 it worked, 1 it did not,
2 the command line was wrong, 130 interrupted. Only `click` and the ground are imported here; whatever is
heavier is imported by the command that needs it.
"""

from typing import Any

import click

from inglenook import __version__
from inglenook.base.errors import InglenookError
from inglenook.cli.bring import bring
from inglenook.cli.config import config
from inglenook.cli.doctor import doctor
from inglenook.cli.engines import engines
from inglenook.cli.image import image
from inglenook.cli.jobs import jobs
from inglenook.cli.mcp import mcp
from inglenook.cli.models import models
from inglenook.cli.pixel import pixel
from inglenook.cli.predict import predict
from inglenook.cli.screen import show_error
from inglenook.cli.serve import serve
from inglenook.cli.starters import starters
from inglenook.cli.studio import studio
from inglenook.cli.transcribe import transcribe


class Program(click.Group):
    """Turns an error of ours into its message, and an interrupt into the exit code that shells expect."""

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


for command in (
    serve,
    image,
    pixel,
    transcribe,
    predict,
    bring,
    studio,
    models,
    jobs,
    mcp,
    starters,
    engines,
    config,
    doctor,
):
    program.add_command(command)


def main() -> None:
    program(prog_name="inglenook")
