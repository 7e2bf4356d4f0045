# SPDX-License-Identifier: Apache-2.0
"""A job of pictures → what ALICE's clients read: one message with addresses, whole or in pieces.

Both spellings of every field that ALICE's documents and ALICE itself spell differently. In pieces the chunks
are OpenAI's; how far the drawing is stands in each as `progress`, which other clients leave alone.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from inglenook.api.errors import as_error, error_of_job
from inglenook.base.errors import Failed, InglenookError, Unavailable
from inglenook.base.ids import PictureId
from inglenook.door.problem import problem_of
from inglenook.door.services import Links
from inglenook.door.sse import ServerEvent
from inglenook.jobs.model import FINAL, EventType, Job, JobError, JobEvent, JobState

USAGE: dict[str, int] = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "promptTokens": 0,
    "completionTokens": 0,
    "totalTokens": 0,
}
"""Nothing is counted in tokens here. ALICE's documents spell it one way, its clients read the other."""

_MODES: Mapping[str, str] = {"text": "txt2img"}
"""Our modes in ALICE's words; whatever begins from a picture is img2img."""


def signed_url(base: str, links: Links, picture: PictureId, media_type: str) -> str:
    """An address that needs no key. `base`: of the server, with a final slash."""
    return f"{base}images/{links.name(picture, media_type)}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What of a request shapes its answer.

    Attributes:
        id: `chatcmpl-…`. created: seconds since 1970.
        model: as the client wrote it.
        base_url: of the server as the client wrote it, with a final slash.
        own_scheduler: what draws where the request names no scheduler, or None.
        notes: what of the request had no effect, beside what the job says.
    """

    id: str
    created: int
    model: str
    base_url: str
    links: Links
    own_scheduler: str | None
    notes: tuple[str, ...]
    include_usage: bool = False

    def urls(self, parts: list[Mapping[str, Any]]) -> list[str]:
        return [
            signed_url(self.base_url, self.links, PictureId(part["picture_id"]), part["media_type"])
            for part in parts
        ]

    def frame(self, what: str) -> dict[str, Any]:
        return {"id": self.id, "object": what, "created": self.created, "model": self.model}


def whole(job: Job, reply: Reply) -> dict[str, Any]:
    """The answer to a request that waited.

    Raises:
        InglenookError: what the job failed with.
    """
    message = {"role": "assistant", **_made(_ended(asdict(job)), reply)}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "finishReason": "stop"}
    return {**reply.frame("chat.completion"), "choices": [choice], "usage": USAGE, "job_id": job.id}


async def stream(events: AsyncGenerator[JobEvent, None], reply: Reply) -> AsyncGenerator[ServerEvent, None]:
    """The job's news as chunks: progress while it waits and draws, then the message, then `[DONE]`; or an
    `error` as the last one."""
    yield _event(_chunk(reply, {"role": "assistant", "content": ""}))
    try:
        async with aclosing(events):
            async for event in events:
                if event.type in (EventType.PROGRESS, EventType.WAIT):
                    yield _event(_chunk(reply, {}) | {"progress": progress_of(event)})
                elif event.type is EventType.STATE and event.data["state"] in FINAL:
                    for chunk in _last(event.data, reply):
                        yield _event(chunk)
                    yield ServerEvent("[DONE]")
                    return
        raise Unavailable("The server is stopping.", code="job.stopping", hint="try again when it is up")
    except InglenookError as error:
        yield _event({"error": as_error(problem_of(error))})


def progress_of(event: JobEvent) -> dict[str, Any]:
    """How far a job is, or why it waits; None where that cannot be told."""
    data = event.data
    reason = data.get("reason") or {}
    waits = event.type is EventType.WAIT
    return {
        "stage": "waiting" if waits else data.get("stage"),
        "progress": None if waits else data.get("progress"),
        "step": data.get("step"),
        "steps": data.get("steps"),
        "picture": data.get("picture"),
        "pictures": data.get("pictures"),
        "position": data.get("position"),
        "waiting": data.get("waiting"),
        "reason": reason.get("text"),
        "estimate_s": data.get("estimate_s"),
    }


def _last(job: Mapping[str, Any], reply: Reply) -> list[dict[str, Any]]:
    """The message, its end, and the usage where it was asked for. Raises what the job failed with."""
    made = _made(_ended(job), reply)
    shown = "\n\n".join(f"![picture {index}]({url})" for index, url in enumerate(made["image_urls"], start=1))
    # Who streams is no client of ALICE's, which never did; such clients show what stands in the text.
    made["content"] = f"{made['content']}\n\n{shown}"
    chunks = [_chunk(reply, made), _chunk(reply, {}, finish="stop")]
    if reply.include_usage:
        chunks.append({**reply.frame("chat.completion.chunk"), "choices": [], "usage": USAGE})
    return chunks


def _chunk(reply: Reply, delta: Mapping[str, Any], *, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish, "finishReason": finish}
    return {**reply.frame("chat.completion.chunk"), "choices": [choice]}


def _event(content: Mapping[str, Any]) -> ServerEvent:
    return ServerEvent(msgspec.json.encode(content).decode())


def _ended(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """A job that has succeeded and has pictures. Raises what it failed with."""
    state = JobState(job["state"])
    if state is not JobState.SUCCEEDED:
        kind = "cancelled" if state is JobState.CANCELLED else "failed"
        fallback = JobError(f"job.{state}", kind, f"The job {job['id']} was {state}.")
        made = len(job["result"].get("parts", []))
        hint = (
            f"{made} of its pictures were finished and are kept; see /v1/jobs/{job['id']}" if made else None
        )
        raise error_of_job(fallback if job["error"] is None else JobError(**job["error"]), hint=hint)
    if not job["result"].get("parts"):
        raise Failed(f"The job {job['id']} has ended without a picture.", code="job.empty")
    return job


def _made(job: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    parts = sorted(job["result"]["parts"], key=lambda part: part["index"])
    return {
        "content": f"{len(parts)} image(s) generated successfully.",
        "image_urls": reply.urls(parts),
        "metadata": _metadata(job, parts, reply),
    }


def _metadata(job: Mapping[str, Any], parts: list[Mapping[str, Any]], reply: Reply) -> dict[str, Any]:
    """What was really used: ALICE's fields, then ours."""
    drawing: Mapping[str, Any] = job["payload"]
    image = drawing.get("image")
    loras = drawing.get("loras", ())
    return {
        "prompt": drawing["prompt"],
        "negative_prompt": drawing["negative_prompt"],
        "steps": drawing["steps"],
        "guidance_scale": drawing["guidance_scale"],
        "seed": parts[0]["seed"],
        "model": drawing["model"],
        "scheduler": drawing["scheduler"] or reply.own_scheduler,
        "width": parts[0]["width"],
        "height": parts[0]["height"],
        "mode": _MODES.get(drawing["mode"], "img2img"),
        "input_image_count": 0 if image is None else 1 + len(drawing.get("more_images", ())),
        "seeds": [part["seed"] for part in parts],
        "strength": drawing.get("strength"),
        "loras": [one["model"] for one in loras],
        "lora_scales": [one["weight"] for one in loras],
        "picture_ids": [part["picture_id"] for part in parts],
        "notes": [*drawing.get("notes", ()), *reply.notes],
    }
