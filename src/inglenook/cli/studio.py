# SPDX-License-Identifier: Apache-2.0
"""`inglenook studio`: projects of the running server, step by step."""

import click

from inglenook.cli.studio_export import export_model
from inglenook.cli.studio_import import import_pictures


@click.group()
def studio() -> None:
    """From a folder of pictures to a trained model."""


studio.add_command(import_pictures)
studio.add_command(export_model)
