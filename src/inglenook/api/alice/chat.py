# SPDX-License-Identifier: Apache-2.0
"""A message to a model that draws: its words are the prompt, its answer holds addresses of pictures."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.alice import fields as settings
from inglenook.api.alice.answers import Reply, stream, whole
from inglenook.api.alice.fields import SamConfig
from inglenook.api.alice.inputs import Intake, inputs_of, said
from inglenook.api.alice.names import find_lora, own_scheduler, with_found_loras
from inglenook.api.alice.requests import Asked, asked_for
from inglenook.api.chat import Chat, Unprocessable, read
from inglenook.api.errors import json_response
from inglenook.api.language.fields import Fields
from inglenook.api.openai.headers import idempotency_key, wants_later
from inglenook.base.cancel import StopReason
from inglenook.base.clock import Clock
from inglenook.base.errors import Conflict
from inglenook.base.ids import BlobId
from inglenook.catalog.model import ModelRecord
from inglenook.door.address import base_url
from inglenook.door.caller import Caller
from inglenook.door.disconnect import while_connected
from inglenook.door.services import Catalog, Images, Jobs, Links
from inglenook.door.sse import EventStream


class PictureChat:
    """Implements `api.chat.ChatHandler`."""

    def __init__(
        self, *, images: Images, jobs: Jobs, catalog: Catalog, links: Links, intake: Intake, clock: Clock
    ) -> None:
        self._images = images
        self._jobs = jobs
        self._catalog = catalog
        self._links = links
        self._intake = intake
        self._clock = clock

    async def answer(self, request: Request, who: Caller, fields: Fields, model: ModelRecord) -> Response:
        chat = read(fields)
        _ = chat.last_user_message
        config = _config(chat)
        later = wants_later(request)
        if later and chat.stream:
            raise Unprocessable("stream=true and Prefer: respond-async exclude each other.", field="stream")
        key = idempotency_key(request)
        asked = await self._asked(chat, config, model)
        job = await self._images.submit(asked.request, owner=who.person, idempotency_key=key)
        if later:
            headers = {"location": f"/v1/jobs/{job.id}", "preference-applied": "respond-async"}
            return json_response(self._jobs.describe(job), status_code=202, headers=headers)

        async def gone() -> None:
            """Nobody else waits for it; but who sent a key means to ask again after a broken connection."""
            if key is None:
                with suppress(Conflict):  # it has just ended
                    await self._jobs.cancel(job.id, caller=who.person, reason=StopReason.CLIENT_GONE)

        reply = await self._reply(request, chat, model, asked)
        if chat.stream:
            return EventStream(stream(self._jobs.subscribe(job.id, job.event_seq), reply), on_gone=gone)
        done = await while_connected(request.receive, self._jobs.wait(job.id), on_gone=gone)
        return json_response(whole(done, reply))

    async def _asked(self, chat: Chat, config: SamConfig, model: ModelRecord) -> Asked:
        index = chat.last_user_message
        message = said(chat.messages[index], f"messages.{index}")
        inputs = inputs_of(config, message)
        prompt, loras = await run_in_threadpool(self._named, message.text, config)
        pictures: Sequence[BlobId] = await self._intake.keep(inputs)
        return asked_for(config, model, prompt=prompt, loras=loras, pictures=pictures)

    def _named(self, prompt: str, config: SamConfig) -> tuple[str, list[ModelRecord]]:
        """The prompt with LoRAs called by their ids, and the LoRAs of the configuration. Blocks."""
        loras = [find_lora(self._catalog, name) for name in config.lora_paths]
        return with_found_loras(self._catalog, prompt), loras

    async def _reply(self, request: Request, chat: Chat, model: ModelRecord, asked: Asked) -> Reply:
        return Reply(
            id=f"chatcmpl-{secrets.token_hex(6)}",
            created=int(self._clock.now().timestamp()),
            model=chat.model,
            base_url=base_url(request),
            links=self._links,
            own_scheduler=await run_in_threadpool(own_scheduler, model),
            notes=asked.notes,
            include_usage=chat.include_usage,
        )


def _config(chat: Chat) -> SamConfig:
    """What is said of the picture; OpenAI's `n` is the number of pictures where nothing else says it."""
    config = settings.read(chat.body)
    n = chat.body.get("n")
    if n is None or config.num_images != 1:
        return config
    return replace(config, num_images=settings.FIELDS["num_images"].read(n, "n", lax=False))
