# SPDX-License-Identifier: Apache-2.0
"""The Chat page: the list of conversations, the one that is open, and what is told while it is.

Messages are rendered here, as plain text; the page's scripts turn them into Markdown, say things and follow
answers through our own API. Without scripts a person can find and read.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.errors import InglenookError, NotFound
from inglenook.base.ids import ConversationId, ModelId, PersonId
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord
from inglenook.chat.conversations.model import Conversation, path_to
from inglenook.door.caller import FromCaller
from inglenook.door.services import Catalog, Conversations, Language
from inglenook.door.sse import EventStream
from inglenook.web.chat_stream import chat_stream
from inglenook.web.talks import UNTITLED, TalkModel, said, talk_model, talk_row
from inglenook.web.templating import HEADERS, html

TALKS = 50
"""Conversations that the list shows at once."""
NUMBERS: tuple[tuple[str, str, float, float, str, str], ...] = (
    ("temperature", "Temperature", 0, 5, "any", "0 always takes the likeliest word; more is livelier"),
    ("top_p", "Top p", 0, 1, "any", "only the likeliest words that have this share together"),
    ("top_k", "Top k", 0, 1000, "1", "only so many of the likeliest words; 0 for all"),
    ("min_p", "Min p", 0, 1, "any", "no word less likely than this share of the likeliest"),
    ("repeat_penalty", "Repeat penalty", 0, 5, "any", "above 1: says the same less often"),
    ("max_tokens", "Most tokens", 1, 10_000_000, "1", "of one answer"),
    ("seed", "Seed", 0, 2**32 - 1, "1", "the same seed, the same answer"),
    ("context", "Context", 16, 10_000_000, "1", "tokens that the model is loaded for at least"),
)
"""Name, label, least, most, step, what it does."""

Titles = Mapping[ModelId, str]


class ChatPages:
    def __init__(self, *, catalog: Catalog, conversations: Conversations, language: Language) -> None:
        self._catalog = catalog
        self._conversations = conversations
        self._language = language

    # -- what is shown -----------------------------------------------------------------------------------

    def records(self) -> list[ModelRecord]:
        """Models that talk, the default first. Looks at the disk. Blocks."""
        try:
            default = self._language.resolve(None).id
        except InglenookError:  # none that can be used: the page says so
            default = None
        records = [
            one
            for one in self._catalog.list(ModelKind.LANGUAGE)
            if self._language.task_of(one) is LanguageTask.CHAT
        ]
        return sorted(records, key=lambda it: (it.id != default, it.problem is not None, it.id))

    def models(self, records: Sequence[ModelRecord]) -> list[TalkModel]:
        """How they stand now. Reads what the event loop's thread owns."""
        language = self._language
        return [
            talk_model(one, language.state(one), sees=language.sees(one), defaults=language.defaults_for(one))
            for one in records
        ]

    def listing(self, person: PersonId, asked: Any) -> dict[str, Any]:
        """Blocks. `asked`: the query."""
        view = asked.get("view", "")
        view = view if view in ("archived", "trashed") else ""
        search = str(asked.get("search", ""))[:1000]
        last = ConversationId(asked["last"]) if asked.get("last") else None
        found = self._conversations.list(
            person,
            limit=TALKS + 1,
            before=last,
            search=search,
            archived=view == "archived",
            trashed=view == "trashed",
        )
        return {
            "talks": [talk_row(one) for one in found[:TALKS]],
            "more": found[TALKS - 1].id if len(found) > TALKS else "",
            "search": search,
            "view": view,
            "continued": last is not None,
            "open": "",
        }

    def thread(self, conversation: Conversation, person: PersonId, titles: Titles) -> dict[str, Any]:
        """Blocks."""
        messages = self._conversations.messages(conversation.id, caller=person)
        turns = path_to(messages, conversation.shown)
        return {
            "said": said(turns, titles),
            "talk": conversation,
            "title": conversation.title or UNTITLED,
            "version": conversation.updated_at.isoformat(),
        }

    async def page(self, person: PersonId, asked: Any, conversation: ConversationId | None) -> dict[str, Any]:
        records = await asyncio.to_thread(self.records)
        titles = {one.id: one.title or one.id for one in records}
        context = await asyncio.to_thread(self._page, person, asked, conversation, titles)
        return {**context, "models": self.models(records)}

    def _page(
        self, person: PersonId, asked: Any, conversation: ConversationId | None, titles: Titles
    ) -> dict[str, Any]:
        """Blocks."""
        context = {
            **self.listing(person, asked),
            "numbers": NUMBERS,
            "presets": self._conversations.presets(caller=person),
            "talk": None,
            "said": [],
            "title": UNTITLED,
            "version": "",
            "settings": {},
            "system": "",
            "model": "",
        }
        if conversation is None:
            return context
        found = self._conversations.get(conversation, caller=person)
        return {
            **context,
            **self.thread(found, person, titles),
            "settings": found.parameters.as_json(),
            "system": found.system,
            "model": found.model,
            "open": found.id,
        }


def chat_pages(*, catalog: Catalog, conversations: Conversations, language: Language) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    pages = ChatPages(catalog=catalog, conversations=conversations, language=language)

    @router.get("/chat")
    async def new(request: Request, caller: FromCaller) -> Response:
        context = await pages.page(caller.person, request.query_params, None)
        return html("chat.html", context)

    @router.get("/chat/list")
    async def listing(request: Request, caller: FromCaller) -> Response:
        context = await asyncio.to_thread(pages.listing, caller.person, request.query_params)
        return html("fragments/talks.html", {**context, "open": request.query_params.get("open", "")})

    @router.get("/chat/stream")
    async def stream(request: Request, caller: FromCaller) -> Response:
        open_now = request.query_params.get("conversation") or None
        records = await asyncio.to_thread(
            pages.records
        )  # once: a model that comes later waits for the next visit
        events = chat_stream(
            models=lambda: pages.models(records),
            conversations=conversations,
            person=caller.person,
            conversation=None if open_now is None else ConversationId(open_now),
        )
        return EventStream(events, headers={"referrer-policy": HEADERS["referrer-policy"]})

    @router.get("/chat/{conversation}")
    async def one(conversation: str, request: Request, caller: FromCaller) -> Response:
        context = await pages.page(caller.person, request.query_params, _id(conversation))
        return html("chat.html", context)

    @router.get("/chat/{conversation}/thread")
    async def thread(conversation: str, caller: FromCaller) -> Response:
        known = _id(conversation)

        def found() -> dict[str, Any]:
            titles = {one.id: one.title or one.id for one in pages.records()}
            talk = conversations.get(known, caller=caller.person)
            return pages.thread(talk, caller.person, titles)

        return html("fragments/thread.html", await asyncio.to_thread(found))

    return router


def _id(text: str) -> ConversationId:
    if not text.startswith("cnv_") or len(text) > 40:
        raise NotFound(f"There is no conversation {text[:60]!r}.", code="conversation.not_found")
    return ConversationId(text)
