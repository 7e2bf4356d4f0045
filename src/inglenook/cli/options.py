# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the settings that follow from them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from inglenook.settings import Loaded

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(command: Command) -> Command:
    """Add ``--config`` and ``--data``."""
    command = click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder for database, pictures and models.",
    )(command)
    return click.option(
        "--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings file to read."
    )(command)


def load_settings(*, config: Path | None, data: Path | None, **flags: Any) -> "Loaded":
    """Settings from file, environment and this command line; flags that are None were not given.

    Raises:
        SettingsError: a source cannot be used.
    """
    from inglenook.settings import find_file, load

    given = {"server.data": data, **{f"server.{name}": value for name, value in flags.items()}}
    return load(
        file=find_file(config=config, data=data, environ=os.environ),
        environ=os.environ,
        flags={key: value for key, value in given.items() if value is not None},
    )
