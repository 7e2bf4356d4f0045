# SPDX-License-Identifier: Apache-2.0
"""Drawing from the terminal: through a server that runs, or in a workshop of our own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from inglenook.base import errors
from inglenook.base.errors import Cancelled, Failed, InglenookError
from inglenook.base.ids import OWNER, JobId, PictureId
from inglenook.base.units import format_bytes, format_seconds
from inglenook.cli.client import ServerClient, server_events
from inglenook.cli.order import Order
from inglenook.cli.screen import Progress

if TYPE_CHECKING:
    from inglenook.app import Workshop

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """One finished picture. `index` counts from 0; width and height in pixels. `engine`, `model`: that drew
    it, None where the server is too old to say."""

    id: str
    index: int
    seed: int
    width: int
    height: int
    data: bytes
    engine: str | None = None
    model: str | None = None


class Desk(Protocol):
    """Where pictures are ordered. Each method raises `InglenookError`."""

    async def submit(self, order: Order) -> str:
        """Hand the order in; the job's id."""
        ...

    def events(self, job: str) -> AsyncIterator[tuple[str, Json]]:
        """(type, data) as `jobs.model.EventType` says, until the job is final."""
        ...

    async def cancel(self, job: str) -> Json:
        """Stop it and wait until it has stopped; the job as JSON."""
        ...

    async def file(self, picture: str) -> bytes: ...


class ServerDesk:
    """Through a running server."""

    def __init__(self, client: ServerClient) -> None:
        self._client = client

    async def submit(self, order: Order) -> str:
        path = "/v1/images/edits" if order.images else "/v1/images/generations"
        job = await self._client.order(path, order)
        return str(job["id"])

    async def events(self, job: str) -> AsyncIterator[tuple[str, Json]]:
        async with self._client.stream("GET", f"/v1/jobs/{job}/events") as response:
            async for event in server_events(response):
                yield event

    async def cancel(self, job: str) -> Json:
        answer: Json = await self._client.post(f"/v1/jobs/{job}/cancel")
        return answer

    async def file(self, picture: str) -> bytes:
        return await self._client.bytes_at(f"/v1/pictures/{picture}/file")


class WorkshopDesk:
    """In this process, where no server runs."""

    def __init__(self, workshop: "Workshop") -> None:
        self._workshop = workshop

    async def submit(self, order: Order) -> str:
        from inglenook.api.openai import requests
        from inglenook.api.openai.fields import EditFields, GenerationFields, read

        images, catalog = self._workshop.images, self._workshop.catalog
        if not order.images:
            fields = read(GenerationFields, order.fields, from_form=False)
            model = await asyncio.to_thread(catalog.resolve, fields.model)
            return str((await images.submit(requests.generation(fields, model), owner=OWNER)).id)
        edit = read(EditFields, order.fields, from_form=False)
        model = await asyncio.to_thread(catalog.resolve, edit.model)
        kept = [await images.keep_input(data) for data in order.images]
        mask = None if order.mask is None else await images.keep_mask(order.mask)
        asked = requests.edit(edit, model, images=kept, mask=mask)
        return str((await images.submit(asked, owner=OWNER)).id)

    async def events(self, job: str) -> AsyncIterator[tuple[str, Json]]:
        async for event in self._workshop.jobs.subscribe(JobId(job)):
            yield str(event.type), event.data

    async def cancel(self, job: str) -> Json:
        jobs = self._workshop.jobs
        stopped: Json = jobs.describe(await jobs.cancel(JobId(job), caller=OWNER))
        return stopped

    async def file(self, picture: str) -> bytes:
        return await asyncio.to_thread(self._read, PictureId(picture))

    def _read(self, picture: PictureId) -> bytes:
        kept, _ = self._workshop.gallery.file(picture, caller=OWNER)
        return kept.read_bytes() if isinstance(kept, Path) else kept


async def draw(
    desk: Desk, order: Order, *, progress: Progress, keep: Callable[[Made], Awaitable[None]]
) -> str:
    """Order, show how it goes, hand each picture to `keep` as soon as it is finished; the job's id.

    Cancelling this task (Ctrl-C) cancels the job.

    Raises:
        Cancelled: the job was cancelled, here or elsewhere.
        InglenookError: what the job failed with.
    """
    submitting = asyncio.ensure_future(desk.submit(order))
    try:
        job = await asyncio.shield(submitting)
        await _follow(desk, job, order, progress=progress, keep=keep)
    except asyncio.CancelledError:
        _take_back_the_interrupt()
        job = await submitting  # an order that is on its way arrives, and nobody else would cancel it
        await _stop(desk, job, progress)
        raise Cancelled(f"The job {job} was cancelled.", code="job.cancelled") from None
    return job


async def _follow(
    desk: Desk, job: str, order: Order, *, progress: Progress, keep: Callable[[Made], Awaitable[None]]
) -> None:
    fetched: set[str] = set()

    async def fetch(part: Mapping[str, Any]) -> None:
        picture = str(part["picture_id"])
        if picture in fetched:
            return
        fetched.add(picture)
        data = await desk.file(picture)
        size = int(part["width"]), int(part["height"])
        drawn_by = part.get("engine"), part.get("model")
        await keep(Made(picture, int(part["index"]), int(part["seed"]), *size, data, *drawn_by))

    async for kind, data in desk.events(job):
        if kind == "result":
            await fetch(data)
        elif kind == "state":
            for part in data["result"].get("parts", []):
                await fetch(part)
            if data["state"] in _ENDS:
                return _end(data)
            _show_wait(data.get("explanation"), progress)
        else:
            _show(kind, data, order, progress)
    raise Failed(f"The news of job {job} ended before the job did.", code="cli.no_end")


_ENDS = frozenset({"succeeded", "failed", "cancelled", "interrupted"})


def _end(job: Mapping[str, Any]) -> None:
    """Return when it succeeded; raise what it ended with otherwise."""
    if job["state"] == "succeeded":
        return
    error = job.get("error")
    if error is not None:
        raise error_of_job(error)
    if job["state"] == "cancelled":
        raise Cancelled(f"The job {job['id']} was cancelled.", code="job.cancelled")
    hint = f"begin it again with `inglenook jobs retry {job['id']}`"
    raise Failed(f"The job {job['id']} was {job['state']}.", code=f"job.{job['state']}", hint=hint)


def error_of_job(error: Mapping[str, Any]) -> InglenookError:
    """What a job failed with, as the error that it was."""
    by_kind = {
        kind.kind: kind
        for kind in (
            errors.NotFound,
            errors.Invalid,
            errors.TooLarge,
            errors.Conflict,
            errors.Denied,
            errors.Busy,
            errors.Unavailable,
            errors.Cancelled,
            errors.Failed,
        )
    }
    kind = by_kind.get(str(error["kind"]), errors.Failed)
    return kind(str(error["message"]), code=str(error["code"]), hint=error.get("hint"))


def _show(kind: str, data: Mapping[str, Any], order: Order, progress: Progress) -> None:
    if kind == "progress":
        progress.update(
            float(data["progress"]),
            label(data, int(order.fields.get("n", 1))),
            estimate_s=data.get("estimate_s"),
        )
    elif kind == "wait":
        _show_wait(data, progress)
    elif kind == "notice":
        progress.message(f"note: {data['text']}")


def label(data: Mapping[str, Any], pictures: int) -> str:
    """``picture 2 of 3, step 4 of 8``; the stage's name while no steps are taken."""
    parts = []
    if pictures > 1 and data.get("picture") is not None:
        parts.append(f"picture {int(data['picture']) + 1} of {pictures}")
    if data.get("stage") == "denoise" and data.get("step") is not None:
        parts.append(f"step {data['step']} of {data['steps']}")
    elif data.get("stage"):
        parts.append(str(data["stage"]))
    return ", ".join(parts)


def _show_wait(explanation: Mapping[str, Any] | None, progress: Progress) -> None:
    if explanation is None:
        return
    reason = explanation.get("reason", {})
    position, waiting = explanation.get("position"), explanation.get("waiting")
    place = f" (number {position} of {waiting})" if position is not None and (waiting or 0) > 1 else ""
    estimate = explanation.get("estimate_s")
    soon = "" if estimate is None else f", about {format_seconds(float(estimate))}"
    progress.status((reason.get("kind"), position), f"waiting{place}{soon}: {reason.get('text', '')}")


def _take_back_the_interrupt() -> None:
    """So that cancelling can be awaited; a second Ctrl-C ends that wait."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


async def _stop(desk: Desk, job: str, progress: Progress) -> None:
    progress.message("cancelling …")
    try:
        stopped = await desk.cancel(job)
    except errors.Conflict:  # it was final just before
        return
    progress.message(receipt_text(stopped))


def receipt_text(job: Mapping[str, Any]) -> str:
    """What a cancel did, in a line."""
    receipt = job.get("receipt")
    if job["state"] == "succeeded":
        return "it was finished before it could stop"
    if receipt is None:
        return f"it is {job['state']}" if job["state"] in _ENDS else "it has not stopped yet; the wish stands"
    before, after = receipt.get("before_bytes"), receipt.get("after_bytes")
    memory = f", {format_bytes(before)} → {format_bytes(after)}" if None not in (before, after) else ""
    return f"stopped in {format_seconds(float(receipt['seconds']))}: {receipt['how']}{memory}"
