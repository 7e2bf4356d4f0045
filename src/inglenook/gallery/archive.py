# SPDX-License-Identifier: Apache-2.0
"""Pictures as a zip file that is made while it is sent: one piece of a file at a time is in memory."""

import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from inglenook.base.errors import NotFound
from inglenook.base.ids import BlobId
from inglenook.base.piping import Pipe
from inglenook.gallery.model import Picture

PIECE_BYTES = 256 * 1024
PARAMETERS = "parameters.json"
SUFFIXES: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
}
_NAME_CHARS = 40
_FIRST_STAMP = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can tell."""


def archive(pictures: Sequence[Picture], open_blob: Callable[[BlobId], BinaryIO]) -> Iterator[bytes]:
    """The zip file in pieces: each picture as it is, and `parameters.json`, which tells of all.

    A picture whose file is gone is left out, and `parameters.json` says so.
    """
    pipe = Pipe()
    told: list[dict[str, Any]] = []
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as made:
        for picture in pictures:
            name = file_name(picture)
            try:
                source = open_blob(picture.blob)
            except NotFound:
                told.append({**_told(picture), "file": None})
                continue
            told.append({**_told(picture), "file": name})
            stamp = (
                picture.created_at.timetuple()[:6]
                if picture.created_at.year >= 1980
                else (1980, 1, 1, 0, 0, 0)
            )
            entry = zipfile.ZipInfo(name, date_time=stamp)
            with source, made.open(entry, "w", force_zip64=picture.size_bytes > 2**31) as target:
                while piece := source.read(PIECE_BYTES):
                    target.write(piece)
                    yield pipe.take()
        made.writestr(PARAMETERS, json.dumps(told, indent=1, ensure_ascii=False))
    yield pipe.take()


def file_name(picture: Picture) -> str:
    """A name for people, safe on every system, and different for every picture: `a-red-fox-01abc….png`."""
    plain = unicodedata.normalize("NFKD", picture.prompt[:200]).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower())[:_NAME_CHARS].strip("-")
    suffix = SUFFIXES.get(picture.media_type, "bin")
    return f"{words or 'picture'}-{picture.id.removeprefix('pic_')}.{suffix}"


def _told(picture: Picture) -> dict[str, Any]:
    return {
        "id": picture.id,
        "created_at": picture.created_at.isoformat(),
        "model": picture.model,
        "width": picture.width,
        "height": picture.height,
        "tags": list(picture.tags),
        "favourite": picture.favourite,
        "parameters": picture.parameters,
    }
