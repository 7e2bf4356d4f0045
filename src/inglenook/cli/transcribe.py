# SPDX-License-Identifier: Apache-2.0
"""`inglenook transcribe`: what was said in a recording, with or without a running server."""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inglenook.base.units import format_seconds
from inglenook.cli.image import set_log
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import Progress, printable, say

if TYPE_CHECKING:
    from inglenook.app import Workshop
    from inglenook.settings import Loaded

FORMATS = ("text", "json", "verbose_json", "srt", "vtt")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="auto", show_default=True, help="Id of a speech model.")
@click.option("--language", help="What is spoken: a code like de, or a name; detected without it.")
@click.option("--prompt", default="", help="Text that comes before, or words that are likely in it.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Of the output.",
)
@click.option("--translate", is_flag=True, help="Write it in English, whatever is spoken.")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it into this file.")
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@settings_options
def transcribe(
    file: Path,
    out: Path | None,
    format_: str,
    translate: bool,
    force: bool,
    config: Path | None,
    data: Path | None,
    **asked: str | None,
) -> None:
    """Write down what is said in FILE.

    It may be WAV, FLAC, MP3, Ogg or WebM; with ffmpeg also M4A or MP4. Uses the server that runs on the
    data folder; without one, this process does the work.
    """
    if translate and asked["language"] is not None:
        raise click.UsageError("--translate detects the language; leave --language out")
    if out is not None and out.exists() and not force:
        raise click.UsageError(f"{out} exists; --force overwrites it")
    fields = {name: value for name, value in asked.items() if value} | {"response_format": format_}
    loaded = load_settings(config=config, data=data)
    text = asyncio.run(_run(loaded, file, fields, translate=translate))
    if out is None:
        click.echo(printable(text), nl=not text.endswith("\n"))
    else:
        out.write_text(text, encoding="utf-8")
        say(f"written to {out}")


async def _run(loaded: "Loaded", file: Path, fields: dict[str, str], *, translate: bool) -> str:
    from inglenook.cli.client import ServerClient, find_server

    loop = asyncio.get_running_loop()
    began_s = loop.time()
    address = find_server(loaded.settings.server.data)
    with Progress(sys.stderr) as progress:
        if address is not None:
            async with ServerClient(address) as client:
                kind = "translations" if translate else "transcriptions"
                text = await client.transcribe(f"/v1/audio/{kind}", fields, file)
        else:
            from inglenook.app import open_workshop

            progress.message("no server is running; listening here")
            set_log(loaded)
            async with open_workshop(loaded) as workshop:
                text = await _here(workshop, file, fields, translate=translate)
        progress.message(f"done in {format_seconds(loop.time() - began_s)}")
    return text


async def _here(workshop: "Workshop", file: Path, fields: dict[str, str], *, translate: bool) -> str:
    """In this process."""
    from inglenook.base.cancel import StopToken
    from inglenook.base.ids import OWNER
    from inglenook.speech.formats import written
    from inglenook.speech.model import FORMATS, Recorded, SpeechRequest, TextFormat
    from inglenook.speech.sniff import HEAD_BYTES, container_of

    speech = workshop.speech
    form: TextFormat = next(form for form in FORMATS if form == fields["response_format"])
    model = await asyncio.to_thread(speech.resolve, fields.get("model"))
    request = SpeechRequest(
        task="translate" if translate else "transcribe",
        language=fields.get("language"),
        prompt=fields.get("prompt", ""),
    )
    with speech.receive() as path:
        await asyncio.to_thread(shutil.copyfile, file, path)
        with path.open("rb") as copied:
            recorded = Recorded(path, container_of(copied.read(HEAD_BYTES)))
        done = await speech.transcribe(request, recorded, model, person=OWNER, stop=StopToken())
    return written(done, form)
