# SPDX-License-Identifier: Apache-2.0
"""`inglenook image`: a picture from a prompt, with or without a running server."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.units import format_seconds
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.order import FORMATS, Lora, Order, Size, check_files, choose_format, file_names, write_file
from inglenook.cli.screen import Progress, put, put_json

if TYPE_CHECKING:
    from inglenook.cli.drawing import Made
    from inglenook.settings import Loaded

_PICTURE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("prompt")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File; named after the prompt without it.",
)
@click.option(
    "--model", default="auto", show_default=True, help="Id of a model; `inglenook models` lists them."
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "torch", "mlx", "sdcpp"]),
    help="Which program draws; the best that is here and has the model without it.",
)
@click.option("--size", type=Size(), help="Pixels, like 512x768.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps from noise to picture.")
@click.option(
    "--guidance", type=click.FloatRange(min=0), help="How closely to keep to the prompt; 0 is a value."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="The same seed draws the same picture.")
@click.option(
    "-n", "--n", type=click.IntRange(min=1), default=1, show_default=True, help="Number of pictures."
)
@click.option("--negative", default="", help="What the picture should not show.")
@click.option("--style", help="Words around the prompt, like oil or pixel-art; GET /v1/styles lists them.")
@click.option("--scheduler", help="Name of a scheduler, like dpm++_2m or unipc.")
@click.option("--sigmas", help="Sigma schedule: karras, exponential, beta or sgm_uniform.")
@click.option(
    "--lora", "loras", type=Lora(), multiple=True, help="A LoRA, like watercolour:0.8; may be given often."
)
@click.option("--vae", help="Name of a VAE to use instead of the model's own.")
@click.option("--clip-skip", type=click.IntRange(1, 12), help="1 reads the last layer of CLIP.")
@click.option(
    "--hires",
    type=click.FloatRange(1, 4, min_open=True),
    help="Draw again over the picture, so much enlarged.",
)
@click.option(
    "--transparent",
    is_flag=True,
    help="Cut the background away: by the matting model where there is one, else what is plain.",
)
@click.option(
    "--image",
    "images",
    type=_PICTURE_FILE,
    multiple=True,
    help="Picture to change; models that take several take it often.",
)
@click.option(
    "--mask", type=_PICTURE_FILE, help="Where to change it: its transparent part, else its white part."
)
@click.option(
    "--strength", type=click.FloatRange(0, 1, min_open=True), help="How much of --image is redrawn."
)
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="Format, if the file's suffix does not say."
)
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@settings_options
def image(
    prompt: str,
    out: Path | None,
    images: tuple[Path, ...],
    mask: Path | None,
    format_: str | None,
    force: bool,
    as_json: bool,
    config: Path | None,
    data: Path | None,
    **asked: Any,
) -> None:
    """Draw PROMPT, and print the names of the files.

    Uses the server that runs on the data folder; without one, the picture is drawn in this process.
    """
    if not images and (mask is not None or asked["strength"] is not None):
        raise click.UsageError(f"--{'mask' if mask is not None else 'strength'} needs --image")
    if images and asked["hires"] is not None:
        raise click.UsageError("--hires is for pictures made from text only")
    output_format = choose_format(out, format_)
    files = file_names(out, prompt=prompt, n=asked["n"], output_format=output_format)
    check_files(files, force=force)
    order = Order(
        fields=_fields(prompt, output_format, **asked),
        images=tuple(file.read_bytes() for file in images),
        mask=None if mask is None else mask.read_bytes(),
    )
    album = _Album(files, force=force, as_json=as_json)
    job = asyncio.run(_run(load_settings(config=config, data=data), order, album))
    album.close(job)


def _fields(
    prompt: str,
    output_format: str,
    *,
    size: tuple[int, int] | None,
    guidance: float | None,
    negative: str,
    loras: tuple[dict[str, Any], ...],
    hires: float | None,
    transparent: bool,
    **same: Any,
) -> dict[str, Any]:
    """The options as fields of the OpenAI dialect. `same`: those that are called alike in both."""
    given = same | {
        "prompt": prompt,
        "output_format": output_format,
        "size": None if size is None else f"{size[0]}x{size[1]}",
        "guidance_scale": guidance,
        "negative_prompt": negative or None,
        "loras": list(loras) or None,
        "hires": None if hires is None else {"scale": hires},
        "background": "transparent" if transparent else None,
    }
    return {name: value for name, value in given.items() if value is not None}


class _Album:
    """Writes each picture into its file as it comes, and tells of it."""

    def __init__(self, files: list[Path], *, force: bool, as_json: bool) -> None:
        self._files = files
        self._force = force
        self._as_json = as_json
        self._made: list[dict[str, object]] = []
        self.progress = Progress(sys.stderr)

    async def keep(self, made: "Made") -> None:
        file = self._files[made.index]
        write_file(file, made.data, force=self._force, kept_as=made.id)
        self.progress.message(f"picture {made.index + 1}: {made.width}x{made.height}, seed {made.seed}")
        if not self._as_json:
            put(str(file))
        self._made.append(
            {
                "file": str(file),
                "picture_id": made.id,
                "seed": made.seed,
                "width": made.width,
                "height": made.height,
                "engine": made.engine,
                "model": made.model,
            }
        )

    def close(self, job: str) -> None:
        if self._as_json:
            put_json({"job": job, "pictures": self._made})


async def _run(loaded: "Loaded", order: Order, album: _Album) -> str:
    """The job's id, when all pictures are written."""
    from inglenook.cli.client import ServerClient, find_server
    from inglenook.cli.drawing import ServerDesk, WorkshopDesk, draw

    loop = asyncio.get_running_loop()
    began_s = loop.time()
    address = find_server(loaded.settings.server.data)
    with album.progress as progress:
        if address is not None:
            async with ServerClient(address) as client:
                job = await draw(ServerDesk(client), order, progress=progress, keep=album.keep)
        else:
            from inglenook.app import open_workshop

            progress.message("no server is running; drawing here")
            set_log(loaded)
            async with open_workshop(loaded) as workshop:
                job = await draw(WorkshopDesk(workshop), order, progress=progress, keep=album.keep)
        progress.message(f"done in {format_seconds(loop.time() - began_s)}")
    return job


def set_log(loaded: "Loaded") -> None:
    """Errors only, so that the log does not stand between our lines, unless a level was asked for."""
    asked = loaded.origin["server.log_level"] != "default"
    level = loaded.settings.server.log_level.upper() if asked else "ERROR"
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
