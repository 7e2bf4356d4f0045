# SPDX-License-Identifier: Apache-2.0
"""POST /api/embed, and the older /api/embeddings."""

import math
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import answer, json_response
from inglenook.api.keep_alive import keep_seconds
from inglenook.api.ollama.bodies import flag, model_name, read_object, text
from inglenook.api.ollama.chat import nothing
from inglenook.api.ollama.errors import errors
from inglenook.api.ollama.held import Desk, Held
from inglenook.api.ollama.names import require_task
from inglenook.api.ollama.options import options_of
from inglenook.api.relay import Wait
from inglenook.base.errors import Failed, Invalid
from inglenook.base.ids import PersonId
from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown

MAX_INPUTS: Final = 4096
_AS_IT_IS: Final = -1
_VECTOR: Final[dict[str, Any]] = {"type": "array", "items": {"type": "number"}}


def embed_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["ollama"], dependencies=[Depends(caller)])

    @router.post(
        "/api/embed",
        summary="Embeddings of length 1 (Ollama)",
        responses={
            200: answer(
                "In the order of `input`.",
                {"type": "object", "properties": {"embeddings": {"type": "array", "items": _VECTOR}}},
            ),
            **errors(400, 404, 413, 429, 499, 503),
        },
    )
    async def embed(request: Request, who: FromCaller) -> Response:
        began_s = desk.clock.monotonic()
        body = await read_object(request, desk.max_body_bytes)
        name, inputs, truncate = model_name(body), _inputs(body.get("input")), flag(body, "truncate", True)
        dimensions = _dimensions(body.get("dimensions"))
        model = await desk.find(name)
        require_task(desk.language, model, "embeddings", LanguageTask.EMBEDDING, LanguageTask.CHAT)

        async def work() -> dict[str, Any]:
            async with _held(desk, who.person, model, body) as held:
                raw, tokens = await _embedded(held, inputs, truncate=truncate)
                vectors = [_normalised(vector[:dimensions]) for vector in raw]
                return {
                    "model": name,
                    "embeddings": vectors,
                    "total_duration": round((desk.clock.monotonic() - began_s) * 1e9),
                    "load_duration": held.load_ns,
                    "prompt_eval_count": tokens,
                }

        return json_response(
            await while_connected(request.receive, work(), on_gone=nothing),
            headers=options_of(body.get("options")).headers,
        )

    @router.post(
        "/api/embeddings",
        summary="The embedding of one text, as the model gives it (Ollama, older)",
        responses={
            200: answer("Not brought to length 1.", {"type": "object", "properties": {"embedding": _VECTOR}}),
            **errors(400, 404, 413, 429, 499, 503),
        },
    )
    async def embeddings(request: Request, who: FromCaller) -> Response:
        body = await read_object(request, desk.max_body_bytes)
        prompt = text(body, "prompt")
        model = await desk.find(model_name(body))
        require_task(desk.language, model, "embeddings", LanguageTask.EMBEDDING, LanguageTask.CHAT)

        async def work() -> dict[str, Any]:
            async with _held(desk, who.person, model, body) as held:
                inputs = [prompt] if prompt else []
                vectors, _ = await _embedded(held, inputs, truncate=True)
                return {"embedding": vectors[0] if vectors else []}

        return json_response(
            await while_connected(request.receive, work(), on_gone=nothing),
            headers=options_of(body.get("options")).headers,
        )

    return router


def _held(
    desk: Desk, person: PersonId, model: ModelRecord, body: dict[str, Any]
) -> AbstractAsyncContextManager[Held]:
    options = options_of(body.get("options"))
    keep_s = keep_seconds(body.get("keep_alive"))
    return desk.hold(
        model, person, Wait(), keep_s=keep_s, context=options.context, task=LanguageTask.EMBEDDING
    )


def _inputs(sent: object) -> list[str]:
    """Raises Invalid."""
    if sent is None or sent == "":
        return []
    inputs = [sent] if isinstance(sent, str) else sent
    if not isinstance(inputs, list) or len(inputs) > MAX_INPUTS:
        raise Invalid(
            f"input must be a text or a list of at most {MAX_INPUTS} texts; got {shown(sent)}.", field="input"
        )
    for one in inputs:
        if not isinstance(one, str):
            raise Invalid(f"input must hold texts; got {shown(one)}.", field="input")
    return inputs


def _dimensions(sent: object) -> int | None:
    if sent is None or sent == 0:
        return None
    if isinstance(sent, bool) or not isinstance(sent, int) or sent < 1:
        raise Invalid(f"dimensions must be a whole number from 1; got {shown(sent)}.", field="dimensions")
    return sent


async def _embedded(held: Held, inputs: Sequence[str], *, truncate: bool) -> tuple[list[list[float]], int]:
    """A vector for each text, as the model gives it, and how many tokens they had. A text that is too long is
    cut off, or refused.

    Raises:
        Invalid: one is longer than the context, and `truncate` is False.
    """
    if not inputs:
        return [], 0
    room = await _room(held)
    tokens = [await _tokens(held, one) for one in inputs]
    if not truncate:
        for index, one in enumerate(tokens):
            if len(one) > room:
                raise Invalid(
                    f"the input length exceeds the context length: input {index} has {len(one)} tokens, "
                    f"{held.model.id} takes {room}",
                    field="input",
                    code="context_length_exceeded",
                )
    content = [_cut(one, room) for one in tokens]
    told = await held.ask("/embeddings", {"content": content, "embd_normalize": _AS_IT_IS})
    return [_vector(told, index) for index in range(len(inputs))], sum(map(len, content))


async def _room(held: Held) -> int:
    """Tokens that one text may have."""
    room = (await held.props()).context
    if room < 1:
        raise Failed(f"{held.model.id} does not say how long a text may be.", code="model.nonsense")
    return room


async def _tokens(held: Held, content: str) -> list[int]:
    body = {"content": content, "add_special": True, "parse_special": False}
    return list((await held.ask("/tokenize", body))["tokens"])


def _cut(tokens: list[int], room: int) -> list[int]:
    """As many as fit; the last one, which tells some models that the text ends, stays the last."""
    return tokens if len(tokens) <= room else [*tokens[: room - 1], tokens[-1]]


def _vector(told: Any, index: int) -> list[float]:
    """Of input `index`. Some models give one for each token: then the last, which has seen them all."""
    for one in told if isinstance(told, list) else ():
        if one.get("index") == index:
            vector = one.get("embedding")
            while vector and isinstance(vector[-1], list):  # not pooled
                vector = vector[-1]
            if vector:
                return list(vector)
    raise Failed(f"The answer has no embedding of input {index}.", code="model.nonsense")


def _normalised(vector: list[float]) -> list[float]:
    """Brought to length 1; what is 0 stays 0."""
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector] if length else vector
