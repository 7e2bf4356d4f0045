# SPDX-License-Identifier: Apache-2.0
"""PixelAI's dialect: /pixel/…, and the socket of the Aseprite extension. What is wrong there is right here.

codes.py       our errors → its codes, from causes
shapes.py      errors as its client reads them
reading.py     values out of a client's JSON
asked.py       what is asked to be generated, with its defaults
milestones.py  a job's events → 0 to 100
tracks.py      generations by id, while they run and for a while after
chosen.py      what a person has chosen with /load_model and /set_engine
desk.py        look up, submit, follow, answer
rgba.py        raw pixels ↔ PNG
answers.py     what came of it, as JSON
generation.py  generate, progress, cancel, result
machine.py     health, models, loras, engines, load_model, set_engine
keys.py        the key that a client shows
uploads.py     pictures that a socket has sent
hall.py        what a dialog is offered
sockets.py     /pixel/ws
root.py        the same at the root of a port of its own
"""

from typing import Final

from fastapi import APIRouter

from inglenook.api.pixelai.chosen import Choices
from inglenook.api.pixelai.desk import Desk
from inglenook.api.pixelai.generation import generation_routes
from inglenook.api.pixelai.hall import Hall
from inglenook.api.pixelai.machine import machine_routes
from inglenook.api.pixelai.shapes import render_pixelai
from inglenook.api.pixelai.sockets import HELLO_WITHIN_S, socket_routes
from inglenook.door.routes import add_routes
from inglenook.door.services import Catalog, Runtime, SpriteMaking

__all__ = ["PREFIX", "Choices", "Desk", "pixelai_router", "render_pixelai"]

PREFIX: Final = "/pixel"


def pixelai_router(
    *,
    desk: Desk,
    sprites: SpriteMaking,
    catalog: Catalog,
    runtime: Runtime,
    max_body_bytes: int,
    version: str,
    hello_within_s: float = HELLO_WITHIN_S,
) -> APIRouter:
    """All routes of the dialect.

    Args:
        max_body_bytes: of a request, which may hold input pictures.
        hello_within_s: a socket that has not said who it is by then is closed.
    """
    hall = Hall(desk=desk, sprites=sprites, catalog=catalog, runtime=runtime, version=version)
    router = APIRouter()
    add_routes(
        router,
        generation_routes(desk, sprites=sprites, max_body_bytes=max_body_bytes),
        machine_routes(desk, sprites=sprites, catalog=catalog, runtime=runtime, version=version),
        socket_routes(desk, sprites=sprites, hall=hall, hello_within_s=hello_within_s),
    )
    return router
