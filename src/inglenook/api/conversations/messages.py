# SPDX-License-Identifier: Apache-2.0
"""What is said in a conversation: messages, answers as they are written, pictures that are given to it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import form, json_object, known_only
from inglenook.api.conversations.fields import (
    MAX_MODEL_CHARS,
    conversation_id_of,
    is_blob,
    message_id_of,
    parts_of,
    text,
)
from inglenook.api.conversations.shapes import MESSAGE, message_json
from inglenook.api.errors import SSE_SCHEMA, answer, errors, json_response
from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import BlobId
from inglenook.chat.conversations.answering import Answers, Event
from inglenook.chat.conversations.model import Message
from inglenook.door.caller import FromCaller, caller
from inglenook.door.services import Conversations, Images
from inglenook.door.sse import EventStream, ServerEvent

_SAY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["content"],
                    "properties": {
                        "content": {
                            "anyOf": [
                                {"type": "string"},
                                {"type": "array", "items": {"type": "object"}},
                            ]
                        },
                        "parent": {
                            "type": ["string", "null"],
                            "description": "the answer that it follows; null: it begins anew; left out: the "
                            "end of what is shown",
                        },
                    },
                }
            }
        },
    }
}
_ANSWER = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["message"],
                    "properties": {"message": {"type": "string"}, "model": {"type": "string"}},
                }
            }
        },
    }
}
_PICTURES = {
    "type": "object",
    "properties": {
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"blob": {"type": "string"}, "url": {"type": "string"}},
            },
        }
    },
}
_STOPPED = {"type": "object", "properties": {"stopped": {"type": "boolean"}}}
_FOREVER = "private, max-age=31536000, immutable"
_SANDBOX = {"content-security-policy": "default-src 'none'; sandbox"}


def messages_router(*, conversations: Conversations, answers: Answers, images: Images) -> APIRouter:
    router = APIRouter(prefix="/v1/conversations", tags=["conversations"], dependencies=[Depends(caller)])

    @router.post(
        "/pictures",
        summary="Keep pictures that will be part of a message",
        description="PNG, JPEG or WebP as files named `file`. A message names them by their `blob`.",
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
        responses={200: answer("Their names.", _PICTURES), **errors(400, 413)},
    )
    async def keep(who: FromCaller, request: Request) -> Response:  # noqa: ARG001 - closed like every route
        files = (await form(request)).files.get("file", [])
        if not files:
            raise Invalid("There is no picture.", field="file", hint="send at least one, as `file`")
        kept = [await images.keep_input(data) for data in files]
        return json_response({"data": [{"blob": blob, "url": picture_url(blob)} for blob in kept]})

    @router.get(
        "/pictures/{blob}",
        summary="A picture that was given to a conversation",
        responses={200: {"description": "PNG.", "content": {"image/png": {}}}, **errors(400, 404)},
    )
    async def picture(who: FromCaller, blob: str) -> Response:  # noqa: ARG001 - closed like every route
        """Nobody can guess the name of a picture that they do not have."""
        if not is_blob(blob):
            raise NotFound("There is no such picture.", code="blob.not_found")
        data = await images.input(BlobId(blob))
        headers = {"cache-control": _FOREVER, **_SANDBOX}
        return Response(data, media_type="image/png", headers=headers)

    @router.post(
        "/{conversation_id}/messages",
        summary="Say something",
        description="Saying something after an earlier answer, or as a beginning, makes a branch.",
        openapi_extra=_SAY,
        responses={200: answer("The message.", MESSAGE), **errors(400, 404, 409, 413)},
    )
    async def say(who: FromCaller, conversation_id: str, request: Request) -> Response:
        found = conversation_id_of(conversation_id)
        body = await json_object(request)
        known_only(body, ("content", "parent"))
        parts = parts_of(body.get("content"))
        if "parent" in body:
            parent = None if body["parent"] is None else message_id_of(body["parent"])
        else:
            parent = (await asyncio.to_thread(conversations.get, found, caller=who.person)).shown
        said = await asyncio.to_thread(conversations.say, found, parts, parent=parent, caller=who.person)
        return json_response(message_json(said))

    @router.post(
        "/{conversation_id}/answers",
        summary="Have a message answered; again and again, if wanted",
        description="A stream of events: `message` (the record), `wait` (why it waits; null when it does not "
        "any more), `reasoning` and `text` (pieces), `tool` (a call of one of our tools, then again with its "
        "result), `speed` (tokens so far and per second), `done` (the record). Whoever leaves before the end "
        "stops the answer; what was said is kept.",
        openapi_extra=_ANSWER,
        responses={
            200: {"description": "Events.", "content": {"text/event-stream": {"schema": SSE_SCHEMA}}},
            **errors(400, 404, 409, 413),
        },
    )
    async def respond(who: FromCaller, conversation_id: str, request: Request) -> Response:
        found = conversation_id_of(conversation_id)
        body = await json_object(request)
        known_only(body, ("message", "model"))
        model = text(body, "model", most=MAX_MODEL_CHARS)
        writing = await answers.begin(
            found, message_id_of(body.get("message")), person=who.person, model=model
        )
        return EventStream(_sent(writing.events()), on_gone=writing.leave)

    @router.post(
        "/{conversation_id}/messages/{message_id}/stop",
        summary="Stop an answer that is being written",
        responses={200: answer("Whether this has stopped it.", _STOPPED), **errors(400, 404)},
    )
    async def stop(who: FromCaller, conversation_id: str, message_id: str) -> Response:
        found, message = conversation_id_of(conversation_id), message_id_of(message_id)
        await asyncio.to_thread(conversations.get, found, caller=who.person)
        return json_response({"stopped": answers.stop(message, person=who.person)})

    return router


def picture_url(blob: str) -> str:
    return f"/v1/conversations/pictures/{blob}"


async def _sent(events: AsyncGenerator[Event, None]) -> AsyncGenerator[ServerEvent, None]:
    async with aclosing(events):
        async for event in events:
            data: Any = message_json(event.data) if isinstance(event.data, Message) else event.data
            yield ServerEvent(event=event.kind, data=msgspec.json.encode(data).decode())
