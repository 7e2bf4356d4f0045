# SPDX-License-Identifier: Apache-2.0
"""Sprites whose subject the matting model tells: by the server that runs, else by a workshop of our own."""

import base64
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inglenook.cli.image import set_log
from inglenook.cli.screen import Progress

if TYPE_CHECKING:
    from inglenook.engines.pixels import MadePicture
    from inglenook.pixels.model import Recipe
    from inglenook.settings import Loaded


async def cut_out(loaded: "Loaded", frames: Sequence[bytes], recipe: "Recipe") -> list["MadePicture"]:
    """A sprite of each of `frames`; several are one animation. Where the library has no matting model the
    plain border tells the background, and the notes say so.

    Raises what `SpritesService.convert` raises; `field` is `frames.N` where it is about one.
    """
    from inglenook.cli.client import ServerClient, find_server

    address = find_server(loaded.settings.server.data)
    if address is not None:
        async with ServerClient(address) as client:
            answer = await client.convert(frames, recipe.as_json())
        return [_made(one) for one in answer.get("frames", [answer])]
    return await _here(loaded, frames, recipe)


async def _here(loaded: "Loaded", frames: Sequence[bytes], recipe: "Recipe") -> list["MadePicture"]:
    from inglenook.app import open_workshop
    from inglenook.base.cancel import StopToken
    from inglenook.base.ids import OWNER

    with Progress(sys.stderr) as progress:
        progress.message("no server is running; cutting the subject out here")
        set_log(loaded)
        async with open_workshop(loaded) as workshop:
            return list(
                await workshop.sprites.convert(
                    frames, recipe, person=OWNER, stop=StopToken(), whole_animation=len(frames) > 1
                )
            )


def _made(answer: Mapping[str, Any]) -> "MadePicture":
    """A sprite out of the JSON of POST /v1/pixel/convert."""
    from inglenook.engines.pixels import MadePicture
    from inglenook.pixels.model import Grid, Proof

    proof = dict(answer["proof"])
    counts = proof["counts"]
    proof |= {"alphas": tuple(proof["alphas"]), "counts": None if counts is None else tuple(counts)}
    return MadePicture(
        png=base64.b64decode(answer["png"]),
        width=answer["width"],
        height=answer["height"],
        palette=None if answer["palette"] is None else tuple(_rgb(one) for one in answer["palette"]),
        proof=Proof(**proof),
        grid=None if answer["grid"] is None else Grid(**answer["grid"]),
        offset=(answer["offset"][0], answer["offset"][1]),
        pivot=(answer["pivot"][0], answer["pivot"][1]),
        notes=tuple(answer["notes"]),
    )


def _rgb(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue
