# SPDX-License-Identifier: Apache-2.0
"""A language model that is held while it is asked, once or several times, and let go however that ends."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.concurrency import run_in_threadpool

from inglenook.api.ollama.names import find_model
from inglenook.api.refusals import refusal
from inglenook.api.relay import Wait
from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Failed
from inglenook.base.ids import PersonId, ResidentId
from inglenook.catalog.model import ModelRecord
from inglenook.chat.service import Exchange
from inglenook.door.services import Catalog, Language, Runtime
from inglenook.engines.llamacpp.child import Reply

_BAD_REQUEST: Final = 400


class Held:
    """The model, ready. `load_ns`: how long it was waited for."""

    def __init__(self, exchange: Exchange, load_ns: int) -> None:
        self._exchange = exchange
        self.load_ns = load_ns

    @property
    def model(self) -> ModelRecord:
        return self._exchange.model

    @asynccontextmanager
    async def stream(self, path: str, body: Mapping[str, Any] | None) -> AsyncIterator[Reply]:
        """Ask by POST, or without a body by GET. Leaving the context stops the generation.

        Raises what the child refuses, and `ChildFailed`.
        """
        method, sent = ("GET", b"") if body is None else ("POST", msgspec.json.encode(body))
        async with self._exchange.request(method, path, body=sent) as reply:
            if reply.status >= _BAD_REQUEST:
                raise refusal(self.model, reply.status, await reply.read())
            yield reply

    async def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The whole answer. Raises as `stream`, and `Failed` where it is no JSON."""
        async with self.stream(path, body) as reply:
            told = await reply.read()
        try:
            return msgspec.json.decode(told)
        except msgspec.DecodeError:
            raise Failed(f"{self.model.id} answered what is no JSON.", code="model.nonsense") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every route of the dialect works with."""

    language: Language
    catalog: Catalog
    runtime: Runtime
    clock: Clock
    max_body_bytes: int

    async def find(self, name: str) -> ModelRecord:
        """Raises as `find_model`."""
        return await run_in_threadpool(find_model, self.catalog, name)

    @asynccontextmanager
    async def hold(
        self,
        model: ModelRecord,
        person: PersonId,
        *,
        keep_s: float | None,
        context: int | None = None,
        wait: Wait | None = None,
    ) -> AsyncIterator[Held]:
        """Args as those of `Language.exchange`; raises as it does."""
        wait = Wait() if wait is None else wait
        began_s = self.clock.monotonic()
        wait.begins(model)
        async with self.language.exchange(
            model,
            person=person,
            stop=StopToken(),  # whoever goes away cancels the task instead
            keep_s=keep_s,
            context=context,
            hear=wait.hear,
        ) as exchange:
            wait.served(exchange)
            yield Held(exchange, round((self.clock.monotonic() - began_s) * 1e9))

    async def unload(self, model: ModelRecord) -> bool:
        """End its process if nobody works with it; False where somebody does."""
        for resident in self.runtime.snapshot()["residents"]:
            if resident["model"] == model.id and resident["state"] == "ready":
                if not await self.runtime.unload(ResidentId(resident["id"])):
                    return False
        return True
