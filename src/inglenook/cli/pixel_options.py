# SPDX-License-Identifier: Apache-2.0
"""What `inglenook pixel` is asked for: a recipe as options; how sizes, tags and palettes are written."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from inglenook.base.errors import Conflict, Failed, InglenookError
from inglenook.pixels.model import (
    Alpha,
    Background,
    Dither,
    Fit,
    GridMode,
    Outline,
    Quantiser,
    Reduction,
    Symmetry,
    Tile,
)
from inglenook.pixels.places import PLACES, has_place

if TYPE_CHECKING:
    from inglenook.engines.pixels import MadePicture
    from inglenook.wire.pixels import FrameTag

_OF_SUFFIX: Final = {
    ".png": ("png",),
    ".gif": ("gif",),
    ".webp": ("webp",),
    ".aseprite": ("aseprite",),
    ".ase": ("aseprite",),
    ".zip": ("sheet-aseprite", "sheet-texturepacker", "icons"),
    ".ico": ("ico",),
    ".rgba": ("rgba",),
}
_OPTION_OF: Final = {
    "tags": "--tag",
    "columns": "--columns",
    "padding": "--padding",
    "loop": "--once",
    "durations_ms": "--frame-ms",
    "scale": "--scale",
}
"""Fields of `pixels.places` as they are called here."""
_ONE_PICTURE: Final = frozenset({"png", "ico", "icons"})
_SIZE: Final = re.compile(r"(\d{1,5})(?:[xX×](\d{1,5}))?")
_TAG: Final = re.compile(r"([^:]{1,64}):(\d{1,3})(?:-(\d{1,3}))?(?::(forward|reverse|ping-pong))?")

Command = TypeVar("Command", bound=Callable[..., Any])


class FrameSize(click.ParamType[tuple[int, int | None]]):
    """``64x96`` → (64, 96); ``64`` → (64, None): the other side follows from the picture's shape."""

    name = "W or WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        match = _SIZE.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is not a size: write it like 64 or 64x96", param, ctx)
        return int(match[1]), None if match[2] is None else int(match[2])


class FrameTagOption(click.ParamType[Any]):
    """``walk:1-4:reverse`` → frames 0 to 3. Frames count from 1, as Aseprite shows them."""

    name = "NAME:FIRST-LAST[:DIRECTION]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from inglenook.wire.pixels import FrameTag

        match = _TAG.fullmatch(str(value))
        first = 0 if match is None else int(match[2])
        last = first if match is None or match[3] is None else int(match[3])
        if match is None or not 1 <= first <= last:
            self.fail(
                f"{value!r} is no run of frames: write it like walk:1-4 or walk:1-4:ping-pong", param, ctx
            )
        direction: Any = match[4] or "forward"
        return FrameTag(name=match[1], first=first - 1, last=last - 1, direction=direction)


def choose_format(out: Path | None, asked: str | None, *, frames: int, layers: bool) -> str:
    """The format from the file's suffix or from ``--format``.

    Raises click.UsageError: the two disagree, the suffix names none, or it cannot hold what it is to hold.
    """
    suffix = "" if out is None else out.suffix.lower()
    known = _OF_SUFFIX.get(suffix, ())
    if suffix and not known and asked is None:
        raise click.UsageError(
            f"{out}: no format has the suffix {suffix}; use {', '.join(_OF_SUFFIX)} or --format"
        )
    if known and asked is not None and asked not in known:
        raise click.UsageError(f"{out} and --format {asked} do not go together; leave one of both out")
    found = asked or (known[0] if known else "png" if frames == 1 else "gif")
    if frames > 1 and found in _ONE_PICTURE:
        raise click.UsageError(
            f"{found} holds one picture, and there are {frames}; write gif, webp, aseprite or zip, or give"
            " one file"
        )
    if layers and found != "aseprite":
        raise click.UsageError(f"--layers is for .aseprite files, not for {found}; write -o NAME.aseprite")
    return found


def check_order(format_: str, *, frames: int, tags: Sequence["FrameTag"], asked: Iterable[str]) -> None:
    """Nothing that was asked for is left out of the file in silence (`pixels.places`).

    Args:
        asked: the fields of the order that were given.

    Raises click.UsageError: the format has no place for one, or a tag names frames that there are not.
    """
    for field in asked:
        if not has_place(format_, field):
            raise click.UsageError(
                f"a file of format {format_} has no place for {_OPTION_OF[field]}; leave it out, or write"
                f" {', '.join(PLACES[field])}"
            )
    for tag in tags:
        if tag.last >= frames:
            raise click.UsageError(
                f"--tag {tag.name}:{tag.first + 1}-{tag.last + 1} goes past the last frame: frames count"
                f" from 1, and the last is {frames}"
            )


def named_palette(text: str) -> str | list[str]:
    """A palette's name, or colours: written out, or out of a file.

    Raises:
        Failed: the file cannot be read.
        Invalid: it is no palette.
    """
    if text.lstrip().startswith("#"):
        return [one.strip() for one in text.split(",") if one.strip()]
    file = Path(text)
    if not file.suffix and not file.is_file():
        return text
    from inglenook.pixels.palette_files import MAX_BYTES, read_palette

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise Failed(
            f"The palette {file} cannot be read: {error.strerror}.",
            code="cli.palette",
            hint="give a .gpl, .pal, .hex, .act, .aseprite or .png file, or the name of a palette",
        ) from error
    try:
        found = read_palette(data, file.name)
    except InglenookError as error:
        raise type(error)(f"{file}: {error.message}", code=error.code, hint=error.hint) from None
    return ["#{:02x}{:02x}{:02x}".format(*one) for one in found.colors]


def out_file(source: Path, made: "MadePicture", suffix: str) -> Path:
    """``fox.jpg`` → ``fox-64x64.png`` in the working folder."""
    return Path(f"{source.stem}-{made.width}x{made.height}{suffix}")


def write_out(file: Path, data: bytes, *, force: bool) -> None:
    """Raises:
    Conflict: it has appeared since it was looked for.
    Failed: it cannot be written.
    """
    try:
        with file.open("wb" if force else "xb") as stream:
            stream.write(data)
    except FileExistsError:
        raise Conflict(
            f"{file} has appeared meanwhile.", code="cli.exists", hint="use --force to overwrite it"
        ) from None
    except OSError as error:
        raise Failed(
            f"{file} cannot be written: {error.strerror}.",
            code="cli.unwritable",
            hint="look at the disk and the folder's owner, or write to another place",
        ) from error


def recipe_options(command: Command) -> Command:
    """Add an option for each field of a recipe but its size and palette; None where it was not given."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _choice(name: str, kind: Any, says: str) -> Callable[[Command], Command]:
    return click.option(name, type=click.Choice([one.value for one in kind]), help=says)


_OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option("--colors", type=int, help="Most colours, 1 to 256; 0 keeps all. 16 without it."),
    _choice("--fit", Fit, "How the picture fills the size; contain without it."),
    _choice("--grid", GridMode, "Whether to look for the pixels that it pretends to have; auto without it."),
    _choice("--reduction", Reduction, "How many pixels become one; dominant without it."),
    _choice("--quantiser", Quantiser, "How the palette is chosen; k-means without it."),
    _choice("--dither", Dither, "none without it."),
    click.option("--dither-strength", type=float, help="0 to 1."),
    click.option("--merge-rare", type=float, help="Colours of a smaller share, 0 to 0.5, join others."),
    _choice("--alpha", Alpha, "binary: clear or opaque; opaque: all, on --background-color."),
    click.option("--alpha-threshold", type=int, help="1 to 255; what is below is clear. 128 without it."),
    _choice("--background", Background, "Cut the subject out: matte (a model), border (a plain colour)."),
    click.option("--background-color", help="Under what is made opaque, like #ffffff."),
    click.option("--despeckle", type=int, help="Islands of at most so many pixels go."),
    click.option("--fill-holes", type=int, help="Clear holes of at most so many pixels are filled."),
    click.option("--clean-edges", is_flag=True, default=None, help="Remove anti-aliasing along edges."),
    _choice("--outline", Outline, "A line of one pixel, inside or outside."),
    click.option("--outline-color", help="Like #000000; the darkest of the palette without it."),
    click.option("--keep-outline", is_flag=True, default=None, help="Thin dark lines survive."),
    _choice("--symmetry", Symmetry, "The half that is mirrored onto the other."),
    _choice("--tile", Tile, "The ends that fit each other."),
    click.option("--trim", is_flag=True, default=None, help="Cut to what is opaque."),
    click.option("--seed", type=int, help="Another choice of palette."),
)
