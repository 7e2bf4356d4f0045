# SPDX-License-Identifier: Apache-2.0
"""ALICE's `/v1/gallery`: lists by offset, privacy, tags, numbers, over the one gallery that there is.

What is done otherwise, on purpose: `search` finds words and beginnings of words, not any run of letters; a
public picture whose time is over becomes private again and is never deleted; a deleted one can be restored.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import json_object
from inglenook.api.errors import answer, errors, json_response
from inglenook.base.clock import Clock
from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import PictureId
from inglenook.door.caller import FromCaller, caller
from inglenook.door.problem import shown
from inglenook.door.services import Gallery
from inglenook.gallery.archive import SUFFIXES
from inglenook.gallery.model import MAX_TAG_CHARS, MAX_TAGS, UNKNOWN_SEED, Filter, Picture, tags_of

MAX_OFFSET = 10**9
MAX_HOURS = 168
"""ALICE's own limit for how long a picture can be public."""
_OBJECT: dict[str, Any] = {"type": "object"}
Address = Callable[[Request, Picture], str]


def plain_address(request: Request, picture: Picture) -> str:
    """Where the caller finds the file, without a signature."""
    return f"{str(request.base_url).rstrip('/')}/v1/pictures/{picture.id}/file"


def gallery_router(
    *,
    gallery: Gallery,
    clock: Clock,
    page_size: int,
    public_hours: int,
    address: Address = plain_address,
) -> APIRouter:
    """Args:
    page_size: what `/v1/gallery/config` tells.
    public_hours: how long a picture is public where a request does not say.
    address: where a picture's file is found.
    """
    router = APIRouter(prefix="/v1/gallery", tags=["alice"], dependencies=[Depends(caller)])

    @router.get("", summary="Pictures by offset", responses={200: answer("A page.", _OBJECT), **errors(400)})
    def listing(
        who: FromCaller,
        request: Request,
        limit: Annotated[int, Query(ge=0, le=MAX_OFFSET, description="0 for all")] = 100,
        offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
        include_public: bool = True,
        include_private: bool = True,
        tags: Annotated[str, Query(max_length=2000, description="separated by commas; all of them")] = "",
        search: Annotated[str, Query(max_length=1000)] = "",
    ) -> Response:
        public = None if include_public and include_private else include_public
        found: Sequence[Picture] = ()
        total = 0
        if include_public or include_private:
            wanted = Filter(search=search, tags=tags_of(tags.split(",")), public=public)
            found, total = gallery.slice(who.person, offset=offset, limit=limit or None, filter=wanted)
        now = clock.now()
        data = [item(one, address(request, one), is_public=one.public_at(now)) for one in found]
        said = {"object": "list", "data": data, "total": total, "limit": limit, "offset": offset}
        return json_response(said)

    @router.get(
        "/tags",
        summary="The caller's tags with the number of pictures",
        responses={200: answer("The most used first.", _OBJECT), **errors()},
    )
    def tags(who: FromCaller) -> Response:
        found = [{"name": name, "count": count} for name, count in gallery.tags(who.person)]
        return json_response({"tags": found, "total": len(found)})

    @router.get("/stats", summary="How many", responses={200: answer("Numbers.", _OBJECT), **errors()})
    def stats(who: FromCaller) -> Response:
        counts = dict(gallery.counts(who.person))
        return json_response({**counts, "private": counts["total"] - counts["public"]})

    @router.get(
        "/config", summary="Pictures on a page", responses={200: answer("The setting.", _OBJECT), **errors()}
    )
    async def config() -> Response:
        return json_response({"page_size": page_size, "pageSize": page_size})

    @router.post(
        "/cleanup",
        summary="Make private what was public for long enough; nothing is deleted",
        responses={200: answer("How many pictures.", _OBJECT), **errors()},
    )
    def cleanup(who: FromCaller) -> Response:
        return json_response({"success": True, "cleaned": gallery.cleanup(caller=who.person)})

    @router.patch(
        "/{picture_id}/privacy",
        summary="Public or private",
        responses={200: answer("As it is now.", _OBJECT), **errors(400, 404)},
    )
    async def privacy(who: FromCaller, picture_id: str, request: Request) -> Response:
        body = await json_object(request)
        public, hours = _public(body), _hours(body)
        if public and hours is None:
            hours = min(public_hours, 8760)
        changed = await asyncio.to_thread(
            gallery.publish,
            _picture_id(picture_id),
            public,
            caller=who.person,
            hours=hours if public else None,
        )
        until = None if changed.public_until is None else changed.public_until.isoformat()
        said = {"is_public": changed.is_public, "isPublic": changed.is_public}
        return json_response({"success": True, **said, "expires_at": until, "expiresAt": until})

    @router.patch(
        "/{picture_id}/tags",
        summary="Tags in place of those it has",
        responses={200: answer("As it is now.", _OBJECT), **errors(400, 404)},
    )
    async def retag(who: FromCaller, picture_id: str, request: Request) -> Response:
        sent = (await json_object(request)).get("tags")
        if not isinstance(sent, list) or not all(isinstance(one, str) for one in sent):
            raise Invalid(f"tags must be a list of texts; got {shown(sent)}.", field="tags")
        # As ALICE has it: what is too long is cut, and what is too much is left out.
        fresh = list(dict.fromkeys(" ".join(one.lower().split())[:MAX_TAG_CHARS].strip() for one in sent))
        changed = await asyncio.to_thread(
            gallery.tag,
            _picture_id(picture_id),
            [tag for tag in fresh if tag][:MAX_TAGS],
            caller=who.person,
        )
        return json_response({"success": True, "tags": list(changed.tags)})

    @router.delete(
        "/{picture_id}",
        summary="Throw a picture away; it can be restored for a while",
        responses={200: answer("It is gone.", _OBJECT), **errors(404)},
    )
    def delete(who: FromCaller, picture_id: str) -> Response:
        found = gallery.get(_picture_id(picture_id), caller=who.person)
        gallery.trash([found.id], caller=who.person)
        return json_response({"success": True})

    return router


def item(picture: Picture, url: str, *, is_public: bool) -> dict[str, Any]:
    """A picture as ALICE's clients read it."""
    known = picture.parameters
    loras = known.get("loras") or []
    until = picture.public_until if is_public else None
    return {
        "id": picture.id,
        "filename": f"{picture.id}.{SUFFIXES.get(picture.media_type, 'bin')}",
        "url": url,
        "thumbnailUrl": f"/v1/pictures/{picture.id}/thumbnail",
        "isPublic": is_public,
        "createdAt": picture.created_at.astimezone(UTC).isoformat(),
        "expiresAt": None if until is None else until.isoformat(),
        "isOwner": True,
        "prompt": picture.prompt,
        "negativePrompt": picture.negative_prompt,
        "model": f"sd/{picture.model}" if picture.model else "",
        "steps": known.get("steps"),
        "guidanceScale": known.get("guidance_scale"),
        "width": picture.width,
        "height": picture.height,
        "seed": None if picture.seed == UNKNOWN_SEED else picture.seed,
        "scheduler": known.get("scheduler"),
        "generationTime": known.get("seconds"),
        "loras": [str(one.get("model", "")) for one in loras],
        "loraScales": [one.get("weight", 1.0) for one in loras],
        "tags": list(picture.tags),
    }


def _picture_id(text: str) -> PictureId:
    """ALICE's ids are the names of files without their suffix; both are taken."""
    name = text.partition(".")[0]
    if not name.startswith("pic_") or not name.replace("_", "").isalnum() or len(name) > 40:
        raise NotFound(f"There is no picture {shown(text)}.", code="picture.not_found")
    return PictureId(name)


def _public(body: dict[str, Any]) -> bool:
    value = body.get("is_public", body.get("isPublic"))
    if not isinstance(value, bool):
        raise Invalid(f"is_public must be true or false; got {shown(value)}.", field="is_public")
    return value


def _hours(body: dict[str, Any]) -> int | None:
    value = body.get("expires_in_hours", body.get("expiresInHours"))
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_HOURS:
        raise Invalid(
            f"expires_in_hours must be 1 to {MAX_HOURS}; got {shown(value)}.", field="expires_in_hours"
        )
    return value
