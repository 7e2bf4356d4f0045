# SPDX-License-Identifier: Apache-2.0
"""A language model that is held while it is asked, once or several times, and let go however that ends."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from inglenook.api.language.events import events
from inglenook.api.language.pictures import Pictures
from inglenook.api.ollama.names import find_model
from inglenook.api.relay import Held as Relayed
from inglenook.api.relay import Props, Wait
from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Failed
from inglenook.base.ids import PersonId
from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.chat.errors import NotLoaded
from inglenook.door.services import Catalog, Language, Runtime


class Held:
    """The model, ready.

    Attributes:
        relayed: the same, for those who ask in OpenAI's words.
        load_ns: how long it was waited for.
    """

    def __init__(self, relayed: Relayed, load_ns: int) -> None:
        self.relayed = relayed
        self.load_ns = load_ns

    @property
    def model(self) -> ModelRecord:
        return self.relayed.model

    async def props(self) -> Props:
        return await self.relayed.props()

    def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The events of an answer. Closing it stops the generation. Raises what the child refuses, and
        `ChildFailed`."""
        return events(self.relayed, path, msgspec.json.encode(body))

    async def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """The whole answer. Raises as `stream`, and `Failed` where it is no JSON."""
        told = await self.relayed.read(path, msgspec.json.encode(body))
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
    pictures: Pictures
    clock: Clock
    max_body_bytes: int
    _known: dict[str, Props] = field(default_factory=dict)

    async def find(self, name: str) -> ModelRecord:
        """Raises as `find_model`."""
        return await run_in_threadpool(find_model, self.language, self.catalog, name)

    @asynccontextmanager
    async def hold(
        self,
        model: ModelRecord,
        person: PersonId,
        wait: Wait,
        *,
        keep_s: float | None,
        context: int | None = None,
        task: LanguageTask = LanguageTask.CHAT,
    ) -> AsyncIterator[Held]:
        """Args as those of `Language.exchange`; raises as it does."""
        began_s = self.clock.monotonic()
        wait.begins(model)
        async with self.language.exchange(
            model,
            person=person,
            stop=StopToken(),  # whoever goes away cancels the task instead
            keep_s=keep_s,
            context=context,
            hear=wait.hear,
            task=task,
        ) as exchange:
            wait.served(exchange)
            waited_ns = round((self.clock.monotonic() - began_s) * 1e9)
            yield Held(Relayed(exchange, self._known), waited_ns)

    async def unload(self, model: ModelRecord) -> None:
        """Now when it is idle, when its work is done when it is not; nothing where it is not loaded."""
        try:
            await self.language.unload(model)
        except NotLoaded:
            return
