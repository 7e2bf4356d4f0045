# SPDX-License-Identifier: Apache-2.0
"""How a model is now, put together from what the runtime and the options say. Pure."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from inglenook.catalog.model import ModelRecord
from inglenook.chat import options as rules
from inglenook.chat.footprints import granted
from inglenook.chat.model import ModelOptions, ModelState
from inglenook.chat.plans import Wanted
from inglenook.runtime.contracts import Failure, LoadPlan, ResidentState
from inglenook.runtime.scheduler.snapshot import ResidentNow
from inglenook.wire.llama import LoadLanguageModel

OVERRUN = 0.25
"""Of the time that a load took so far, what is expected to follow when it took longer than expected."""

_WORDS: dict[ResidentState, Literal["ready", "loading", "unloading"]] = {
    ResidentState.STARTING: "loading",
    ResidentState.READY: "ready",
    ResidentState.DRAINING: "unloading",
}
_ORDER = (ResidentState.READY, ResidentState.STARTING, ResidentState.DRAINING)


def state_of(
    record: ModelRecord,
    residents: Sequence[ResidentNow],
    wanted: Wanted | None,
    *,
    failure: Failure | None,
    load_s: float | None,
    waiting: int,
    pinned: bool,
) -> ModelState:
    """Args:
    wanted: how it would be loaded now; None where that is not known.
    load_s: seconds that loading it took lately.
    pinned: as its options say; the runtime hears of a change a moment later.
    """
    if record.problem is not None:
        return ModelState(record.id, "unusable", problem=record.problem)
    loaded = [r for r in residents if r.state in _WORDS]
    loaded.sort(key=lambda r: (bool(r.plan.variant), _ORDER.index(r.state)))
    if loaded:
        return _of_resident(loaded[0], wanted, waiting, pinned=pinned)
    expected = load_s if load_s is not None else (None if wanted is None else wanted.plan.load_s)
    state = ModelState(
        record.id,
        "unloaded" if failure is None else "failed",
        away_s=expected,
        problem=None if failure is None else failure.message,
        expected_load_s=expected,
        waiting=waiting,
        pinned=pinned,
        keep_s=None if wanted is None else _written(wanted.plan.keep_s),
    )
    if wanted is None:
        return state
    return replace(
        state,
        context=wanted.load.context,
        mode=wanted.load.mode,
        choices=wanted.choices,
        capacity=wanted.plan.capacity,
    )


def _of_resident(resident: ResidentNow, wanted: Wanted | None, waiting: int, *, pinned: bool) -> ModelState:
    load = resident.plan.options.get("load")
    return ModelState(
        resident.plan.model,
        _WORDS[resident.state],
        away_s=_away_s(resident),
        since_s=round(resident.since_s, 3),
        expected_load_s=resident.expected_load_s,
        device=resident.device,
        reserved_bytes=resident.reserved_bytes,
        measured_bytes=resident.measured_bytes,
        leases=resident.leases,
        capacity=resident.plan.capacity,
        waiting=waiting,
        pinned=pinned,
        keep_s=_written(resident.keep_s),
        unload_in_s=None if pinned else _unload_in_s(resident),
        leaving=resident.leaving,
        context=load.context if isinstance(load, LoadLanguageModel) else None,
        mode=load.mode if isinstance(load, LoadLanguageModel) else None,
        choices=granted(
            resident.plan.options.get("choices", ()),
            resident.plan,
            device=resident.device,
            saving=resident.saving,
        ),
        stale=() if wanted is None else _stale(resident.plan, wanted.options),
    )


def _away_s(resident: ResidentNow) -> float:
    if resident.state is ResidentState.READY:
        return 0.0
    if resident.state is ResidentState.STARTING:
        return round(max(resident.expected_load_s - resident.since_s, OVERRUN * resident.since_s), 3)
    return resident.expected_load_s


def _unload_in_s(resident: ResidentNow) -> float | None:
    if resident.idle_s is None or resident.keep_s == math.inf or resident.state is not ResidentState.READY:
        return None
    return round(max(0.0, resident.keep_s - resident.idle_s), 3)


def _written(keep_s: float | None) -> float | None:
    return rules.FOREVER if keep_s == math.inf else keep_s


def _stale(plan: LoadPlan, now: ModelOptions) -> tuple[str, ...]:
    at_load: Any = plan.options.get("set")
    return rules.differing(at_load, now) if isinstance(at_load, ModelOptions) else ()
