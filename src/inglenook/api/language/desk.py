# SPDX-License-Identifier: Apache-2.0
"""What every route of a language model does alike: find the model, add what its owner has set, and ask."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from inglenook.api.language.fields import Fields, keep_seconds, model_name
from inglenook.api.language.history import with_system
from inglenook.api.relay import Ask, Relay
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord
from inglenook.door.caller import Caller
from inglenook.door.services import Language

SYSTEM: Final = "system"
MAX_TOKENS: Final = "max_tokens"
_SAME_AS_MAX_TOKENS: Final = ("max_completion_tokens", "n_predict", "max_output_tokens")


class Desk:
    """Args:
    max_body_bytes: of a request, which may hold pictures.
    """

    def __init__(self, *, language: Language, relay: Relay, max_body_bytes: int) -> None:
        self.relay = relay
        self._language = language
        self._max_body_bytes = max_body_bytes

    async def fields(self, request: Request) -> Fields:
        return await Fields.read(request, limit_bytes=self._max_body_bytes)

    async def model(self, name: str | None, task: LanguageTask) -> ModelRecord:
        """The model called `name`, which can do `task`; None, or `auto`: the default for it.

        Raises as `ChatService.resolve`.
        """
        return await run_in_threadpool(self._language.resolve, name, task)

    def ask(
        self,
        request: Request,
        who: Caller,
        fields: Fields,
        model: ModelRecord,
        path: str,
        task: LanguageTask | None = LanguageTask.CHAT,
    ) -> Ask:
        """The request as it goes to the child; its body is `fields` as they are now. Raises Invalid."""
        return Ask(model, who.person, path, fields.body, keep_s=keep_seconds(request, fields), task=task)

    async def prepared(self, request: Request, task: LanguageTask) -> tuple[Fields, ModelRecord]:
        """The body of a request, and the model that it names. Raises as `model`, and Invalid."""
        fields = await self.fields(request)
        return fields, await self.model(model_name(fields), task)

    async def any_prepared(self, request: Request) -> tuple[Fields, ModelRecord]:
        """The same for a route that any language model serves; the default is the one that chats."""
        fields = await self.fields(request)
        name = model_name(fields)
        if name is None or name == "auto":
            return fields, await self.model(None, LanguageTask.CHAT)
        model = await run_in_threadpool(self._language.find, name)
        task = self._language.task_of(model) if model.kind is ModelKind.LANGUAGE else None
        return fields, await self.model(name, task or LanguageTask.CHAT)

    def complete(self, fields: Fields, model: ModelRecord, *, system: str | None = None) -> None:
        """Add what the model's owner has set, where the caller says nothing.

        Args:
            system: the field that holds the conversation (`messages`), or the system prompt itself
                (`system`, `instructions`); None where there is none.
        """
        said = dict(self._language.defaults_for(model))
        prompt = said.pop(SYSTEM, None)
        if any(name in fields for name in _SAME_AS_MAX_TOKENS):
            said.pop(MAX_TOKENS, None)
        if said:
            fields.default(said)
        if prompt and system == "messages":
            _add_system(fields, str(prompt))
        elif prompt and system is not None:
            fields.default({system: prompt})


def _add_system(fields: Fields, prompt: str) -> None:
    messages = fields.get("messages")
    if isinstance(messages, list) and not any(_is_system(message) for message in messages):
        fields.put({"messages": with_system(messages, prompt)})


def _is_system(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") in ("system", "developer")
