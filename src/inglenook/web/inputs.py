# SPDX-License-Identifier: Apache-2.0
"""Pictures that a person gives the form before it is sent: kept at once, shown, and named by their blobs."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.errors import InglenookError
from inglenook.base.ids import BlobId
from inglenook.door.caller import FromCaller
from inglenook.door.problem import problem_of
from inglenook.web import csrf
from inglenook.web.asking import input_view
from inglenook.web.form import problems_of
from inglenook.web.sending import read_form
from inglenook.web.services import Services
from inglenook.web.templating import html


def input_routes(services: Services) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.post("/inputs")
    async def keep(request: Request, caller: FromCaller) -> Response:  # noqa: ARG001 - closed like every route
        """Keep `image` files (a row of the form for each) or a `mask` (its hidden field)."""
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        try:
            inputs = [await services.images.keep_input(data) for data in sent.files["image"]]
            masks = [await services.images.keep_mask(data) for data in sent.files["mask"]]
        except InglenookError as error:
            problem = problem_of(error)
            context = {"problem": next(iter(problems_of(error).by_field.values()))}
            return html("fragments/input_refused.html", context, status=problem.status)
        if masks:
            return html("fragments/mask.html", {"mask_id": masks[-1], "mask_url": f"/inputs/{masks[-1]}"})
        return html("fragments/inputs.html", {"inputs": [input_view(blob) for blob in inputs]})

    @router.get("/inputs/{blob}")
    async def show(blob: str, caller: FromCaller) -> Response:  # noqa: ARG001 - closed like every route
        """Nobody can guess the name of a picture that they do not have."""
        data = await services.images.input(BlobId(blob))
        return Response(
            data, media_type="image/png", headers={"cache-control": "private, max-age=31536000, immutable"}
        )

    return router
