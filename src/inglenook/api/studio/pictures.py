# SPDX-License-Identifier: Apache-2.0
"""GET /v1/pictures: what was made, as records and as files."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from inglenook.api.errors import answer, errors, json_response
from inglenook.api.studio.pages import MAX_PAGE, is_id, page
from inglenook.base.errors import NotFound
from inglenook.base.ids import PictureId
from inglenook.door.caller import FromCaller, caller
from inglenook.door.problem import shown
from inglenook.door.services import Gallery
from inglenook.gallery.model import Picture

_SUFFIX = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
"""What is shown in place. Anything else is a download: a browser must not run what a file pretends to be."""

_PICTURE: dict[str, Any] = {
    "type": "object",
    "required": ["id", "url", "width", "height", "media_type", "size_bytes", "model", "prompt", "seed"],
    "properties": {
        "id": {"type": "string"},
        "job": {"type": ["string", "null"]},
        "url": {"type": "string"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "media_type": {"type": "string"},
        "size_bytes": {"type": "integer"},
        "model": {"type": "string"},
        "prompt": {"type": "string"},
        "seed": {"type": "integer"},
        "parameters": {"type": "object"},
        "created_at": {"type": "string", "format": "date-time"},
    },
}
_PICTURES = {
    "type": "object",
    "properties": {"data": {"type": "array", "items": _PICTURE}, "has_more": {"type": "boolean"}},
}
_DELETED = {"type": "object", "properties": {"id": {"type": "string"}, "deleted": {"type": "boolean"}}}


def pictures_router(*, gallery: Gallery) -> APIRouter:
    """The gallery blocks, and so do these routes: they run in the framework's threads."""
    router = APIRouter(prefix="/v1/pictures", tags=["pictures"], dependencies=[Depends(caller)])

    @router.get(
        "",
        summary="The caller's pictures, newest first",
        responses={200: answer("A page.", _PICTURES), **errors(400, 404)},
    )
    def listing(
        who: FromCaller,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        before: Annotated[str | None, Query(description="id of the last picture of the page before")] = None,
    ) -> Response:
        start = None if before is None else _picture_id(before)
        found = gallery.list(who.person, limit=limit + 1, before=start)
        return json_response(page([as_json(picture) for picture in found], limit))

    @router.get(
        "/{picture_id}",
        summary="One picture's record",
        responses={200: answer("The record.", _PICTURE), **errors(400, 404)},
    )
    def one(who: FromCaller, picture_id: str) -> Response:
        return json_response(as_json(gallery.get(_picture_id(picture_id), caller=who.person)))

    @router.head("/{picture_id}/file", include_in_schema=False)
    @router.get(
        "/{picture_id}/file",
        summary="The picture",
        responses={
            200: {"description": "The file.", "content": {kind: {} for kind in _SUFFIX}},
            206: {"description": "A range of it."},
            304: {"description": "Not changed: a picture never changes."},
            416: {"description": "No such range."},
            **errors(400, 404),
        },
    )
    def file(who: FromCaller, picture_id: str, request: Request) -> Response:
        picture = gallery.get(_picture_id(picture_id), caller=who.person)
        headers = _file_headers(picture)
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        kept, media_type = gallery.file(picture.id, caller=who.person)
        return _file_response(picture, kept, media_type if media_type in _SUFFIX else _OPAQUE, headers)

    @router.delete(
        "/{picture_id}",
        summary="Forget a picture and its file",
        responses={200: answer("It is gone.", _DELETED), **errors(400, 404)},
    )
    def delete(who: FromCaller, picture_id: str) -> Response:
        gallery.delete(_picture_id(picture_id), caller=who.person)
        return json_response({"id": picture_id, "deleted": True})

    return router


_OPAQUE = "application/octet-stream"


def as_json(picture: Picture) -> dict[str, Any]:
    said = asdict(picture)
    del said["blob"]
    return {**said, "created_at": picture.created_at.isoformat(), "url": f"/v1/pictures/{picture.id}/file"}


def _file_headers(picture: Picture) -> dict[str, str]:
    how = "inline" if picture.media_type in _SUFFIX else "attachment"
    name = f"inglenook-{picture.id}.{_SUFFIX.get(picture.media_type, 'bin')}"
    return {
        "etag": f'"{picture.blob}"',
        "cache-control": "private, max-age=31536000, immutable",
        "content-disposition": f'{how}; filename="{name}"',
        "content-security-policy": "default-src 'none'; sandbox",
    }


def _file_response(
    picture: Picture, kept: Path | bytes, media_type: str, headers: dict[str, str]
) -> Response:
    if isinstance(kept, bytes):
        return Response(kept, media_type=media_type, headers=headers)
    try:
        stat = kept.stat()
    except FileNotFoundError:
        raise NotFound(f"The file of the picture {picture.id} is gone.", code="blob.not_found") from None
    return FileResponse(kept, media_type=media_type, headers=headers, stat_result=stat)


def _picture_id(text: str) -> PictureId:
    """Raises NotFound for what cannot be the id of a picture."""
    if not is_id("pic", text):
        raise NotFound(f"There is no picture {shown(text)}.", code="picture.not_found")
    return PictureId(text)
