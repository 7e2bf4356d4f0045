# SPDX-License-Identifier: Apache-2.0
"""`inglenook pixel`: pictures to sprites, and sprites to files, without a server. Only a subject that a model
is to cut out needs more than a child: see `pixel_matte`."""

import asyncio
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.errors import InglenookError
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.order import check_files
from inglenook.cli.pixel_options import (
    FrameSize,
    FrameTagOption,
    check_order,
    choose_format,
    named_palette,
    out_file,
    recipe_options,
    write_out,
)
from inglenook.cli.screen import put, put_json, say
from inglenook.pixels.places import FORMATS, has_place

if TYPE_CHECKING:
    from inglenook.engines.pixels import MadePicture, WriteOrder, WrittenFile
    from inglenook.pixels.model import Recipe
    from inglenook.settings import Loaded

DEFAULT_FRAME_MS = 100


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File; its suffix says the format: png, gif, webp, aseprite, zip (a sheet), ico. Without it the"
    " first picture's name with the sprite's size.",
)
@click.option(
    "--size", type=FrameSize(), help="Of the sprite: 64, or 64x96. As many as the grid has cells without it."
)
@click.option("--palette", help="A palette's name, its file, or colours like '#1a1c2c,#f4f4f4'.")
@recipe_options
@click.option("--format", "format_", type=click.Choice(FORMATS), help="If the suffix does not say.")
@click.option(
    "--frame-ms", type=click.IntRange(1, 65535), help=f"Each frame's duration; {DEFAULT_FRAME_MS} without it."
)
@click.option("--once", is_flag=True, help="An animation that does not begin again.")
@click.option(
    "--tag",
    "tags",
    type=FrameTagOption(),
    multiple=True,
    help="A named run of frames, like walk:1-4 or walk:1-4:reverse; may be given often.",
)
@click.option("--layers", is_flag=True, help="FILES are the layers of one frame (aseprite), not frames.")
@click.option(
    "--scale", type=click.IntRange(1, 64), default=1, show_default=True, help="Enlarge each pixel so much."
)
@click.option("--columns", type=click.IntRange(1, 256), help="Of a sheet.")
@click.option("--padding", type=click.IntRange(0, 64), default=0, help="Pixels between a sheet's frames.")
@click.option("--proof", is_flag=True, help="Print what was counted on the sprites.")
@click.option("--json", "as_json", is_flag=True, help="Print everything about the sprites as JSON.")
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@settings_options
def pixel(
    files: tuple[Path, ...],
    out: Path | None,
    size: tuple[int, int | None] | None,
    palette: str | None,
    format_: str | None,
    frame_ms: int | None,
    once: bool,
    tags: tuple[Any, ...],
    layers: bool,
    scale: int,
    columns: int | None,
    padding: int,
    proof: bool,
    as_json: bool,
    force: bool,
    config: Path | None,
    data: Path | None,
    **asked: Any,
) -> None:
    """Make pixel art of FILES: an exact grid, a palette, hard alpha. Several are the frames of an animation.

    \b
    inglenook pixel fox.png --size 64 --colors 16 -o fox-sprite.png
    inglenook pixel walk-*.png --size 32x48 --palette pico-8 --tag walk:1-4 -o walk.aseprite
    """
    from inglenook.engines.pixels import WriteOrder

    format_ = choose_format(out, format_, frames=1 if layers else len(files), layers=layers)
    if out is not None:
        check_files([out], force=force)
    check_order(
        format_,
        tags=tags,
        frames=1 if layers else len(files),
        asked=[
            field
            for field, given in (
                ("tags", tags),
                ("columns", columns),
                ("padding", padding),
                ("loop", once),
                ("durations_ms", frame_ms),
                ("scale", scale > 1),
            )
            if given
        ],
    )
    recipe = _recipe(size, palette, asked)
    order = WriteOrder(
        format=format_,  # type: ignore[arg-type]  # one of FORMATS
        durations_ms=None if frame_ms is None else (frame_ms,) * (1 if layers else len(files)),
        tags=tags,
        layers=tuple(file.stem for file in files) if layers else None,
        loop=not once,
        scale=scale,
        columns=columns,
        padding=padding,
        name=(files[0] if out is None else out).stem,
    )
    loaded = load_settings(config=config, data=data)
    made, written = asyncio.run(_run(loaded, files, recipe, order))
    file = out_file(files[0], made[0], written.suffix) if out is None else out
    if out is None:
        check_files([file], force=force)
    write_out(file, written.data, force=force)
    _tell(file, files, made, proof=proof, as_json=as_json)


def _recipe(size: tuple[int, int | None] | None, palette: str | None, asked: dict[str, Any]) -> "Recipe":
    from inglenook.pixels.checking import read_recipe
    from inglenook.pixels.palettes import builtin

    fields = {name: value for name, value in asked.items() if value is not None}
    if size is not None:
        fields |= {"width": size[0], "height": size[1]}
    if palette is not None:
        fields["palette"] = named_palette(palette)
    return read_recipe(fields, palettes=builtin())


async def _run(
    loaded: "Loaded", files: tuple[Path, ...], recipe: "Recipe", order: "WriteOrder"
) -> tuple[list["MadePicture"], "WrittenFile"]:
    from dataclasses import replace

    from inglenook.base.cancel import StopToken
    from inglenook.base.ids import OWNER
    from inglenook.cli.pixel_matte import cut_out
    from inglenook.engines.pixels import PixelWorkshop
    from inglenook.pixels.model import Background

    runtime, stop = loaded.settings.runtime, StopToken()
    frames = [await asyncio.to_thread(file.read_bytes) for file in files]
    with tempfile.TemporaryDirectory(prefix="inglenook-pixel-") as spool:
        workshop = PixelWorkshop(
            spool_root=Path(spool),
            start_timeout_s=runtime.start_timeout_s,
            cancel_grace_s=runtime.cancel_grace_s,
            stop_grace_s=runtime.stop_grace_s,
            memory_bytes=loaded.settings.pixels.memory_bytes,
            max_pixels=loaded.settings.images.max_input_pixels,
            keep_warm_s=None,
        )
        try:
            if recipe.background is Background.MATTE:
                made = await cut_out(loaded, frames, recipe)
            else:
                made = await workshop.pixelate(
                    frames,
                    [None] * len(frames),
                    recipe,
                    person=OWNER,
                    stop=stop,
                    whole_animation=len(frames) > 1,
                )
            if has_place(order.format, "palette"):
                order = replace(order, palette=made[0].palette or None)
            return made, await workshop.write([one.png for one in made], order, person=OWNER, stop=stop)
        except InglenookError as error:
            raise _of_file(error, files) from None
        finally:
            await workshop.close()


def _of_file(error: InglenookError, files: tuple[Path, ...]) -> InglenookError:
    """`error` with the name of the file that it is about, where it is about one."""
    name, _, place = (error.field or "").partition(".")
    if name != "frames" or not place.isdecimal():
        return error
    return type(error)(f"{files[int(place)]}: {error.message}", code=error.code, hint=error.hint)


def _tell(
    file: Path, files: tuple[Path, ...], made: list["MadePicture"], *, proof: bool, as_json: bool
) -> None:
    if as_json:
        put_json({"file": str(file), "sprites": [_facts(one) for one in made]})
        return
    for note in dict.fromkeys(note for one in made for note in one.notes):
        say(f"note: {note}")
    put(str(file))
    if proof:
        for source, one in zip(files, made, strict=True):
            put(f"{source}: {in_words(one)}")


def _facts(made: "MadePicture") -> dict[str, Any]:
    return {
        "width": made.width,
        "height": made.height,
        "palette": None
        if made.palette is None
        else ["#{:02x}{:02x}{:02x}".format(*one) for one in made.palette],
        "proof": made.proof.as_json(),
        "grid": None if made.grid is None else asdict(made.grid),
        "offset": made.offset,
        "pivot": made.pivot,
        "notes": made.notes,
    }


def in_words(made: "MadePicture") -> str:
    """The proof on one line."""
    proof = made.proof
    parts = [f"{proof.width} x {proof.height}", f"{proof.colors} colour{'' if proof.colors == 1 else 's'}"]
    if made.palette is not None:
        off = "every pixel" if proof.within_palette else f"all but {proof.off_palette} pixels"
        parts.append(f"{off} in the palette of {len(made.palette)}")
    parts.append(f"alpha {' and '.join(map(str, proof.alphas))}")
    for way, seam in (("across", proof.seam_x), ("down", proof.seam_y)):
        if seam is not None:
            parts.append(f"seam {way} {seam:.2f}")
    if made.grid is not None:
        parts.append(f"a grid of {made.grid.period_x:.2f} x {made.grid.period_y:.2f} was found")
    return ", ".join(parts)
