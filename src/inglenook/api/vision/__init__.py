# SPDX-License-Identifier: Apache-2.0
"""POST /v1/vision/predict: pictures in, labels and scores out.

fields.py       what a request may hold, and words for what is wrong with it
description.py  the same for /openapi.json
"""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import form, json_object, media_type
from inglenook.api.errors import json_response
from inglenook.api.language.pictures import Asker, Pictures
from inglenook.api.vision.description import PREDICT
from inglenook.api.vision.fields import PredictFields, from_form, from_json
from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Invalid, TooLarge
from inglenook.catalog.model import ModelRecord
from inglenook.door.address import base_url
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.services import Predictions
from inglenook.images.sniff import declared_size, sniff
from inglenook.prediction.model import MAX_PICTURES, Look, Prediction

FILE_FIELDS = ("image", "images", "file", "files")
"""Names under which a form may send pictures."""


def vision_router(*, predictions: Predictions, pictures: Pictures, max_body_bytes: int) -> APIRouter:
    """Args:
    pictures: brings what a text names.
    """
    router = APIRouter(tags=["vision"], dependencies=[Depends(caller)])

    @router.post("/v1/vision/predict", **PREDICT)
    async def predict(request: Request, who: FromCaller) -> Response:
        asker = Asker(who.person, request.headers.get("host", ""), base_url(request))
        if media_type(request) == "multipart/form-data":
            fields, files = await _form(request)
        else:
            fields = from_json(await json_object(request, limit_bytes=max_body_bytes))
            files = await _named(fields, pictures, asker)
        model = await asyncio.to_thread(predictions.resolve, fields.model)
        await asyncio.to_thread(_check, files, predictions.max_pixels)
        return await _answer(predictions, request, who, fields, model, files)

    return router


async def _form(request: Request) -> tuple[PredictFields, list[bytes]]:
    sent = await form(request)
    for name in sent.files:
        if name not in FILE_FIELDS:
            raise Invalid(
                f"{name[:64]!r} must be a text, not a file.",
                field=name[:64],
                hint=f"send pictures as {' or '.join(FILE_FIELDS[:1] + FILE_FIELDS[2:3])}",
            )
    files = [data for name in FILE_FIELDS for data in sent.files.get(name, [])]
    return from_form(sent.texts), _some(files)


async def _named(fields: PredictFields, pictures: Pictures, asker: Asker) -> list[bytes]:
    """What the texts name, one after another: each may be large, and some may have to be fetched."""
    names = fields.pictures()
    _some(names)
    single = fields.image is not None
    return [
        await pictures.bytes_of(name, "image" if single else f"images.{place}", asker)
        for place, name in enumerate(names)
    ]


def _some(given: list[Any]) -> list[Any]:
    """`given` again. Raises Invalid where there is none, or too many."""
    if not given:
        raise Invalid(
            "image is required.",
            field="image",
            code="request.missing_field",
            hint="send it as a file, or in JSON as base64, a data address, or the id of a picture",
        )
    if len(given) > MAX_PICTURES:
        raise Invalid(
            f"There are {len(given)} pictures; at most {MAX_PICTURES} are taken.",
            field="images",
            code="request.too_many_files",
            hint="ask several times",
        )
    return given


def _check(files: list[bytes], max_pixels: int) -> None:
    """What can be told before a model is loaded. Blocks.

    Raises:
        Invalid: one is no picture of a kind that is taken.
        TooLarge: one has too many pixels.
    """
    for place, data in enumerate(files):
        field = "image" if len(files) == 1 else f"images.{place}"
        width, height = declared_size(data, sniff(data, field=field))
        if width * height > max_pixels:
            raise TooLarge(
                f"The picture has {width} x {height} pixels; {max_pixels} are allowed.",
                code="picture.too_large",
                field=field,
                hint="make it smaller; images.max_input_pixels sets the limit",
            )


async def _answer(
    predictions: Predictions,
    request: Request,
    who: Caller,
    fields: PredictFields,
    model: ModelRecord,
    files: list[bytes],
) -> Response:
    stop = StopToken()

    async def gone() -> None:
        stop.stop(StopReason.CLIENT_GONE)

    work = predictions.predict(files, model, top=fields.top_k, person=who.person, stop=stop)
    found = await while_connected(request.receive, work, on_gone=gone)
    return json_response(as_json(found, model))


def as_json(found: Prediction, model: ModelRecord) -> dict[str, Any]:
    """`seconds` of the work, `computing_s` of it in the network, `waited_s` before it for the model."""
    assert model.vision is not None
    return {
        "object": "vision.prediction",
        "model": found.model,
        "task": found.task,
        "labelled": model.vision.labelled,
        "seconds": round(found.seconds, 4),
        "computing_s": round(found.computing_s, 4),
        "waited_s": round(found.waited_s, 4),
        "data": [_look(place, one) for place, one in enumerate(found.pictures)],
    }


def _look(place: int, one: Look) -> dict[str, Any]:
    return {
        "index": place,
        "width": one.width,
        "height": one.height,
        "predictions": [
            {"label": label.name, "class_id": label.number, "score": label.score} for label in one.labels
        ],
    }
