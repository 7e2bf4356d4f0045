# SPDX-License-Identifier: Apache-2.0
"""GET /v1/pictures: what was made, as records and as files."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from inglenook.api.errors import answer, errors, json_response
from inglenook.api.files import picture_file
from inglenook.api.studio.pages import MAX_PAGE, is_id, page
from inglenook.base.errors import NotFound
from inglenook.base.ids import PictureId
from inglenook.door.caller import FromCaller, caller
from inglenook.door.filters import Wanted
from inglenook.door.problem import shown
from inglenook.door.services import Gallery, Thumbnails
from inglenook.gallery.archive import SUFFIXES, file_name
from inglenook.gallery.model import UNKNOWN_SEED, Picture

PICTURE: dict[str, Any] = {
    "type": "object",
    "required": [
        "id",
        "url",
        "width",
        "height",
        "media_type",
        "size_bytes",
        "model",
        "prompt",
        "seed",
        "tags",
    ],
    "properties": {
        "id": {"type": "string"},
        "job": {"type": ["string", "null"]},
        "url": {"type": "string"},
        "thumbnail_url": {"type": "string"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "media_type": {"type": "string"},
        "size_bytes": {"type": "integer"},
        "model": {"type": "string"},
        "prompt": {"type": "string"},
        "seed": {"type": ["integer", "null"]},
        "parameters": {"type": "object"},
        "created_at": {"type": "string", "format": "date-time"},
        "source": {"type": "string", "enum": ["made", "imported"]},
        "favourite": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "deleted_at": {"type": ["string", "null"]},
        "is_public": {"type": "boolean"},
        "public_until": {"type": ["string", "null"]},
    },
}
_PICTURES = {
    "type": "object",
    "properties": {"data": {"type": "array", "items": PICTURE}, "has_more": {"type": "boolean"}},
}
_OPAQUE = "application/octet-stream"
_FOREVER = "private, max-age=31536000, immutable"
Trashed = Annotated[bool, Query(description="also one that lies in the trash")]


def pictures_router(*, gallery: Gallery, thumbnails: Thumbnails) -> APIRouter:
    """The gallery blocks, and so do these routes: they run in the framework's threads."""
    router = APIRouter(prefix="/v1/pictures", tags=["pictures"], dependencies=[Depends(caller)])

    @router.get(
        "",
        summary="The caller's pictures that fit, newest first",
        responses={200: answer("A page.", _PICTURES), **errors(400, 404)},
    )
    def listing(
        who: FromCaller,
        wanted: Annotated[Wanted, Depends()],
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        before: Annotated[str | None, Query(description="only those made before this picture")] = None,
        after: Annotated[str | None, Query(description="only those made after this picture")] = None,
    ) -> Response:
        found = gallery.list(
            who.person,
            limit=limit + 1,
            before=None if before is None else picture_id_of(before),
            after=None if after is None else picture_id_of(after),
            filter=wanted.filter(),
            oldest_first=wanted.oldest_first,
        )
        return json_response(page([as_json(picture) for picture in found], limit))

    @router.get(
        "/{picture_id}",
        summary="One picture's record",
        responses={200: answer("The record.", PICTURE), **errors(400, 404)},
    )
    def one(who: FromCaller, picture_id: str, trashed: Trashed = False) -> Response:
        found = gallery.get(picture_id_of(picture_id), caller=who.person, trashed=trashed)
        return json_response(as_json(found))

    @router.head("/{picture_id}/file", include_in_schema=False)
    @router.get(
        "/{picture_id}/file",
        summary="The picture",
        responses={
            200: {"description": "The file.", "content": {kind: {} for kind in SUFFIXES}},
            206: {"description": "A range of it."},
            304: {"description": "Not changed: a picture never changes."},
            416: {"description": "No such range."},
            **errors(400, 404),
        },
    )
    def file(who: FromCaller, picture_id: str, request: Request, trashed: Trashed = False) -> Response:
        picture = gallery.get(picture_id_of(picture_id), caller=who.person, trashed=trashed)
        headers = _file_headers(picture)
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        kept, media_type = gallery.file(picture.id, caller=who.person, trashed=trashed)
        return picture_file(picture, kept, media_type if media_type in SUFFIXES else _OPAQUE, headers)

    @router.get(
        "/{picture_id}/thumbnail",
        summary="The picture, small, as WebP",
        responses={
            200: {"description": "The file.", "content": {"image/webp": {}}},
            304: {"description": "Not changed."},
            **errors(400, 404, 413),
        },
    )
    def thumbnail(who: FromCaller, picture_id: str, request: Request, trashed: Trashed = False) -> Response:
        picture = gallery.get(picture_id_of(picture_id), caller=who.person, trashed=trashed)
        headers = {"etag": f'"{picture.blob}-small"', "cache-control": _FOREVER} | _SANDBOX
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return FileResponse(thumbnails.path(picture), media_type="image/webp", headers=headers)

    return router


def as_json(picture: Picture) -> dict[str, Any]:
    said = asdict(picture)
    del said["blob"]
    for name in ("created_at", "deleted_at", "public_until"):
        said[name] = None if said[name] is None else said[name].isoformat()
    if picture.seed == UNKNOWN_SEED:
        said["seed"] = None
    address = f"/v1/pictures/{picture.id}"
    return {**said, "url": f"{address}/file", "thumbnail_url": f"{address}/thumbnail"}


_SANDBOX = {"content-security-policy": "default-src 'none'; sandbox"}


def _file_headers(picture: Picture) -> dict[str, str]:
    how = "inline" if picture.media_type in SUFFIXES else "attachment"
    return {
        "etag": f'"{picture.blob}"',
        "cache-control": _FOREVER,
        "content-disposition": f'{how}; filename="{file_name(picture)}"',
        **_SANDBOX,
    }


def picture_id_of(text: str) -> PictureId:
    """Raises NotFound for what cannot be the id of a picture."""
    if not is_id("pic", text):
        raise NotFound(f"There is no picture {shown(text)}.", code="picture.not_found")
    return PictureId(text)
