# SPDX-License-Identifier: Apache-2.0
"""Finished sprites in the gallery: one file that shows them, and beside it what they can be made anew of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from inglenook.base.cancel import StopToken
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId
from inglenook.engines.pixels import MadePicture, WriteOrder
from inglenook.gallery.model import Picture
from inglenook.gallery.service import GalleryService
from inglenook.images import metadata
from inglenook.pixels.model import Recipe
from inglenook.sprites.collaborators import Pixels
from inglenook.store.blobs import BlobStore

PNG: Final = "image/png"
_GIF_ENTRIES: Final = 256


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands in the gallery.

    Attributes:
        frames: blobs of the frames' PNGs. drawings: of the pictures that they were made of.
    """

    picture: Picture
    frames: tuple[BlobId, ...]
    drawings: tuple[BlobId, ...]


@dataclass(frozen=True, slots=True)
class About:
    """Whose a sprite is and how it came about.

    Attributes:
        parameters: that are kept with it, and embedded in its file. sprite: what is told of it besides.
    """

    owner: PersonId
    job: JobId | None
    model: ModelId
    prompt: str
    seed: int
    recipe: Recipe
    parameters: Mapping[str, Any]
    sprite: Mapping[str, Any]


def moving_format(made: Sequence[MadePicture]) -> Literal["gif", "webp"]:
    """In which frames are shown: a GIF where each frame's colours, and a hole, find room in its palette."""
    entries = max(one.proof.colors + any(alpha < 255 for alpha in one.proof.alphas) for one in made)
    return "gif" if entries <= _GIF_ENTRIES else "webp"


async def shown_file(
    pixels: Pixels,
    made: Sequence[MadePicture],
    durations_ms: tuple[int, ...],
    *,
    person: PersonId,
    stop: StopToken,
) -> tuple[bytes, str]:
    """The file that the gallery shows, and its media type: the PNG of a still sprite, an animation of frames.

    Raises as `Pixels.write`.
    """
    if len(made) == 1:
        return made[0].png, PNG
    order = WriteOrder(format=moving_format(made), durations_ms=durations_ms)
    written = await pixels.write([one.png for one in made], order, person=person, stop=stop)
    return written.data, written.media_type


def keep(
    about: About,
    made: Sequence[MadePicture],
    shown: tuple[bytes, str],
    drawings: Sequence[bytes] | None,
    durations_ms: tuple[int, ...],
    *,
    gallery: GalleryService,
    blobs: BlobStore,
) -> Kept:
    """Put a sprite into the gallery. Blocks.

    Args:
        shown: of `shown_file`.
        drawings: what it was made of, PNGs; None for what is made of nothing but itself.

    Raises as `GalleryService.add`.
    """
    frames = tuple(blobs.put(one.png).id for one in made)
    kept = frames if drawings is None else tuple(blobs.put(png).id for png in drawings)
    parameters = {
        **about.parameters,
        "width": made[0].width,
        "height": made[0].height,
        "sprite": {
            **about.sprite,
            "recipe": about.recipe.as_json(),
            "palette": None if made[0].palette is None else [list(color) for color in made[0].palette],
            "proofs": [one.proof.as_json() for one in made],
            "durations_ms": list(durations_ms),
            "frames": list(frames),
            "drawings": list(kept),
        },
    }
    data, media_type = shown
    picture = gallery.add(
        owner=about.owner,
        job=about.job,
        data=metadata.embed(data, media_type, parameters),
        media_type=media_type,
        width=made[0].width,
        height=made[0].height,
        model=about.model,
        prompt=about.prompt,
        seed=about.seed,
        parameters=parameters,
    )
    return Kept(picture, frames, kept)
