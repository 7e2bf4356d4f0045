# SPDX-License-Identifier: Apache-2.0
"""What can be done with pictures that were made: mark, tag, publish, throw away, take back, take along."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from inglenook.api.bodies import json_object, known_only, media_type
from inglenook.api.errors import answer, errors, json_response
from inglenook.api.studio.pages import is_id
from inglenook.api.studio.pictures import PICTURE, as_json, picture_id_of
from inglenook.base.errors import Invalid
from inglenook.base.ids import PersonId, PictureId
from inglenook.door.caller import FromCaller, caller
from inglenook.door.problem import shown
from inglenook.door.services import Gallery
from inglenook.gallery.model import Picture
from inglenook.gallery.service import MAX_AT_ONCE

_IDS = {"type": "object", "properties": {"ids": {"type": "array", "items": {"type": "string"}}}}
_CHANGED = {"type": "object", "properties": {"changed": {"type": "integer"}}}
_TAGS = {"type": "object", "properties": {"data": {"type": "array", "items": {"type": "object"}}}}
_DELETED = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "deleted": {"type": "boolean"},
        "restorable": {"type": "boolean"},
    },
}
_NEEDED = {**_IDS, "required": ["ids"]}
_BODY_OF_IDS = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _NEEDED}},
    }
}


def marks_router(*, gallery: Gallery, public_hours: int) -> APIRouter:
    """Args:
    public_hours: after which a public picture becomes private again where a request does not say.
    """
    router = APIRouter(prefix="/v1/pictures", tags=["pictures"], dependencies=[Depends(caller)])

    @router.get(
        "/tags",
        summary="The caller's tags with the number of pictures",
        responses={200: answer("Those that are used most first.", _TAGS), **errors(400)},
    )
    def tags(who: FromCaller, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> Response:
        found = gallery.tags(who.person, limit=limit)
        data = [{"name": name, "count": count} for name, count in found]
        return json_response({"object": "list", "data": data})

    @router.patch(
        "/{picture_id}",
        summary="Mark a picture: favourite, tags, public",
        responses={200: answer("The record as it is now.", PICTURE), **errors(400, 404)},
    )
    async def change(who: FromCaller, picture_id: str, request: Request) -> Response:
        picture = picture_id_of(picture_id)
        body = await json_object(request)
        known_only(body, ("favourite", "tags", "public", "public_hours"))
        changed = await asyncio.to_thread(_change, gallery, picture, body, who.person, public_hours)
        return json_response(as_json(changed))

    @router.post(
        "/mark",
        summary="Mark many pictures: favourite, tags to add and to take away",
        responses={200: answer("How many there were.", _CHANGED), **errors(400)},
    )
    async def mark(who: FromCaller, request: Request) -> Response:
        body = await json_object(request)
        known_only(body, ("ids", "favourite", "add_tags", "remove_tags"))
        changed = await asyncio.to_thread(_mark, gallery, body, who.person)
        return json_response({"changed": changed})

    @router.post(
        "/trash",
        summary="Throw pictures away; `restore` brings them back",
        openapi_extra=_BODY_OF_IDS,
        responses={200: answer("Those that were thrown away by this.", _IDS), **errors(400)},
    )
    async def trash(who: FromCaller, request: Request) -> Response:
        wanted = ids_of(await json_object(request))
        gone = await asyncio.to_thread(gallery.trash, wanted, caller=who.person)
        return json_response({"ids": list(gone)})

    @router.post(
        "/restore",
        summary="Take pictures out of the trash",
        openapi_extra=_BODY_OF_IDS,
        responses={200: answer("Those that were taken out by this.", _IDS), **errors(400)},
    )
    async def restore(who: FromCaller, request: Request) -> Response:
        wanted = ids_of(await json_object(request))
        back = await asyncio.to_thread(gallery.restore, wanted, caller=who.person)
        return json_response({"ids": list(back)})

    @router.post(
        "/empty-trash",
        summary="Delete for good what the caller has thrown away",
        responses={200: answer("How many pictures.", _CHANGED), **errors()},
    )
    def empty(who: FromCaller) -> Response:
        return json_response({"changed": gallery.empty_trash(caller=who.person)})

    @router.post(
        "/zip",
        summary="Pictures and their parameters as one zip file",
        description="The ids as JSON, or, from a form, as the field `ids`, separated by commas.",
        openapi_extra=_BODY_OF_IDS,
        responses={
            200: {"description": "The zip file.", "content": {"application/zip": {}}},
            **errors(400, 404),
        },
    )
    async def archive(who: FromCaller, request: Request) -> Response:
        wanted = await _ids_sent(request)
        pieces = await asyncio.to_thread(gallery.archive, wanted, caller=who.person)
        headers = {
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="inglenook-{len(wanted)}-pictures.zip"',
        }
        return StreamingResponse(pieces, media_type="application/zip", headers=headers)

    @router.delete(
        "/{picture_id}",
        summary="Throw a picture away, or delete it for good",
        responses={200: answer("It is gone.", _DELETED), **errors(400, 404)},
    )
    def delete(
        who: FromCaller,
        picture_id: str,
        forever: Annotated[bool, Query(description="delete record and file, now")] = False,
    ) -> Response:
        picture = picture_id_of(picture_id)
        if forever:
            gallery.delete(picture, caller=who.person)
        else:
            gallery.get(picture, caller=who.person)
            gallery.trash([picture], caller=who.person)
        return json_response({"id": picture_id, "deleted": True, "restorable": not forever})

    return router


def _change(
    gallery: Gallery, picture: PictureId, body: dict[str, Any], person: PersonId, public_hours: int
) -> Picture:
    """Everything is checked before anything is changed."""
    favourite, public = (_truth(body, name) for name in ("favourite", "public"))
    tags = None if body.get("tags") is None else texts(body["tags"], "tags")
    hours = body.get("public_hours", public_hours if public else None)
    if hours is not None and (not isinstance(hours, int) or isinstance(hours, bool)):
        raise Invalid(f"public_hours must be a whole number; got {shown(hours)}.", field="public_hours")
    if public is None and "public_hours" in body:
        raise Invalid("public_hours needs `public` beside it.", field="public_hours")
    gallery.get(picture, caller=person)
    if tags is not None:
        gallery.tag(picture, tags, caller=person)
    if public is not None:
        gallery.publish(picture, public, caller=person, hours=hours)
    if favourite is not None:
        gallery.favour([picture], favourite, caller=person)
    return gallery.get(picture, caller=person)


def _mark(gallery: Gallery, body: dict[str, Any], person: PersonId) -> int:
    wanted = ids_of(body)
    favourite = _truth(body, "favourite")
    added, removed = (texts(body.get(name) or [], name) for name in ("add_tags", "remove_tags"))
    changed = 0
    if added or removed:
        changed = gallery.retag(wanted, add=added, remove=removed, caller=person)
    if favourite is not None:
        changed = gallery.favour(wanted, favourite, caller=person)
    return changed


def _truth(body: dict[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise Invalid(f"{name} must be true or false; got {shown(value)}.", field=name)


def texts(value: Any, field: str) -> list[str]:
    """Raises Invalid: it is no list of texts."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise Invalid(f"{field} must be a list of texts; got {shown(value)}.", field=field)


def ids_of(body: dict[str, Any]) -> list[PictureId]:
    """The field `ids`. What cannot be an id is refused: somebody has made a mistake."""
    return _checked(texts(body.get("ids"), "ids"))


async def _ids_sent(request: Request) -> list[PictureId]:
    if media_type(request) != "application/x-www-form-urlencoded":
        return ids_of(await json_object(request))
    async with request.form(max_files=0, max_fields=4) as form:
        return _checked([one for one in str(form.get("ids", "")).split(",") if one])


def _checked(found: Sequence[str]) -> list[PictureId]:
    if len(found) > MAX_AT_ONCE:
        raise Invalid(f"{len(found)} ids are too many; {MAX_AT_ONCE} can be at once.", field="ids")
    for one in found:
        if not is_id("pic", one):
            raise Invalid(f"{shown(one)} is not the id of a picture.", field="ids")
    return [PictureId(one) for one in found]
