# SPDX-License-Identifier: Apache-2.0
"""A job of pictures → what OpenAI's clients read, whole or as a stream of events."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from inglenook.api.errors import as_error, error_of_job
from inglenook.base.clock import Clock
from inglenook.base.errors import Failed, InglenookError, Unavailable
from inglenook.base.ids import PersonId, PictureId
from inglenook.door.problem import problem_of
from inglenook.door.services import Gallery
from inglenook.door.sse import ServerEvent
from inglenook.jobs.model import FINAL, EventType, Job, JobError, JobEvent, JobState

NO_TOKENS: dict[str, Any] = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "total_tokens": 0,
}
"""`usage` counts what is billed. The current SDK's events need it, and here nothing is billed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What of a request shapes its answer.

    Attributes:
        subject: the first half of the names of its events: `image_generation` or `image_edit`.
        background: that was asked for.
        base_url: of the server as the client wrote it, with a final slash.
        urls: the pictures as addresses instead of base64.
        partial_images: how many unfinished views of each picture were asked for.
    """

    subject: str
    person: PersonId
    base_url: str
    urls: bool
    quality: str
    output_format: str
    clock: Clock
    background: str = "opaque"
    revised_prompt: str | None = None
    safety_identifier: str | None = None
    partial_images: int = 0


def require_success(job: Job) -> Job:
    """Raise what the job failed with. Pictures that were finished are kept, and the hint says where."""
    if job.state is JobState.SUCCEEDED:
        return job
    given = None if job.error is None else asdict(job.error)
    made = len(job.result.get("parts", []))
    hint = f"{made} of its pictures were finished and are kept; see /v1/jobs/{job.id}" if made else None
    raise error_of_job(_why(job.id, job.state, given), hint=hint)


def _why(job: str, state: JobState, error: Mapping[str, Any] | None) -> JobError:
    """`error` of a job that ended in `state`, or what can be said when it has none."""
    if error is not None:
        return JobError(**error)
    kind = "cancelled" if state is JobState.CANCELLED else "failed"
    return JobError(f"job.{state}", kind, f"The job {job} was {state}.")


def picture_url(base_url: str, picture: str) -> str:
    return f"{base_url}v1/pictures/{picture}/file"


async def whole(job: Job, reply: Reply, *, gallery: Gallery) -> dict[str, Any]:
    """The answer to a request that waited. Raises as `require_success`."""
    parts: list[Mapping[str, Any]] = require_success(job).result.get("parts", [])
    if not parts:
        raise Failed(f"The job {job.id} has ended without a picture.", code="job.empty")
    data = [await _datum(part, reply, gallery) for part in sorted(parts, key=lambda part: part["index"])]
    moment = job.created_at if job.finished_at is None else job.finished_at
    answer = {
        "created": int(moment.timestamp()),
        "background": _background(reply, parts),
        "data": data,
        "output_format": reply.output_format,
        "quality": reply.quality,
        "size": _size(parts[0]),
        "usage": NO_TOKENS,
        "job_id": job.id,
        "engine": job.result.get("engine"),
        "model": job.result.get("model"),
    }
    if reply.safety_identifier is not None:
        answer["safety_identifier"] = reply.safety_identifier
    return answer


async def _datum(part: Mapping[str, Any], reply: Reply, gallery: Gallery) -> dict[str, Any]:
    picture = part["picture_id"]
    return {
        "b64_json": None if reply.urls else await _base64(PictureId(picture), reply.person, gallery),
        "url": picture_url(reply.base_url, picture) if reply.urls else None,
        "revised_prompt": reply.revised_prompt,
        **_ours(part),
    }


def _ours(part: Mapping[str, Any]) -> dict[str, Any]:
    """`matted_by`: what cut the background away: a model, `border`, null. `notes`: what is not as asked."""
    told = {name: part[name] for name in ("picture_id", "index", "seed", "width", "height")}
    return {**told, "matted_by": part.get("matted_by"), "notes": list(part.get("notes") or ())}


def _background(reply: Reply, parts: Sequence[Mapping[str, Any]]) -> str:
    """As it came out: one picture whose background could not be cut away makes all of them `opaque`."""
    freed = all(part.get("matted_by") is not None for part in parts)
    return reply.background if freed else "opaque"


def _size(part: Mapping[str, Any]) -> str:
    return f"{part['width']}x{part['height']}"


async def _base64(picture: PictureId, person: PersonId, gallery: Gallery) -> str:
    return await asyncio.to_thread(_read, picture, person, gallery)


def _read(picture: PictureId, person: PersonId, gallery: Gallery) -> str:
    kept, _ = gallery.file(picture, caller=person)
    data = kept.read_bytes() if isinstance(kept, Path) else kept
    return base64.b64encode(data).decode("ascii")


async def stream(
    events: AsyncGenerator[JobEvent, None], reply: Reply, *, gallery: Gallery
) -> AsyncGenerator[ServerEvent, None]:
    """The job's news as OpenAI's events: partial views, one `completed` a picture, or `error` at the end."""
    pictures = _Pictures(reply, gallery)
    try:
        async with aclosing(events):
            async for event in events:
                for content in await pictures.tell(event):
                    yield _as_event(content)
        if not pictures.is_final:
            raise Unavailable("The server is stopping.", code="job.stopping", hint="try again when it is up")
    except InglenookError as error:
        yield _as_event(_error(error))


def _as_event(content: dict[str, Any]) -> ServerEvent:
    return ServerEvent(data=msgspec.json.encode(content).decode(), event=content["type"])


def _error(error: InglenookError) -> dict[str, Any]:
    return {"type": "error", "error": as_error(problem_of(error))}


def _failure(job: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last event of a job (as JSON) that has ended without success."""
    state = JobState(job["state"])
    if state not in FINAL or state is JobState.SUCCEEDED:
        return None
    return _error(error_of_job(_why(job["id"], state, job["error"])))


class _Pictures:
    """Which views and pictures of a job have been told already."""

    def __init__(self, reply: Reply, gallery: Gallery) -> None:
        self._reply = reply
        self._gallery = gallery
        self._views: dict[int, int] = {}
        self._told: set[str] = set()
        self.is_final = False  # the job has told its end

    async def tell(self, event: JobEvent) -> list[dict[str, Any]]:
        """What of the job's event a client of OpenAI's understands."""
        if event.type is EventType.PREVIEW:
            told = [self.partial(event)]
        elif event.type is EventType.RESULT:
            told = [await self.completed(event.data)]
        elif event.type is EventType.STATE:  # holds every picture so far, also one whose news was missed
            told = [await self.completed(part) for part in event.data["result"].get("parts", [])]
            told.append(_failure(event.data))
            self.is_final = event.data["state"] in FINAL
        else:
            told = []
        return [content for content in told if content is not None]

    def partial(self, event: JobEvent) -> dict[str, Any] | None:
        """A view, or None when as many as were asked for have been told."""
        picture = int(event.data["picture"])
        index = self._views.get(picture, 0)
        if index >= self._reply.partial_images:
            return None
        self._views[picture] = index + 1
        format_of_view = str(event.data["media_type"]).removeprefix("image/")
        return {
            **self._frame("partial_image", size="auto", output_format=format_of_view),
            "b64_json": event.data["b64"],
            "partial_image_index": index,
            "index": picture,
            "step": event.data["step"],
        }

    async def completed(self, part: Mapping[str, Any]) -> dict[str, Any] | None:
        """A finished picture, or None when it was told before."""
        picture = PictureId(part["picture_id"])
        if picture in self._told:
            return None
        self._told.add(picture)
        made = {
            **self._frame("completed", size=_size(part), output_format=self._reply.output_format),
            "background": _background(self._reply, [part]),
            "b64_json": await _base64(picture, self._reply.person, self._gallery),
            "usage": NO_TOKENS,
            "revised_prompt": self._reply.revised_prompt,
            "engine": part.get("engine"),
            "model": part.get("model"),
            **_ours(part),
        }
        if self._reply.safety_identifier is not None:
            made["safety_identifier"] = self._reply.safety_identifier
        return made

    def _frame(self, what: str, *, size: str, output_format: str) -> dict[str, Any]:
        return {
            "type": f"{self._reply.subject}.{what}",
            "created_at": int(self._reply.clock.now().timestamp()),
            "background": self._reply.background,
            "output_format": output_format,
            "quality": self._reply.quality,
            "size": size,
        }
