# SPDX-License-Identifier: Apache-2.0
"""GET /v1/outgoing: every connection that this server has opened to another machine."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from inglenook.api.errors import answer, errors, json_response
from inglenook.api.studio.pages import MAX_PAGE
from inglenook.door.caller import caller
from inglenook.door.services import Outgoing

_LEDGER: dict[str, Any] = {
    "type": "object",
    "required": ["object", "offline", "data", "has_more", "last_number"],
    "properties": {
        "object": {"type": "string"},
        "offline": {"type": "boolean"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "number": {"type": "integer"},
                    "at": {"type": "string", "format": "date-time"},
                    "host": {"type": "string"},
                    "port": {"type": "integer"},
                    "address": {"type": "string"},
                    "purpose": {"type": "string"},
                    "status": {"type": ["integer", "null"]},
                    "received_bytes": {"type": "integer"},
                    "problem": {"type": ["string", "null"]},
                },
            },
        },
        "has_more": {"type": "boolean"},
        "last_number": {"type": ["integer", "null"]},
    },
}


def outgoing_router(*, outgoing: Outgoing) -> APIRouter:
    router = APIRouter(tags=["outgoing"], dependencies=[Depends(caller)])

    @router.get(
        "/v1/outgoing",
        summary="Connections that the server has opened to other machines, newest first",
        responses={200: answer("A page.", _LEDGER), **errors(400)},
    )
    def ledger(
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        before: Annotated[int | None, Query(ge=1, description="last_number of the page before")] = None,
    ) -> Response:
        found = outgoing.ledger(limit=limit + 1, before=before)
        data = [{**asdict(entry), "at": entry.at.isoformat()} for entry in found[:limit]]
        return json_response(
            {
                "object": "list",
                "offline": outgoing.offline,
                "data": data,
                "has_more": len(found) > limit,
                "last_number": data[-1]["number"] if data else None,
            }
        )

    return router
