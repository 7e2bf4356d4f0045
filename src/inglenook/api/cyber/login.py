# SPDX-License-Identifier: Apache-2.0
"""POST /admin/login: the administrator's password for a token, and for a session of the browser."""

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.cyber.shapes import OBJECT, errors, required_object
from inglenook.api.errors import answer, json_response
from inglenook.base.errors import Invalid
from inglenook.door.administrator import LIFETIME_S, administration_of, keep_session
from inglenook.door.caller import caller


def login_routes() -> APIRouter:
    router = APIRouter(tags=["cyber-inference"], dependencies=[Depends(caller)])

    @router.post(
        "/admin/login",
        summary="The administrator's password for a token of 24 hours (Cyber-Inference)",
        responses={200: answer("Also as the cookie of a session.", OBJECT), **errors(400, 429)},
    )
    async def login(request: Request) -> Response:
        password = (await required_object(request)).get("password")
        if not isinstance(password, str):
            raise Invalid(f"password must be a text; got {type(password).__name__}.", field="password")
        administration = administration_of(request)
        if administration is None:
            raise Invalid("No administrator's password is set.", code="admin.no_password")
        token = administration.log_in(password)
        reply = json_response({"access_token": token, "token_type": "bearer", "expires_in": LIFETIME_S})
        keep_session(reply, administration.open_session(), secure=request.url.scheme == "https")
        return reply

    return router
