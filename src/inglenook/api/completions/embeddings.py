# SPDX-License-Identifier: Apache-2.0
"""POST /v1/embeddings: texts as vectors."""

import base64
import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import answer, errors, json_response
from inglenook.api.language.desk import Desk
from inglenook.api.language.fields import Fields
from inglenook.api.relay import Ask, Held, Wait, nothing
from inglenook.base.errors import Invalid
from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown

PATH: Final = "/v1/embeddings"
MAX_INPUTS: Final = 2048
"""OpenAI's own limit for a request."""
BATCH: Final = 64
"""Inputs in one request to the child: a large one would keep everybody else from it."""

Vectors = Sequence["array[float]"]
"""Rows of float32, all of one length. Without NumPy: it takes 12 MB and 0.2 s of every start."""


def embeddings_router(*, desk: Desk) -> APIRouter:
    router = APIRouter(tags=["language"], dependencies=[Depends(caller)])

    @router.post("/v1/embeddings", **_DESCRIPTION)
    async def embed(request: Request, who: FromCaller) -> Response:
        fields, model = await desk.prepared(request, LanguageTask.EMBEDDING)
        inputs = inputs_of(fields)
        dimensions = fields.whole("dimensions", least=1, most=1 << 16)
        encoding = encoding_of(fields)
        ask = desk.ask(request, who, fields, model, PATH, LanguageTask.EMBEDDING)
        wait = Wait()
        found = await while_connected(request.receive, _embedded(desk, ask, inputs, wait), on_gone=nothing)
        vectors = found.vectors if dimensions is None else shortened(found.vectors, dimensions, model)
        body = {
            "object": "list",
            "model": str(model.id),
            "data": [
                {"object": "embedding", "index": index, "embedding": encoded(vector, encoding)}
                for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        }
        return json_response(body, headers=wait.headers)

    return router


async def _embedded(desk: Desk, ask: Ask, inputs: Sequence[Any], wait: Wait) -> "Embedded":
    async with desk.relay.hold(ask, wait) as held:
        return await embedded(held, inputs)


@dataclass(frozen=True, slots=True)
class Embedded:
    """`vectors`: one for each input, in their order."""

    vectors: Vectors
    tokens: int


def inputs_of(fields: Fields) -> list[Any]:
    """Each a text, or a list of tokens. Raises Invalid: none, too many, or something else."""
    sent = fields.get("input")
    if sent is None:
        raise Invalid("input is required.", field="input", code="request.missing_field")
    inputs = sent if isinstance(sent, list) and not _are_tokens(sent) else [sent]
    if not 0 < len(inputs) <= MAX_INPUTS:
        raise Invalid(f"input must hold 1 to {MAX_INPUTS} texts; it holds {len(inputs)}.", field="input")
    for index, one in enumerate(inputs):
        if not (isinstance(one, str) and one) and not (isinstance(one, list) and _are_tokens(one)):
            raise Invalid(
                f"input.{index} must be a text or a list of tokens, and not empty; got {shown(one)}.",
                field="input",
            )
    return inputs


def _are_tokens(value: Sequence[Any]) -> bool:
    return len(value) > 0 and all(isinstance(one, int) and not isinstance(one, bool) for one in value)


def encoding_of(fields: Fields) -> Literal["float", "base64"]:
    encoding = fields.text("encoding_format") or "float"
    if encoding == "float":
        return "float"
    if encoding == "base64":
        return "base64"
    raise Invalid(f"encoding_format must be float or base64; got {shown(encoding)}.", field="encoding_format")


async def embedded(held: Held, inputs: Sequence[Any]) -> Embedded:
    """All inputs, a batch at a time, with one place held. Raises as `Held.request`."""
    found: list[array[float]] = []
    tokens = 0
    for start in range(0, len(inputs), BATCH):
        asked = msgspec.json.encode({"input": inputs[start : start + BATCH], "encoding_format": "float"})
        told = msgspec.json.decode(await held.read(PATH, asked))
        data = sorted(told["data"], key=lambda one: int(one["index"]))
        found += [array("f", one["embedding"]) for one in data]
        tokens += int((told.get("usage") or {}).get("prompt_tokens") or 0)
    return Embedded(found, tokens)


SHORTENS: Final = frozenset({"gemma-embedding", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "qwen3"})
"""Architectures of embedding models that are trained so that their first columns stand for the whole
(Matryoshka): of all others the rest would be missed."""


def shortened(vectors: Vectors, dimensions: int, model: ModelRecord) -> Vectors:
    """The first columns, of length 1 again.

    Raises:
        Invalid: there are fewer columns, or the model is not made for it.
    """
    columns = len(vectors[0])
    if dimensions == columns:
        return vectors
    made_for_it = model.language is not None and model.language.architecture in SHORTENS
    if dimensions > columns or not made_for_it:
        why = "" if made_for_it else ", and the model is not made for having them cut off"
        raise Invalid(
            f"dimensions is {dimensions}; the embeddings of {model.id} have {columns}{why}.",
            field="dimensions",
            hint=f"leave dimensions out, or send {columns}",
        )
    return [_of_length_1(vector[:dimensions]) for vector in vectors]


def _of_length_1(vector: "array[float]") -> "array[float]":
    length = math.hypot(*vector)
    return vector if length == 0 else array("f", [value / length for value in vector])


def encoded(vector: "array[float]", encoding: Literal["float", "base64"]) -> list[float] | str:
    """base64: of little-endian float32, as OpenAI's clients unpack it."""
    if encoding == "base64":
        if sys.byteorder == "big":
            vector = vector[:]
            vector.byteswap()
        return base64.b64encode(vector).decode("ascii")
    return vector.tolist()


_INPUT: Final[dict[str, Any]] = {
    "description": "a text, a list of texts, a list of tokens, or a list of such lists",
    "anyOf": [{"type": "string"}, {"type": "array"}],
}
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "model": {"type": "string", "description": "without one, or with auto: the default for embeddings"},
        "input": _INPUT,
        "encoding_format": {"type": "string", "enum": ["float", "base64"]},
        "dimensions": {"type": "integer", "minimum": 1},
    },
}
_ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["object", "model", "data", "usage"],
    "properties": {
        "object": {"type": "string", "enum": ["list"]},
        "model": {"type": "string"},
        "data": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
}
_DESCRIPTION: Final[dict[str, Any]] = {
    "summary": "Texts as vectors",
    "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}},
    "responses": {200: answer("The vectors.", _ANSWER), **errors(400, 404, 413, 499, 503)},
}
