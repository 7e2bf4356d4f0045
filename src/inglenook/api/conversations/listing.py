# SPDX-License-Identifier: Apache-2.0
"""GET, POST, PATCH, DELETE /v1/conversations."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import json_object, known_only
from inglenook.api.conversations.fields import (
    conversation_id_of,
    message_id_of,
    settings_of,
    truth,
)
from inglenook.api.conversations.shapes import (
    CONVERSATION,
    CONVERSATIONS,
    DELETED,
    WHOLE_CONVERSATION,
    conversation_json,
    message_json,
)
from inglenook.api.errors import answer, errors, json_response
from inglenook.api.studio.pages import MAX_PAGE, page
from inglenook.base.ids import ConversationId, PersonId
from inglenook.chat.conversations.model import Conversation
from inglenook.door.caller import FromCaller, caller
from inglenook.door.services import Conversations

MAX_SEARCH_CHARS = 1000
_SETTINGS = ("title", "model", "system", "parameters")
_CHANGED = {"type": "object", "properties": {"changed": {"type": "integer"}}}


def _body(*more: str) -> dict[str, Any]:
    names = (*_SETTINGS, *more)
    properties = {name: CONVERSATION["properties"][name] for name in names}
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def listing_router(*, conversations: Conversations) -> APIRouter:
    """The conversations block, and so do these routes: they run in the framework's threads."""
    router = APIRouter(prefix="/v1/conversations", tags=["conversations"], dependencies=[Depends(caller)])

    @router.get(
        "",
        summary="The caller's conversations: pinned ones first, then those that were spoken in last",
        responses={200: answer("A page.", CONVERSATIONS), **errors(400, 404)},
    )
    def listing(
        who: FromCaller,
        search: Annotated[
            str, Query(max_length=MAX_SEARCH_CHARS, description="words in titles and texts")
        ] = "",
        archived: Annotated[bool | None, Query(description="left out: those that are not")] = False,
        trashed: Annotated[bool, Query(description="those in the trash instead of all others")] = False,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        before: Annotated[str | None, Query(description="the last one of the page before")] = None,
    ) -> Response:
        found = conversations.list(
            who.person,
            limit=limit + 1,
            before=None if before is None else conversation_id_of(before),
            search=search,
            archived=archived,
            trashed=trashed,
        )
        return json_response(page([conversation_json(one) for one in found], limit))

    @router.post(
        "",
        summary="A new conversation",
        openapi_extra=_body(),
        responses={200: answer("It.", CONVERSATION), **errors(400, 413)},
    )
    async def create(who: FromCaller, request: Request) -> Response:
        body = await json_object(request)
        known_only(body, _SETTINGS)
        settings = settings_of(body)
        made = await asyncio.to_thread(conversations.create, owner=who.person, **settings)
        return json_response(conversation_json(made))

    @router.post(
        "/empty-trash",
        summary="Delete for good what the caller has thrown away",
        responses={200: answer("How many.", _CHANGED), **errors()},
    )
    def empty(who: FromCaller) -> Response:
        return json_response({"changed": conversations.empty_trash(caller=who.person)})

    @router.get(
        "/{conversation_id}",
        summary="One conversation with all its messages, on every branch",
        responses={200: answer("It.", WHOLE_CONVERSATION), **errors(400, 404)},
    )
    def one(who: FromCaller, conversation_id: str) -> Response:
        found = conversations.get(conversation_id_of(conversation_id), caller=who.person, trashed=True)
        messages = conversations.messages(found.id, caller=who.person)
        return json_response(
            {**conversation_json(found), "messages": [message_json(message) for message in messages]}
        )

    @router.patch(
        "/{conversation_id}",
        summary="Change title, model, system prompt, parameters; pin, archive; show the branch of a message",
        openapi_extra=_body("pinned", "archived", "shown"),
        responses={200: answer("As it is now.", CONVERSATION), **errors(400, 404, 413)},
    )
    async def change(who: FromCaller, conversation_id: str, request: Request) -> Response:
        found = conversation_id_of(conversation_id)
        body = await json_object(request)
        changed = await asyncio.to_thread(_change, conversations, found, body, who.person)
        return json_response(conversation_json(changed))

    @router.post(
        "/{conversation_id}/restore",
        summary="Take a conversation out of the trash",
        responses={200: answer("As it is now.", CONVERSATION), **errors(400, 404)},
    )
    def restore(who: FromCaller, conversation_id: str) -> Response:
        back = conversations.restore(conversation_id_of(conversation_id), caller=who.person)
        return json_response(conversation_json(back))

    @router.delete(
        "/{conversation_id}",
        summary="Throw a conversation away, or delete it for good",
        responses={200: answer("It is gone.", DELETED), **errors(400, 404)},
    )
    def delete(
        who: FromCaller,
        conversation_id: str,
        forever: Annotated[bool, Query(description="delete it with its pictures, now")] = False,
    ) -> Response:
        found = conversation_id_of(conversation_id)
        if forever:
            conversations.delete(found, caller=who.person)
        else:
            conversations.trash(found, caller=who.person)
        return json_response({"id": found, "deleted": True, "restorable": not forever})

    return router


def _change(
    conversations: Conversations, found: ConversationId, body: dict[str, Any], person: PersonId
) -> Conversation:
    """Everything is checked before anything is changed."""
    known_only(body, (*_SETTINGS, "pinned", "archived", "shown"))
    values = settings_of(body) | {name: truth(body, name) for name in ("pinned", "archived") if name in body}
    message = message_id_of(body["shown"]) if "shown" in body else None
    if message is not None:
        conversations.show(found, message, caller=person)
    return conversations.change(found, caller=person, **values)
