# SPDX-License-Identifier: Apache-2.0
"""Conversations to take along and to bring back."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from inglenook.api.bodies import media_type
from inglenook.api.conversations.fields import conversation_id_of
from inglenook.api.conversations.shapes import CONVERSATION, conversation_json
from inglenook.api.errors import answer, errors, json_response
from inglenook.base.errors import Invalid, TooLarge
from inglenook.base.ids import BlobId, ConversationId, PersonId
from inglenook.base.units import format_bytes
from inglenook.chat.conversations.documents import (
    archive,
    as_document,
    as_markdown,
    documents_in,
    file_name,
)
from inglenook.chat.conversations.model import Conversation, path_to
from inglenook.door.caller import FromCaller, caller
from inglenook.door.services import Conversations, Images

_AT_ONCE = 200
_FILE = {"cache-control": "no-store"}
_IMPORTED = {"type": "object", "properties": {"data": {"type": "array", "items": CONVERSATION}}}


def documents_router(*, conversations: Conversations, images: Images, max_body_bytes: int) -> APIRouter:
    # A thread of its own: it waits for pictures, which are read in the threads that everybody shares.
    importing = ThreadPoolExecutor(1, thread_name_prefix="import-conversations")
    router = APIRouter(prefix="/v1/conversations", tags=["conversations"], dependencies=[Depends(caller)])

    @router.get(
        "/export",
        summary="All of the caller's conversations as a zip file of JSON and Markdown",
        responses={
            200: {"description": "The zip file.", "content": {"application/zip": {}}},
            **errors(),
        },
    )
    def export_all(who: FromCaller) -> Response:
        pieces = archive(
            (
                (one, conversations.messages(one.id, caller=who.person))
                for one in _all(conversations, who.person)
            ),
            conversations.file,
        )
        disposition = 'attachment; filename="inglenook-conversations.zip"'
        return StreamingResponse(
            pieces, media_type="application/zip", headers=_FILE | {"content-disposition": disposition}
        )

    @router.get(
        "/{conversation_id}/export",
        summary="One conversation as JSON (every branch) or Markdown (what is shown)",
        responses={
            200: {"description": "The file.", "content": {"application/json": {}, "text/markdown": {}}},
            **errors(400, 404),
        },
    )
    def export(
        who: FromCaller,
        conversation_id: str,
        format: Annotated[Literal["json", "markdown"], Query()] = "json",  # noqa: A002 - what it is
    ) -> Response:
        found = conversations.get(conversation_id_of(conversation_id), caller=who.person, trashed=True)
        messages = conversations.messages(found.id, caller=who.person)
        if format == "json":
            body, kind, suffix = as_document(found, messages, conversations.file), "application/json", "json"
        else:
            path = path_to(messages, found.shown)
            body, kind, suffix = as_markdown(found, path).encode(), "text/markdown; charset=utf-8", "md"
        disposition = f'attachment; filename="{file_name(found)}.{suffix}"'
        return Response(body, media_type=kind, headers=_FILE | {"content-disposition": disposition})

    @router.post(
        "/import",
        summary="Bring back conversations that were exported: a JSON file, or a zip file of some",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "properties": {"file": {"type": "string", "format": "binary"}},
                        }
                    }
                },
            }
        },
        responses={200: answer("What was brought.", _IMPORTED), **errors(400, 413)},
    )
    async def bring(who: FromCaller, request: Request) -> Response:
        data = await _file(request, max_body_bytes)
        loop = asyncio.get_running_loop()

        def keep(picture: bytes) -> BlobId:
            return asyncio.run_coroutine_threadsafe(images.keep_input(picture), loop).result()

        brought = await loop.run_in_executor(
            importing, lambda: conversations.bring(documents_in(data), owner=who.person, keep=keep)
        )
        return json_response({"data": [conversation_json(one) for one in brought]})

    return router


def _all(conversations: Conversations, person: PersonId) -> Iterator[Conversation]:
    last: ConversationId | None = None
    while page := conversations.list(person, limit=_AT_ONCE, before=last, archived=None):
        yield from page
        last = page[-1].id


async def _file(request: Request, most_bytes: int) -> bytes:
    if media_type(request) != "multipart/form-data":
        raise Invalid(
            "The body must be multipart/form-data.",
            code="request.media_type",
            hint="send the file as the field `file`",
        )
    async with request.form(max_files=1, max_fields=4) as sent:
        file: Any = sent.get("file")
        if not isinstance(file, UploadFile):
            raise Invalid("There is no file.", field="file", hint="choose one that was exported here")
        data = await file.read()
    if len(data) > most_bytes:
        raise TooLarge(f"The file is larger than {format_bytes(most_bytes)}.", code="request.too_large")
    return data
