# SPDX-License-Identifier: Apache-2.0
"""Language models for whoever asks: find one, get it loaded, ask it, and let it go again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from inglenook.base.cancel import StopToken
from inglenook.base.ids import PersonId
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.service import CatalogService
from inglenook.chat.model import Choice, Defaults, ModelOptions
from inglenook.chat.planning import load_plan
from inglenook.engines.llamacpp.child import LlamaChild, Reply
from inglenook.runtime.contracts import Lease
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.snapshot import explanation_json

TOLD_EVERY_S: Final = 1.0

Hear = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Told while a request waits, at most once a second: place, reason, estimate (`explanation_json`)."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """The right to ask a loaded model, as long as the context of `ChatService.exchange` lasts."""

    model: ModelRecord
    lease: Lease
    choices: tuple[Choice, ...]

    def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Reply]:
        """Ask llama.cpp's own HTTP interface; see `LlamaChild.request`."""
        child = self.lease.child
        assert isinstance(child, LlamaChild)
        return child.request(method, path, body=body, headers=headers)


class ChatService:
    def __init__(self, *, scheduler: Scheduler, catalog: CatalogService, defaults: Defaults) -> None:
        self._scheduler = scheduler
        self._catalog = catalog
        self._defaults = defaults

    @asynccontextmanager
    async def exchange(
        self,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        keep_s: float | None = None,  # noqa: ARG002 - the runtime's part of it comes with keep-alive
        context: int | None = None,
        hear: Hear | None = None,
    ) -> AsyncIterator[Exchange]:
        """Wait until the model is loaded and has a free slot, and hold it.

        Args:
            keep_s: how long it stays loaded after this; None: as its options say; -1 for ever; 0 not at all.
            context: tokens that the request needs at least.

        Raises:
            ChildFailed, Invalid, LeaseStopped, Unavailable: as `Scheduler.acquire`.
        """
        plan, choices = load_plan(model, ModelOptions(), self._defaults, pinned=False, context=context)
        request = self._scheduler.request(
            person=person, work_class=work_class, plan=plan, label=f"{model.id} for {person}"
        )
        acquiring = asyncio.ensure_future(self._scheduler.acquire(request, stop))
        try:
            while not acquiring.done():
                await asyncio.wait({acquiring}, timeout=TOLD_EVERY_S)
                explanation = self._scheduler.explain(request.id)
                if hear is not None and explanation is not None and not acquiring.done():
                    await hear(explanation_json(explanation))
            lease = acquiring.result()
        except BaseException:
            acquiring.cancel()
            raise
        try:
            yield Exchange(model, lease, choices)
        finally:
            lease.release()
