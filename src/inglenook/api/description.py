# SPDX-License-Identifier: Apache-2.0
"""/openapi.json: the description of every JSON route, for callers only. Made at the first request."""

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import json_response
from inglenook.door.caller import caller


def description_router() -> APIRouter:
    """Give the application `openapi_url=None`, so that the framework's open route does not exist."""
    router = APIRouter(dependencies=[Depends(caller)])

    @router.get("/openapi.json", include_in_schema=False)
    def openapi(request: Request) -> Response:
        return json_response(request.app.openapi())

    return router
