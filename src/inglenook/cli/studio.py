# SPDX-License-Identifier: Apache-2.0
"""`inglenook studio`: projects of the running server, step by step."""

import click

from inglenook.cli.studio_evaluate import evaluate_model
from inglenook.cli.studio_export import export_model
from inglenook.cli.studio_import import import_pictures
from inglenook.cli.studio_split import split
from inglenook.cli.studio_train import listing, restart, resume, stop, train, watch


@click.group()
def studio() -> None:
    """From a folder of pictures to a trained model."""


for command in (listing, import_pictures, split, train, watch, stop, resume, restart):
    studio.add_command(command)
studio.add_command(evaluate_model)
studio.add_command(export_model)
