# SPDX-License-Identifier: Apache-2.0
"""What the machine does, as the page shows it: memory by holder, who waits, what was decided, jobs. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inglenook.base.units import format_bytes, format_seconds
from inglenook.jobs.model import FINAL, Job, JobState
from inglenook.web import words
from inglenook.web.fire import away_words

_HOLDS_MEMORY = frozenset({"starting", "ready", "parking", "parked", "resuming", "draining"})
_STATES: Mapping[str, str] = {
    "starting": "being loaded",
    "ready": "idle",
    "parking": "being parked",
    "parked": "parked",
    "resuming": "coming back",
    "draining": "being unloaded",
    "failed": "failed",
    "stopped": "gone",
}
_DECIDED: Mapping[str, str] = {
    "loading": "loads",
    "ready": "is ready",
    "unloading": "is unloaded",
    "failed": "failed",
    "refused": "was refused",
    "parking": "is being parked",
    "parked": "is parked",
    "resuming": "is brought back",
    "resumed": "is back",
}
KINDS: Mapping[str, str] = {"image": "Picture", "sprite": "Sprite"}
"""Kinds of jobs in words; another is shown by its own name."""

GROUPS: Mapping[str, tuple[str, frozenset[JobState] | None]] = {
    "": ("All", None),
    "active": ("Unfinished", frozenset(JobState) - FINAL),
    "done": ("Done", frozenset({JobState.SUCCEEDED})),
    "failed": ("Did not succeed", FINAL - {JobState.SUCCEEDED}),
}
"""What the list of jobs can be narrowed to."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a device's memory, in per cent of the whole. `number`: its colour; -1 for other programs."""

    words: str
    size: str
    from_percent: float
    percent: float
    number: int


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """`budget_percent`: where in the bar the budget ends."""

    id: str
    name: str
    total: str
    budget: str
    reserved: str
    used: str
    foreign: str
    budget_percent: float
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class ResidentRow:
    id: str
    model: str
    engine: str
    device: str
    state: str
    state_words: str
    memory: str
    since: str
    asked_by: str
    reason: str
    pinned: bool
    can_unload: bool
    number: int
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WaitRow:
    position: str
    work: str
    model: str
    line: str
    detail: str


@dataclass(frozen=True, slots=True)
class NoteRow:
    when: str
    what: str
    decided: str
    model: str
    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class Now:
    """All of the runtime."""

    devices: tuple[DeviceRow, ...]
    residents: tuple[ResidentRow, ...]
    queue: tuple[WaitRow, ...]
    recent: tuple[NoteRow, ...]


@dataclass(frozen=True, slots=True)
class JobRow:
    id: str
    kind: str
    title: str
    state: JobState
    state_words: str
    percent: int | None
    line: str
    detail: str
    cost: str
    created_at: str
    error: str
    hint: str
    receipt: str
    seq: int
    pictures: tuple[str, ...]
    place: str

    @property
    def active(self) -> bool:
        return self.state not in FINAL

    @property
    def can_retry(self) -> bool:
        return self.state in FINAL - {JobState.SUCCEEDED}


def now_of(snapshot: Mapping[str, Any]) -> Now:
    """`snapshot`: the runtime as JSON."""
    residents = [it for it in snapshot["residents"] if it["state"] in _HOLDS_MEMORY]
    numbers = {it["id"]: number for number, it in enumerate(residents)}
    queue = sorted(snapshot["queue"], key=lambda it: int(it["position"]))
    return Now(
        devices=tuple(_device(device, residents, numbers) for device in snapshot["devices"]),
        residents=tuple(_resident(it, numbers[it["id"]]) for it in residents),
        queue=tuple(_waiting(it) for it in queue),
        recent=tuple(_note(it) for it in snapshot.get("recent") or ()),
    )


def _device(
    device: Mapping[str, Any], residents: Sequence[Mapping[str, Any]], numbers: Mapping[str, int]
) -> DeviceRow:
    total = max(1, int(device.get("total_bytes") or device["budget_bytes"]))
    here = [it for it in residents if it["device"] == device["id"]]
    used = device.get("used_bytes")
    measured = sum(int(it.get("measured_bytes") or 0) for it in here)
    foreign = 0 if used is None else max(0, int(used) - measured)
    held = [(str(it["model"]), int(it["reserved_bytes"]), numbers[it["id"]]) for it in here]
    if foreign:
        held.append(("other programs", foreign, -1))
    return DeviceRow(
        id=str(device["id"]),
        name=f"Processor: {device['name']}" if device["kind"] == "cpu" else str(device["name"]),
        total=format_bytes(total),
        budget=format_bytes(int(device["budget_bytes"])),
        reserved=format_bytes(int(device["reserved_bytes"])),
        used="" if used is None else format_bytes(int(used)),
        foreign=format_bytes(foreign) if foreign else "",
        budget_percent=min(100.0, 100 * int(device["budget_bytes"]) / total),
        shares=tuple(_shares(held, total)),
    )


def _shares(held: Iterable[tuple[str, int, int]], total: int) -> Iterable[Share]:
    at = 0.0
    for holder, size_bytes, number in held:
        percent = min(100 - at, 100 * size_bytes / total)
        yield Share(holder, format_bytes(size_bytes), at, percent, number if number < 0 else number % 4)
        at += percent


def _resident(it: Mapping[str, Any], number: int) -> ResidentRow:
    at_work = bool(it["leases"])
    state = str(it["state"])
    measured = it.get("measured_bytes")
    memory = f"{format_bytes(int(it['reserved_bytes']))} reserved"
    if measured:
        memory += f", {format_bytes(int(measured))} used"
    return ResidentRow(
        id=str(it["id"]),
        model=str(it["model"]),
        engine=str(it.get("engine") or ""),
        device=str(it["device"]),
        state=state,
        state_words=away_words(it) or (_at_work(it) if at_work else _STATES.get(state, state)),
        memory=memory,
        since=_idle(it.get("idle_s")) if state == "ready" and not at_work else "",
        asked_by=str(it.get("asked_by") or ""),
        reason=str(it.get("reason") or (it.get("parking") or {}).get("reason") or ""),
        pinned=bool(it.get("pinned")),
        can_unload=state == "ready" and not at_work,
        number=number % 4,
        log=tuple(str(line) for line in it.get("log") or ()),
    )


def _at_work(it: Mapping[str, Any]) -> str:
    """And how far, where the work tells."""
    return ": ".join(["at work", *map(str, it.get("progress") or ())][:2])


def _idle(seconds: Any) -> str:
    """In steps, so that the page is not written anew each second."""
    if seconds is None:
        return ""
    whole = int(float(seconds))
    if whole < 10:
        return "for a moment"
    return f"for {whole // 10 * 10} s" if whole < 60 else f"for {whole // 60} min"


def _waiting(it: Mapping[str, Any]) -> WaitRow:
    return WaitRow(
        position=str(it["position"]),
        work=str(it["work"]),
        model=str(it.get("model") or ""),
        line=words.wait_line(it),
        detail=words.wait_detail(it),
    )


def _note(it: Mapping[str, Any]) -> NoteRow:
    what = str(it["what"])
    return NoteRow(
        when=str(it["when"]),
        what=what,
        decided=_DECIDED.get(what, what),
        model=str(it["model"]),
        device=str(it.get("device") or ""),
        reason=str(it["reason"]),
    )


def job_row(job: Job, waiting: Mapping[str, Any] | None = None) -> JobRow:
    """`waiting`: why it waits now, where that is known."""
    line, percent, detail = "", None, ""
    if job.state in (JobState.QUEUED, JobState.WAITING):
        line, detail = words.wait_line(waiting), words.wait_detail(waiting)
    elif job.state in (JobState.RUNNING, JobState.PAUSED):
        line, percent = words.running_line(job), words.percent(job.progress)
    parts = job.result.get("parts") or ()
    return JobRow(
        id=job.id,
        kind=KINDS.get(job.kind, job.kind.capitalize()),
        title=job.title or str(job.payload.get("prompt") or "without words")[:80],
        state=job.state,
        state_words=words.STATE_WORDS[job.state] if job.kind in KINDS else job.state.value,
        percent=percent,
        line=line,
        detail=detail,
        cost=_cost(job),
        created_at=job.created_at.isoformat(),
        error="" if job.error is None else job.error.message,
        hint="" if job.error is None else job.error.hint or "",
        receipt="" if job.receipt is None else words.receipt_line(job.receipt),
        seq=job.event_seq,
        pictures=tuple(str(part["picture_id"]) for part in parts)[:8],
        place=f"/?job={job.id}#{job.id}" if job.kind == "image" else "",
    )


def _cost(job: Job) -> str:
    """Seconds of the accelerator, and how much of its memory for how long."""
    if job.cost_s <= 0:
        return ""
    return f"{format_seconds(job.cost_s)}, {format_bytes(round(job.cost_byte_s / job.cost_s))} held"
