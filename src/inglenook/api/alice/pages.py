# SPDX-License-Identifier: Apache-2.0
"""The addresses of ALICE's pages lead to ours."""

from collections.abc import Mapping
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from starlette.responses import RedirectResponse, Response

from inglenook.base.errors import NotFound
from inglenook.catalog.service import ALICE_PREFIX
from inglenook.door.caller import caller
from inglenook.door.problem import shown

PLACES: Mapping[str, str] = {
    "": "/",
    "index.html": "/",
    "generate.html": "/",
    "gallery.html": "/gallery",
    "models.html": "/models",
    "download.html": "/models",
    "admin.html": "/settings",
    "login.html": "/login",
    "style.css": "/static/inglenook.css",
    "app.js": "/static/live.js",
}
"""Of ALICE's pages those that have something of ours to lead to."""


def pages_router() -> APIRouter:
    router = APIRouter(include_in_schema=False, dependencies=[Depends(caller)])

    @router.get("/web")
    @router.get("/web/{name:path}")
    def page(name: str = "", model: str = "") -> Response:
        place = PLACES.get(name)
        if place is None:
            raise NotFound(f"There is no page {shown(name)} here.", code="page.not_found", hint="see /")
        if name == "generate.html" and model:  # ALICE's list of models leads there so
            place = f"/?{urlencode({'model': model.removeprefix(ALICE_PREFIX)})}"
        return RedirectResponse(place, status_code=307, headers={"cache-control": "no-store"})

    return router
