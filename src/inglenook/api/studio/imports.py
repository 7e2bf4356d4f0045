# SPDX-License-Identifier: Apache-2.0
"""POST /v1/pictures/import: pictures from elsewhere, with what they tell about how they were made."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import media_type
from inglenook.api.errors import answer, as_error, errors, json_response
from inglenook.api.studio.pictures import PICTURE, as_json
from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import PersonId
from inglenook.base.units import MIB
from inglenook.door.caller import FromCaller, caller
from inglenook.door.problem import problem_of, shown
from inglenook.door.services import Importer
from inglenook.images.foreign import alice_records

MAX_FILES = 200
MAX_LIST_BYTES = 64 * MIB
_IMPORTED = {
    "type": "object",
    "required": ["data", "refused"],
    "properties": {
        "data": {"type": "array", "items": PICTURE},
        "refused": {"type": "array", "items": {"type": "object"}},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "gallery": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}


def imports_router(*, importer: Importer) -> APIRouter:
    router = APIRouter(prefix="/v1/pictures", tags=["pictures"], dependencies=[Depends(caller)])

    @router.post(
        "/import",
        summary="Bring pictures from elsewhere, as they are",
        description="PNG, JPEG and WebP, as files named `file`; ALICE's `gallery.json` as the file `gallery` "
        "beside them. Each is kept or refused by itself.",
        openapi_extra=_BODY,
        responses={200: answer("What was kept, and what was not and why.", _IMPORTED), **errors(400, 413)},
    )
    async def bring(who: FromCaller, request: Request) -> Response:
        if media_type(request) != "multipart/form-data":
            raise Invalid(
                "The body must be multipart/form-data.",
                code="request.media_type",
                hint="send each picture as a file field named `file`",
            )
        async with request.form(max_files=MAX_FILES, max_fields=8) as form:
            sent = [(name, one) for name, one in form.multi_items() if isinstance(one, UploadFile)]
            files = [one for name, one in sent if name != "gallery"]
            listed = form.get("gallery")
            records = {} if not isinstance(listed, UploadFile) else _records(await listed.read())
            if not files:
                raise Invalid("There is no file to import.", field="file", hint="send at least one picture")
            return json_response(await _bring(importer, files, records, who.person))

    return router


async def _bring(
    importer: Importer, files: Sequence[UploadFile], records: Mapping[str, Any], person: PersonId
) -> dict[str, Any]:
    kept, refused = [], []
    for file in files:
        name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
        data = await file.read()
        try:
            if name in records:
                picture = await asyncio.to_thread(importer.keep_alice, records[name], data, owner=person)
            else:
                picture = await asyncio.to_thread(importer.keep, data, owner=person, name=name)
        except InglenookError as error:
            if error.kind not in ("invalid", "too_large"):
                raise
            refused.append({"name": name, "error": as_error(problem_of(error))})
        else:
            kept.append(as_json(picture))
    return {"object": "list", "data": kept, "refused": refused}


def _records(data: bytes) -> Mapping[str, Any]:
    """The records of ALICE's `gallery.json` by their file's name.

    Raises:
        Invalid: it is no such file.
    """
    try:
        found = alice_records(json.loads(data)) if len(data) <= MAX_LIST_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if found is None:
        raise Invalid(
            f"The file `gallery` is no gallery.json of ALICE; it begins with {shown(data[:30])}.",
            field="gallery",
            hint='it holds {"images": {id: record}}',
        )
    return found
