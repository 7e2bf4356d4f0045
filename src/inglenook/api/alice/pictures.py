# SPDX-License-Identifier: Apache-2.0
"""GET /images/{name}: a picture by its signed address, for whoever has that address."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import errors
from inglenook.api.files import picture_file
from inglenook.door.services import Gallery, Links
from inglenook.gallery.model import Picture

_SHOWN = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""Anything else is a download: a browser must not run what a file pretends to be."""
_DESCRIPTION: dict[str, Any] = {
    "summary": "A picture by its signed address; no key, no cookie",
    "responses": {
        200: {"description": "The file.", "content": {kind: {} for kind in _SHOWN}},
        206: {"description": "A range of it."},
        304: {"description": "Not changed: a picture never changes."},
        416: {"description": "No such range."},
        **errors(400, 404),
    },
}


def images_router(*, gallery: Gallery, links: Links) -> APIRouter:
    """The gallery blocks, and so does this route: it runs in the framework's threads."""
    router = APIRouter(tags=["pictures"])

    @router.head("/images/{name}", include_in_schema=False)
    @router.get("/images/{name}", **_DESCRIPTION)
    def image(name: str, request: Request) -> Response:
        picture = gallery.linked(links.picture(name))
        headers = _headers(picture)
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        kept, media_type = gallery.file(picture.id, caller=picture.owner)
        return picture_file(
            picture, kept, media_type if media_type in _SHOWN else "application/octet-stream", headers
        )

    return router


def _headers(picture: Picture) -> dict[str, str]:
    how = "inline" if picture.media_type in _SHOWN else "attachment"
    return {
        "etag": f'"{picture.blob}"',
        # The address may end, so it is asked again; the file itself never changes.
        "cache-control": "private, max-age=3600",
        "content-disposition": how,
        "content-security-policy": "default-src 'none'; sandbox",
        # Whoever has the address may show the picture, also in another program's page.
        "cross-origin-resource-policy": "cross-origin",
    }
