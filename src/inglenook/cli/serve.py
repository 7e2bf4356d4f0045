# SPDX-License-Identifier: Apache-2.0
"""`inglenook serve`: the server, in the foreground."""

import gc
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import say

if TYPE_CHECKING:
    from inglenook.settings import Settings


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on; 0 takes any that is free.")
@click.option("--with-starters", is_flag=True, help="First fetch the starters that are missing.")
@settings_options
def serve(
    host: str | None, port: int | None, with_starters: bool, config: Path | None, data: Path | None
) -> None:
    """Start the server; Ctrl-C stops it."""
    gc.disable()  # until everything is there: see `inglenook.app.serve`
    try:
        loaded = load_settings(config=config, data=data, host=host, port=port)
        if with_starters:
            _fetch_starters(loaded.settings, config=config)
        from inglenook.app import serve as run

        run(loaded)
    finally:
        gc.enable()


def _fetch_starters(settings: "Settings", *, config: Path | None) -> None:
    """In a process of its own, which takes its memory with it; the server starts with what there is then."""
    from inglenook.catalog.starters.listing import is_installed, starters

    if all(is_installed(settings.starter_folder, one) for one in starters()):
        return
    given = [] if config is None else ["--config", str(config)]
    data = str(settings.server.data)
    command = [sys.executable, "-m", "inglenook", "starters", "install", *given, "--data", data]
    if subprocess.run(command, check=False).returncode != 0:
        say("the server starts without them; again later: inglenook starters install")
