# SPDX-License-Identifier: Apache-2.0
"""What `inglenook image` was asked for, and into which files the pictures go."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from inglenook.base.errors import Conflict, Failed

FORMATS = ("png", "jpeg", "webp")
_FORMAT_OF_SUFFIX = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_SIZE = re.compile(r"(\d{1,5})[xX×](\d{1,5})")
_MAX_NAME_CHARS = 60


@dataclass(frozen=True, slots=True)
class Order:
    """One request for pictures as the command line gave it.

    Attributes:
        fields: by the names of the OpenAI dialect, which checks them; what was not given is left out.
        images, mask: the bytes of picture files.
    """

    fields: Mapping[str, Any]
    images: tuple[bytes, ...] = ()
    mask: bytes | None = None


class Lora(click.ParamType[dict[str, Any]]):
    """``watercolour:0.8`` → {"model": "watercolour", "weight": 0.8}; 1 where no number follows."""

    name = "NAME[:WEIGHT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        model, colon, weight = str(value).rpartition(":")
        if not colon:
            return {"model": weight, "weight": 1.0}
        try:
            return {"model": model, "weight": float(weight)}
        except ValueError:
            self.fail(f"{weight!r} is no number: write it like watercolour:0.8", param, ctx)


class Size(click.ParamType[tuple[int, int]]):
    """``512x768`` → (512, 768)."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        match = _SIZE.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is not a size: write it like 512x768", param, ctx)
        return int(match[1]), int(match[2])


def choose_format(out: Path | None, asked: str | None) -> str:
    """The format from the file's suffix or from ``--format``.

    Raises:
        click.UsageError: the two disagree, or the suffix names no format.
    """
    suffix = "" if out is None else out.suffix.lower()
    by_suffix = _FORMAT_OF_SUFFIX.get(suffix)
    if suffix and by_suffix is None and asked is None:
        known = ", ".join(_FORMAT_OF_SUFFIX)
        raise click.UsageError(f"{out}: no format has the suffix {suffix}; use {known} or --format")
    if by_suffix is not None and asked is not None and by_suffix != asked:
        raise click.UsageError(f"{out} and --format {asked} do not go together")
    return asked or by_suffix or "png"


def file_names(out: Path | None, *, prompt: str, n: int, output_format: str) -> list[Path]:
    """One file for each picture: ``fox.png``; ``fox-1.png``, ``fox-2.png`` for more than one.

    Without `out`, named after the prompt, in the working folder.
    """
    suffix = ".jpg" if output_format == "jpeg" else f".{output_format}"
    out = Path(_slug(prompt) + suffix) if out is None else out
    if not out.suffix:
        out = out.with_name(out.name + suffix)
    if n == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, n + 1)]


def _slug(prompt: str) -> str:
    words = re.findall(r"[^\W_]+", prompt.lower())
    name = ""
    for word in words:
        if len(name) + len(word) + 1 > _MAX_NAME_CHARS:
            break
        name = f"{name}-{word}" if name else word
    return name or "picture"


def check_files(files: Sequence[Path], *, force: bool) -> None:
    """Before anything is drawn: the files can be written, and none would be lost.

    Raises:
        Conflict: one exists, and `force` was not given.
        Failed: the folder is not there.
    """
    folder = files[0].parent
    if not folder.is_dir():
        raise Failed(f"The folder {folder} does not exist.", code="cli.folder", hint=f"mkdir -p {folder}")
    taken = [file for file in files if file.exists()]
    if taken and not force:
        names = ", ".join(map(str, taken))
        verb = "exists" if len(taken) == 1 else "exist"
        raise Conflict(
            f"{names} already {verb}.", code="cli.exists", hint="use --force to overwrite, or another -o"
        )


def write_file(file: Path, data: bytes, *, force: bool, kept_as: str) -> None:
    """Write one picture.

    Raises:
        Conflict: the file has appeared since it was looked for.
        Failed: it cannot be written; the message says under which id the picture is kept.
    """
    try:
        with file.open("wb" if force else "xb") as stream:
            stream.write(data)
    except FileExistsError:
        raise Conflict(
            f"{file} has appeared while the picture was drawn; the picture is kept as {kept_as}.",
            code="cli.exists",
            hint=f"fetch it from /v1/pictures/{kept_as}/file",
        ) from None
    except OSError as error:
        raise Failed(
            f"{file} cannot be written: {error.strerror}; the picture is kept as {kept_as}.",
            code="cli.write",
            hint=f"make room, then fetch it from /v1/pictures/{kept_as}/file",
        ) from error
