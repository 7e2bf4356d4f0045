# SPDX-License-Identifier: Apache-2.0
"""`inglenook predict`: what pictures show, with or without a running server."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.errors import InglenookError
from inglenook.cli.image import set_log
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import Progress, printable

if TYPE_CHECKING:
    from inglenook.app import Workshop
    from inglenook.cli.client import ServerClient
    from inglenook.settings import Loaded

AT_ONCE = 16
"""Pictures in one request."""


@click.command()
@click.argument("model")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--top", type=click.IntRange(1, 1000), default=3, show_default=True, help="Labels of each picture."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture, a line each.")
@settings_options
def predict(
    model: str, files: tuple[Path, ...], top: int, as_json: bool, config: Path | None, data: Path | None
) -> None:
    """Say what FILES show, by a vision model of the library.

    MODEL is an id, another name of it, or auto. Uses the server that runs on the data folder; without one,
    this process does the work.
    """
    loaded = load_settings(config=config, data=data)
    for file, found in zip(files, asyncio.run(_run(loaded, model, files, top)), strict=True):
        if as_json:
            click.echo(json.dumps({"file": str(file), **found}))
        else:
            labels = "  ".join(f"{one['label']} {one['score']:.1%}" for one in found["predictions"])
            click.echo(printable(f"{file}: {labels}"))


async def _run(loaded: "Loaded", model: str, files: tuple[Path, ...], top: int) -> list[dict[str, Any]]:
    from inglenook.cli.client import ServerClient, find_server

    address = find_server(loaded.settings.server.data)
    groups = [files[place : place + AT_ONCE] for place in range(0, len(files), AT_ONCE)]
    if address is not None:
        async with ServerClient(address) as client:
            answers = [await _there(client, model, group, top) for group in groups]
    else:
        from inglenook.app import open_workshop

        with Progress(sys.stderr) as progress:
            progress.message("no server is running; looking here")
            set_log(loaded)
            async with open_workshop(loaded) as workshop:
                answers = [await _here(workshop, model, group, top) for group in groups]
    return [one for answer in answers for one in answer]


async def _there(
    client: "ServerClient", model: str, files: tuple[Path, ...], top: int
) -> list[dict[str, Any]]:
    """By the server."""
    try:
        return await client.predict(model, files, top)
    except InglenookError as error:
        raise _of_file(error, files) from None


def _of_file(error: InglenookError, files: tuple[Path, ...]) -> InglenookError:
    """`error` with the name of the file that it is about, where it is about one."""
    name, _, place = (error.field or "").partition(".")
    if name not in ("image", "images") or (not place and len(files) > 1):
        return error
    return type(error)(f"{files[int(place or 0)]}: {error.message}", code=error.code, hint=error.hint)


async def _here(workshop: "Workshop", model: str, files: tuple[Path, ...], top: int) -> list[dict[str, Any]]:
    """In this process."""
    from inglenook.base.cancel import StopToken
    from inglenook.base.ids import OWNER

    predictions = workshop.predictions
    record = await asyncio.to_thread(predictions.resolve, model)
    pictures = [await asyncio.to_thread(file.read_bytes) for file in files]
    found = await predictions.predict(pictures, record, top=top, person=OWNER, stop=StopToken())
    return [
        {
            "width": one.width,
            "height": one.height,
            "predictions": [
                {"label": label.name, "class_id": label.number, "score": label.score} for label in one.labels
            ],
        }
        for one in found.pictures
    ]
