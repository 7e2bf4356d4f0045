# SPDX-License-Identifier: Apache-2.0
"""`inglenook serve`: the server, in the foreground."""

from pathlib import Path

import click

from inglenook.cli.options import load_settings, settings_options


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on; 0 takes any that is free.")
@settings_options
def serve(host: str | None, port: int | None, config: Path | None, data: Path | None) -> None:
    """Start the server; Ctrl-C stops it."""
    loaded = load_settings(config=config, data=data, host=host, port=port)
    from inglenook.app import serve as run

    run(loaded)
