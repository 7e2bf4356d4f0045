# SPDX-License-Identifier: Apache-2.0
"""What changes which models there are: DELETE /api/delete; /api/pull of what is here; the rest is refused."""

from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.deleting import Deleting
from inglenook.api.errors import answer, json_response
from inglenook.api.ollama.bodies import flag, model_name, read_object
from inglenook.api.ollama.errors import errors
from inglenook.api.ollama.held import Desk
from inglenook.api.ollama.writing import NDJSON
from inglenook.base.errors import NotFound, NotOffered
from inglenook.door.administrator import administrator
from inglenook.door.caller import caller

_STATUS: Final[dict[str, Any]] = {"type": "object", "properties": {"status": {"type": "string"}}}
_BRING: Final = (
    "put the GGUF file into a model folder (`inglenook config show` names them): it is found there"
)
_REFUSED: Final = {
    "copy": ("A model is not copied here.", "give it an alias in its options"),
    "create": ("Models are not made from Modelfiles here.", _BRING),
    "push": ("Nothing is uploaded from here.", None),
}


def keeping_routes(desk: Desk, *, own_models: Path) -> APIRouter:
    router = APIRouter(tags=["ollama"], dependencies=[Depends(caller)])
    deleting = Deleting(catalog=desk.catalog, runtime=desk.runtime, own_models=own_models)

    @router.post(
        "/api/pull",
        summary="Success for a model that is here; nothing is downloaded (Ollama)",
        responses={200: answer("It is here.", _STATUS), **errors(400, 501)},
    )
    async def pull(request: Request) -> Response:
        body = await read_object(request, desk.max_body_bytes)
        name, stream = model_name(body, "name"), flag(body, "stream", True)
        try:
            await desk.find(name)
        except NotFound as error:
            raise NotOffered(
                f"{error.message}, and models cannot be downloaded yet.",
                code="model.no_download",
                hint=_BRING,
            ) from None
        done = {"status": "success"}
        if not stream:
            return json_response(done)
        body_bytes = b"".join(
            msgspec.json.encode(one) + b"\n" for one in ({"status": "pulling manifest"}, done)
        )
        return Response(body_bytes, media_type=NDJSON, headers={"cache-control": "no-store"})

    @router.delete(
        "/api/delete",
        summary="Delete a model of the data folder for good (Ollama)",
        dependencies=[Depends(administrator)],
        responses={200: {"description": "It is gone."}, **errors(400, 401, 404, 409)},
    )
    async def delete(request: Request) -> Response:
        body = await read_object(request, desk.max_body_bytes)
        await deleting.delete(await desk.find(model_name(body, "name")))
        return Response(headers={"cache-control": "no-store"})

    for name in _REFUSED:
        _refuse(router, name)

    @router.head("/api/blobs/{digest}", include_in_schema=False)
    def blob(digest: str) -> Response:  # noqa: ARG001 - part of the address
        return Response(status_code=404)

    @router.post("/api/blobs/{digest}", include_in_schema=False)
    def keep_blob(digest: str) -> Response:  # noqa: ARG001 - part of the address
        text, hint = _REFUSED["create"]
        raise NotOffered(text, hint=hint, code="ollama.create")

    return router


def _refuse(router: APIRouter, name: str) -> None:
    text, hint = _REFUSED[name]

    @router.post(
        f"/api/{name}", summary=f"Refused: {text[0].lower()}{text[1:-1]} (Ollama)", responses=errors(501)
    )
    def refused() -> Response:
        raise NotOffered(text, hint=hint, code=f"ollama.{name}")
