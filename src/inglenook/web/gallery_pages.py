# SPDX-License-Identifier: Apache-2.0
"""The gallery: one page for everything that was made, whose address says what is shown.

What is done with pictures goes through our own API, which the page's scripts call; without scripts a person
can look, search, page and open, and do the rest on a picture's own page.
"""

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.ids import PersonId, PictureId
from inglenook.door.caller import FromCaller
from inglenook.door.filters import Wanted
from inglenook.gallery.model import Picture
from inglenook.web import csrf
from inglenook.web.services import Services
from inglenook.web.shelf import WORDS, Query, details_of, shot_of, suggestions
from inglenook.web.templating import html

SHOTS = 60
MOST_TAGS = 24


def gallery_pages(services: Services) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/gallery")
    async def gallery(request: Request, caller: FromCaller) -> Response:
        query, wanted = Query.of(request.query_params), Wanted.of_form(request.query_params)
        last = request.query_params.get("last") or None
        context = await asyncio.to_thread(_page, services, caller.person, query, wanted, last)
        token = csrf.token_for(request)
        answer = html("gallery.html", {**context, "csrf": token})
        csrf.keep(answer, token, secure=request.url.scheme == "https")
        return answer

    @router.get("/gallery/view/{picture}")
    async def view(picture: str, caller: FromCaller) -> Response:
        found = await asyncio.to_thread(
            services.gallery.get, PictureId(picture), caller=caller.person, trashed=True
        )
        return html("fragments/details.html", {"it": details_of(found)})

    return router


def _page(
    services: Services, person: PersonId, query: Query, wanted: Wanted, last: str | None
) -> dict[str, Any]:
    """Blocks. `last`: the last picture of the page before."""
    gallery = services.gallery
    anchor = None if last is None else PictureId(last)
    found = gallery.list(
        person,
        limit=SHOTS + 1,
        before=None if wanted.oldest_first else anchor,
        after=anchor if wanted.oldest_first else None,
        filter=wanted.filter(),
        oldest_first=wanted.oldest_first,
    )
    shown = found[:SHOTS]
    tags = gallery.tags(person)
    return {
        "query": query,
        "shots": [shot_of(picture) for picture in shown],
        "more": _more(found, shown, query),
        "continued": last is not None,
        "tags": suggestions(tags, query, most=MOST_TAGS),
        "all_tags": [name for name, _ in tags],
        "models": gallery.models(person),
        "in_trash": gallery.count(person, trashed=True),
        "words": WORDS,
    }


def _more(found: list[Picture], shown: list[Picture], query: Query) -> str | None:
    """Address of the page after this one; None at the end."""
    return query.address(last=shown[-1].id) if len(found) > len(shown) else None
