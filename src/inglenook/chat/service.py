# SPDX-License-Identifier: Apache-2.0
"""Language models for whoever asks: find one, get it loaded, ask it, keep it, and let it go again."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.base.ids import ModelId, PersonId
from inglenook.base.work import WorkClass
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord
from inglenook.catalog.projectors import MMPROJ
from inglenook.catalog.service import CatalogService
from inglenook.chat import options as rules
from inglenook.chat.companions import NONE
from inglenook.chat.counting import Counting
from inglenook.chat.errors import NotLoaded
from inglenook.chat.exchange import Exchange, Usage, loaded
from inglenook.chat.footprints import KINDS, granted
from inglenook.chat.model import (
    Choice,
    Counters,
    Defaults,
    KeptOptions,
    ModelOptions,
    ModelState,
)
from inglenook.chat.naming import Names
from inglenook.chat.parts import with_parts_named
from inglenook.chat.plans import Wanted, wanted_plan
from inglenook.chat.records import OptionRecords
from inglenook.chat.state import state_of
from inglenook.runtime.contracts import ChildFailed, Lease, ResidentState
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.snapshot import ResidentNow
from inglenook.runtime.scheduler.waiting import Hear, acquire_told
from inglenook.wire.llama import LoadLanguageModel, Mode

log = logging.getLogger(__name__)

_WORK: Final[Mapping[Mode, str]] = {"chat": "an answer", "embedding": "embeddings", "rerank": "a ranking"}
"""What a lease is for, as the queue tells it."""
MAX_PLANNED: Final = 256
"""Plans that are remembered: a client may ask for any number of contexts."""

__all__ = ["ChatService", "Exchange", "Hear", "Usage"]


class ChatService:
    """Args:
    defaults: what the settings say of how models are loaded.
    default_names: by task, as the settings name them; "auto" for the first that can.
    pinned: ids that the settings pin.
    kinds: the kinds of device on which language models can be loaded now.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        catalog: CatalogService,
        records: OptionRecords,
        clock: Clock,
        defaults: Defaults,
        default_names: Mapping[LanguageTask, str],
        pinned: frozenset[str],
        kinds: Callable[[], Collection[str]] = lambda: KINDS,
    ) -> None:
        self._scheduler = scheduler
        self._catalog = catalog
        self._records = records
        self._defaults = defaults
        self._pinned = pinned
        self._kinds = kinds
        self._kept: dict[ModelId, KeptOptions] = {}
        self._aliases: dict[str, ModelId] = {}
        self._names = Names(
            catalog=catalog,
            defaults=default_names,
            options=lambda model: self.options(model).options,
            aliases=lambda: self._aliases,
        )
        self._planned: dict[
            tuple[ModelId, LanguageTask | None, int | None, frozenset[str]],
            tuple[ModelRecord, ModelOptions, Wanted],
        ] = {}
        self._counting = Counting(clock=clock)
        self._changing = asyncio.Lock()

    async def open(self) -> None:
        """Read what was kept, and tell the runtime how models of every kind are kept. Once, first of all."""
        self._kept = dict(await asyncio.to_thread(self._records.all))
        self._index()
        for model, kept in self._kept.items():
            if kept.options.pinned is not None or kept.options.keep_s is not None:
                self._tell_keeping(model)

    def _tell_keeping(self, model: ModelId) -> None:
        keep_s = seconds_kept(self.options(model).options.keep_s)
        self._scheduler.keep(model, pinned=self._is_pinned(model), keep_s=keep_s)

    def _index(self) -> None:
        self._aliases = {
            alias.casefold(): model for model, kept in self._kept.items() for alias in kept.options.aliases
        }

    # -- names -----------------------------------------------------------------------------------

    def find(self, name: str | None) -> ModelRecord:
        """The model of any kind that a client means: by id, alias or last part; None and "auto": what chats
        by default, and where nothing can, what draws. Blocks.

        Raises ModelNotFound, ModelAmbiguous.
        """
        return self._names.find(name)

    def resolve(self, name: str | None, task: LanguageTask = LanguageTask.CHAT) -> ModelRecord:
        """The language model that a client means, which can do the task. Blocks.

        A chat model is good for embeddings too (it is loaded once more for them), an embedding model for
        ranking (see `Exchange.mode`).

        Args:
            name: an id, an alias, the last part of an id; None and "auto" take the default of the task.

        Raises:
            ModelNotFound, ModelAmbiguous, ModelUnusable: as the catalogue's `resolve`.
            WrongTask: a model of another kind, or one that cannot do this.
        """
        return self._names.resolve(name, task)

    async def named(self, name: str | None, task: LanguageTask = LanguageTask.CHAT) -> ModelRecord:
        """As `resolve`, without blocking: names that are known are answered from memory."""
        try:
            return self._names.known(name, task)
        except LookupError:
            return await asyncio.to_thread(self._names.resolve, name, task)

    async def found(self, name: str | None) -> ModelRecord:
        """As `find`, without blocking: names that are known are answered from memory."""
        try:
            return self._names.known(name)
        except LookupError:
            return await asyncio.to_thread(self._names.find, name)

    def aliases(self) -> Mapping[str, ModelId]:
        """Further names, as they were written, and what they stand for."""
        return {alias: model for model, kept in self._kept.items() for alias in kept.options.aliases}

    def task_of(self, model: ModelRecord) -> LanguageTask | None:
        """What a language model is for; None of any other model."""
        return self._names.task_of(model)

    def projector(self, model: ModelRecord) -> ModelRecord | None:
        """What a language model sees or hears by: what its options name, else what lies beside it. None where
        it has none, also of a model that does not chat, and where that went away."""
        chosen, beside = self.options(model.id).options.mmproj, model.parts.get(MMPROJ)
        if self.task_of(model) is not LanguageTask.CHAT or chosen == NONE or not (chosen or beside):
            return None
        for record in self._catalog.known(ModelKind.PROJECTOR):
            if record.id == chosen if chosen else record.path == beside:
                return record
        return None

    def sees(self, model: ModelRecord) -> bool:
        """Whether it takes pictures when it is loaded."""
        found = self.projector(model)
        return found is not None and found.projector is not None and "image" in found.projector.inputs

    # -- options ---------------------------------------------------------------------------------

    def options(self, model: ModelId) -> KeptOptions:
        return self._kept.get(model, _NOTHING)

    def defaults_for(self, model: ModelRecord) -> Mapping[str, Any]:
        """What a request gets for what it does not name: `temperature`, `top_p`, `top_k`, `min_p`,
        `repeat_penalty`, `max_tokens`, and `system` for conversations without a system prompt; only what is
        set."""
        return rules.request_defaults(self.options(model.id).options)

    async def set_options(
        self, model: ModelRecord, changes: Mapping[str, Any], *, person: PersonId
    ) -> KeptOptions:
        """Change options of a model and keep them; null clears one. Those of loading work from the next load
        on (`ModelState.stale` names them until then), the others from the next request on.

        Raises:
            Invalid: an option that there is not (for a model of this kind), or a value that may not be;
                `field` names it.
            AliasTaken, ModelNotFound, ModelUnusable, WrongTask: a name that means something else, or nothing.
        """
        async with self._changing:
            before = self.options(model.id).options
            known = rules.RULES if model.kind is ModelKind.LANGUAGE else rules.OF_EVERY_KIND
            wanted = rules.changed(before, changes, known=known)
            named = await asyncio.to_thread(self._checked, model, wanted, frozenset(changes))
            return await self._put(model, named, person)

    async def reset_options(self, model: ModelRecord, *, person: PersonId) -> KeptOptions:
        """Take back everything that was set for a model."""
        async with self._changing:
            return await self._put(model, ModelOptions(), person)

    async def _put(self, model: ModelRecord, options: ModelOptions, person: PersonId) -> KeptOptions:
        kept = await asyncio.to_thread(self._records.put, model.id, options, person=person)
        before = self.options(model.id).options
        self._kept[model.id] = kept
        self._index()
        if (before.pinned, before.keep_s) != (options.pinned, options.keep_s):
            self._tell_keeping(model.id)
        return kept

    def _checked(self, model: ModelRecord, options: ModelOptions, changed: frozenset[str]) -> ModelOptions:
        """Names of other things as ids. Blocks."""
        if "aliases" in changed:
            self._names.check_aliases(model.id, options.aliases)
        return with_parts_named(model, options, changed, self._catalog)

    def _is_pinned(self, model: ModelId) -> bool:
        said = self.options(model).options.pinned
        return model in self._pinned if said is None else said

    # -- loading and unloading -------------------------------------------------------------------

    async def preload(
        self,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        keep_s: float | None = None,
        hear: Hear | None = None,
        task: LanguageTask | None = None,
    ) -> ModelState:
        """Load a model that nobody asks anything yet, and return when it is ready; at once when it is.

        Raises as `exchange`.
        """
        ready = [r for r in self._scheduler.residents(model.id) if r.state is ResidentState.READY]
        wanted = self._wanted(model, task=task)
        if any(r.plan.key == wanted.plan.key and not r.leaving for r in ready):
            if keep_s is not None:
                self.keep_loaded(model, keep_s)
        else:
            lease = await self._acquire(
                _Ask(wanted, person, WorkClass.INTERACTIVE, keep_s, f"loading {model.id} for {person}"),
                stop,
                hear,
            )
            lease.release()
        return self.state(model)

    def keep_loaded(self, model: ModelRecord, keep_s: float) -> None:
        """How long what is loaded of a model of any kind stays unused, until a request says something else;
        -1 for ever."""
        self._scheduler.keep_loaded(model.id, math.inf if keep_s < 0 else keep_s)

    async def unload(self, model: ModelRecord) -> ModelState:
        """Unload a model: now when it is idle; when its work is done when it is not. What is at work is never
        cut off, and nothing new begins on it meanwhile: a request that comes then, or waits already, is
        served by a fresh load. One that is being loaded goes when it is ready, unless somebody waits for it.

        Raises:
            NotLoaded: it is not loaded.
        """
        if not await self._scheduler.leave(model.id):
            raise NotLoaded(f"{model.id} is not loaded.", hint="GET /v1/runtime lists what is")
        return self.state(model)

    async def pin(self, model: ModelRecord, pinned: bool, *, person: PersonId) -> ModelState:
        """Never unload it for others once it is loaded, or do so again; kept as an option of the model."""
        await self.set_options(model, {"pinned": pinned}, person=person)
        return self.state(model)

    # -- asking ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def exchange(
        self,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        keep_s: float | None = None,
        context: int | None = None,
        hear: Hear | None = None,
        task: LanguageTask | None = None,
    ) -> AsyncIterator[Exchange]:
        """Wait until the model is loaded and has a free slot, and hold that.

        Args:
            keep_s: how long it stays loaded unused after this, until another request says something else;
                None leaves that as it is (at first the model's option, else `runtime.idle_unload_s`); -1 for
                ever; 0 not at all. Nothing but a pin keeps it from going when others need its memory.
            context: tokens that the request needs at least. An idle model that was loaded with fewer is
                loaded anew, as far as `language.max_context` and the model go; a busy one is used as it is,
                and `Exchange.choices` says so.
            task: what it is asked for; None: what it is for.

        Raises:
            LeaseStopped: `stop` was set while it waited.
            Invalid: no device could ever hold it (`model.too_large`).
            WrongTask: it cannot do the task.
            ChildFailed: it could not be loaded.
            Unavailable: the server is stopping.
        """
        wanted = self._wanted(model, task=task, context=context)
        ask = _Ask(wanted, person, work_class, keep_s, f"{_WORK[wanted.load.mode]} for {person}")

        async def again() -> Lease:
            return await self._acquire(ask, stop, None)

        lease = await self._acquire(ask, stop, hear)
        exchange = Exchange(
            model=model,
            lease=lease,
            again=again,
            told=lambda usage: self._counting.used(model.id, usage),
            asked=_Asked(context, stop),
        )
        self._counting.began(model.id)
        try:
            yield exchange
        except ChildFailed:
            self._counting.failed(model.id)
            raise
        finally:
            self._counting.ended(model.id)
            exchange.release()

    def _wanted(
        self, model: ModelRecord, *, task: LanguageTask | None = None, context: int | None = None
    ) -> Wanted:
        """Planned once for as long as the model and what is set for it stay the same: a plan costs more than
        all the rest of an exchange.

        Raises ModelUnusable, ModelNotFound, WrongTask, Invalid.
        """
        options = self.options(model.id).options
        kinds = self._kinds()
        which = (model.id, task, context, frozenset(kinds))
        found = self._planned.get(which)
        if found is not None and found[0] is model and found[1] is options:
            return found[2]
        wanted = self._plan(model, options, task, context, kinds)
        if len(self._planned) >= MAX_PLANNED:
            self._planned.clear()
        self._planned[which] = (model, options, wanted)
        return wanted

    def _plan(
        self,
        model: ModelRecord,
        options: ModelOptions,
        task: LanguageTask | None,
        context: int | None,
        kinds: Collection[str],
    ) -> Wanted:
        own = self._names.task_of(model) or LanguageTask.CHAT
        asked = own if task is None else task
        self._names.check(model, asked)
        return wanted_plan(
            model,
            options,
            self._defaults,
            own=own,
            asked=asked,
            pinned=self._is_pinned(model.id),
            keep_s=seconds_kept(options.keep_s),
            context=context,
            find=self._names.part,
            kinds=kinds,
        )

    async def _acquire(self, ask: "_Ask", stop: StopToken, hear: Hear | None) -> Lease:
        await self._make_larger(ask.wanted)
        request = self._scheduler.request(
            person=ask.person,
            work_class=ask.work_class,
            plan=ask.wanted.plan,
            label=ask.label,
            keep_s=seconds_kept(ask.keep_s),
        )
        return await acquire_told(self._scheduler, request, stop, hear)

    async def _make_larger(self, wanted: Wanted) -> None:
        """An idle process with less context than was asked for makes way for one with more."""
        if not wanted.context_asked:
            return
        for resident in self._scheduler.residents(wanted.plan.model):
            same = resident.plan.key == wanted.plan.key and resident.state is ResidentState.READY
            if same and not resident.leases and loaded_context(resident) < wanted.load.context:
                await self._scheduler.unload(resident.id)

    # -- looking ---------------------------------------------------------------------------------

    def state(self, model: ModelRecord) -> ModelState:
        """How a model is now; also of models that are not language models, without what only those have."""
        residents = self._scheduler.residents(model.id)
        wanted = None
        if model.kind is ModelKind.LANGUAGE and model.problem is None:
            try:
                wanted = self._wanted(model)
            except InglenookError as error:  # a part of it is missing: told where it is loaded
                log.debug("%s cannot be planned: %s", model.id, error)
        return state_of(
            model,
            residents,
            wanted,
            failure=self._scheduler.failure(model.id),
            load_s=self._scheduler.load_seconds(model.id),
            waiting=self._scheduler.waiting(model.id),
            pinned=self._is_pinned(model.id),
        )

    def counters(self) -> Mapping[ModelId, Counters]:
        """Of every model that was asked since the server started."""
        return self._counting.all()


@dataclass(frozen=True, slots=True)
class _Ask:
    wanted: Wanted
    person: PersonId
    work_class: WorkClass
    keep_s: float | None
    label: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the request wanted, against what it got."""

    context: int | None
    stop: StopToken

    @property
    def may_retry(self) -> bool:
        return not self.stop.is_set

    def choices(self, lease: Lease) -> tuple[Choice, ...]:
        plan = lease.loaded if lease.loaded is not None else lease.request.plan
        found: tuple[Choice, ...] = granted(
            plan.options.get("choices", ()),
            plan,
            device=lease.device.id,
            saving=lease.saving,
            budget_bytes=lease.device.budget_bytes,
        )
        have = loaded(lease).context
        if self.context is None or have >= self.context:
            return found
        reason = (
            f"the request asked for {self.context} tokens; the model is loaded with {have}: the most that it "
            "and the settings allow, or it was at work and could not be loaded anew"
        )
        return (*(one for one in found if one.name != "context"), Choice("context", have, "request", reason))


_NOTHING: Final = KeptOptions(ModelOptions())


def seconds_kept(keep_s: float | None) -> float | None:
    """As people write it (-1 for ever) → as the runtime takes it."""
    if keep_s is None:
        return None
    return math.inf if keep_s < 0 else keep_s


def loaded_context(resident: ResidentNow) -> int:
    load: LoadLanguageModel = resident.plan.options["load"]
    return load.context
