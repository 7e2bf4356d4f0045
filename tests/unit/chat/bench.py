# SPDX-License-Identifier: Apache-2.0
"""The chat service over a scheduler, a catalogue and a database that are real, and models that are not."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.gguf_files import write_bert, write_llama
from tests.unit.runtime.bench import until

from inglenook.base.cancel import StopToken
from inglenook.base.ids import OWNER, ModelId
from inglenook.base.units import GIB
from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.catalog.service import CatalogService
from inglenook.chat.exchange import Exchange
from inglenook.chat.model import Defaults
from inglenook.chat.records import OptionRecords
from inglenook.chat.service import ChatService
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.policy import Rules
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock
from inglenook.testing.devices import FakeBook, FakeProbe, fake_device
from inglenook.testing.language import FakeLanguageEngine

AUTO = dict.fromkeys(LanguageTask, "auto")


class Bench:
    def __init__(
        self,
        models: Path,
        database: Database,
        *,
        rules: Rules,
        names: Mapping[LanguageTask, str],
        pinned: frozenset[str],
        auto: bool,
        builtin: Path | None,
        defaults: Defaults,
    ) -> None:
        self.clock = FakeClock()
        self.engine = FakeLanguageEngine(auto=auto)
        device = fake_device("cpu", 8 * GIB)
        self.catalog = CatalogService(roots=[models], builtin=models / "none" if builtin is None else builtin)
        self.scheduler = Scheduler(
            engines={self.engine.name: self.engine},
            ledger=Ledger([device]),
            rules=rules,
            clock=self.clock,
            probe=FakeProbe([device]),
            book=FakeBook(),
            stop_grace_s=5.0,
        )
        self.chat = ChatService(
            scheduler=self.scheduler,
            catalog=self.catalog,
            records=OptionRecords(database=database, clock=self.clock),
            clock=self.clock,
            defaults=defaults,
            default_names=names,
            pinned=pinned,
        )

    def model(self, name: str = "chat") -> ModelRecord:
        return self.catalog.get(ModelId(name))

    @asynccontextmanager
    async def exchange(self, name: str = "chat", **more: Any) -> AsyncIterator[Exchange]:
        more = {"person": OWNER, "stop": StopToken(), **more}
        async with self.chat.exchange(self.model(name), **more) as exchange:
            yield exchange

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.scheduler.tick()
        await self.settled()

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def becomes(self, name: str, state: str) -> None:
        await until(lambda: self.chat.state(self.model(name)).state == state)


@asynccontextmanager
async def bench(
    models: Path,
    database: Database,
    *,
    rules: Rules | None = None,
    names: Mapping[LanguageTask, str] | None = None,
    pinned: frozenset[str] = frozenset(),
    auto: bool = True,
    builtin: Path | None = None,
    defaults: Defaults | None = None,
) -> AsyncIterator[Bench]:
    """Args:
    auto: models are loaded as soon as they are started.
    """
    made = Bench(
        models,
        database,
        rules=Rules() if rules is None else rules,
        names=AUTO if names is None else names,
        pinned=pinned,
        auto=auto,
        builtin=builtin,
        defaults=Defaults(context=512) if defaults is None else defaults,
    )
    loop = asyncio.create_task(made.scheduler.run())
    await made.chat.open()
    try:
        yield made
        assert not loop.done(), "the scheduler has ended"
    finally:
        await made.scheduler.close()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


def write_models(folder: Path) -> Path:
    """`chat` and `other` chat, `embed` makes embeddings, `rank` ranks."""
    (folder / "group").mkdir(parents=True)
    write_llama(folder / "chat.gguf")
    write_llama(folder / "group" / "other.gguf", seed=1)
    write_bert(folder / "embed.gguf")
    write_bert(folder / "rank.gguf", head=True)
    return folder
