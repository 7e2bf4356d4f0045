# SPDX-License-Identifier: Apache-2.0
"""POST /v1/rerank: which documents answer a question, by a model for it or by how near embeddings are."""

import asyncio
import math
import operator
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.completions.embeddings import Vectors, embedded
from inglenook.api.errors import answer, errors, json_response
from inglenook.api.language.desk import Desk
from inglenook.api.language.fields import Fields
from inglenook.api.relay import Ask, Held, Wait, nothing
from inglenook.base.errors import Invalid
from inglenook.catalog.model import LanguageTask
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown

PATH: Final = "/v1/rerank"
MAX_DOCUMENTS: Final = 1000
COSINE: Final = "embedding-cosine"
RERANK: Final = "rerank"


@dataclass(frozen=True, slots=True)
class Ranked:
    """`scores`: of each document, in the order in which they were sent; larger is nearer.

    `method`: `rerank`, or `embedding-cosine` (scores from -1 to 1).
    """

    scores: Sequence[float]
    method: str
    tokens: int


def ranking_router(*, desk: Desk) -> APIRouter:
    router = APIRouter(tags=["language"], dependencies=[Depends(caller)])

    @router.post("/rerank", include_in_schema=False)
    @router.post("/v1/reranking", include_in_schema=False)
    @router.post("/v1/rerank", **_DESCRIPTION)
    async def rank(request: Request, who: FromCaller) -> Response:
        fields, model = await desk.prepared(request, LanguageTask.RERANK)
        query = fields.text("query")
        if not query:
            raise Invalid("query is required.", field="query", code="request.missing_field")
        documents = _documents(fields)
        most = fields.whole("top_n", least=1, most=1 << 20)
        shows = fields.flag("return_documents")
        ask = desk.ask(request, who, fields, model, PATH, LanguageTask.RERANK)
        wait = Wait()
        found = await while_connected(
            request.receive, _ranked(desk, ask, query, documents, wait), on_gone=nothing
        )
        results = [
            {"index": index, "relevance_score": float(found.scores[index])}
            | ({"document": {"text": documents[index]}} if shows else {})
            for index in sorted(range(len(documents)), key=lambda index: -found.scores[index])
        ]
        body = {
            "object": "list",
            "model": str(model.id),
            "method": found.method,
            "results": results if most is None else results[:most],
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        }
        return json_response(body, headers=wait.headers)

    return router


def _documents(fields: Fields) -> list[str]:
    """Texts, or objects with a text. Raises Invalid."""
    sent = fields.list("documents")
    if sent is None:
        sent = fields.list("texts")
    if sent is None or not 0 < len(sent) <= MAX_DOCUMENTS:
        raise Invalid(
            f"documents must be a list of 1 to {MAX_DOCUMENTS}; got {shown(sent)}.", field="documents"
        )
    texts: list[str] = []
    for index, one in enumerate(sent):
        text = one.get("text") if isinstance(one, dict) else one
        if not isinstance(text, str) or not text:
            raise Invalid(
                f"documents.{index} must be a text, and not empty; got {shown(one)}.",
                field="documents",
            )
        texts.append(text)
    return texts


async def _ranked(desk: Desk, ask: Ask, query: str, documents: Sequence[str], wait: Wait) -> Ranked:
    async with desk.relay.hold(ask, wait) as held:
        if held.mode == "rerank":
            return await _by_model(held, query, documents)
        found = await embedded(held, [query, *documents])
        scores = await asyncio.to_thread(cosines, found.vectors)  # 0.1 s for 1000 of 1024 columns
        return Ranked(scores, COSINE, found.tokens)


async def _by_model(held: Held, query: str, documents: Sequence[str]) -> Ranked:
    asked = msgspec.json.encode({"query": query, "documents": list(documents)})
    told: Mapping[str, Any] = msgspec.json.decode(await held.read(PATH, asked))
    scores = [0.0] * len(documents)
    for one in told["results"]:
        scores[int(one["index"])] = float(one["relevance_score"])
    return Ranked(scores, RERANK, int((told.get("usage") or {}).get("prompt_tokens") or 0))


def cosines(vectors: Vectors) -> list[float]:
    """How near each row is to the first, from the second on: from -1 to 1; 0 for a row of length 0."""
    first, *rest = vectors
    length = math.hypot(*first)
    return [_cosine(row, first, math.hypot(*row) * length) for row in rest]


def _cosine(row: "array[float]", first: "array[float]", scale: float) -> float:
    return sum(map(operator.mul, row, first)) / scale if scale > 0 else 0.0


_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["query", "documents"],
    "properties": {
        "model": {"type": "string", "description": "without one, or with auto: the default for ranking"},
        "query": {"type": "string"},
        "documents": {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["text"]}]},
        },
        "top_n": {"type": "integer", "minimum": 1},
        "return_documents": {"type": "boolean"},
    },
}
_ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["object", "model", "method", "results", "usage"],
    "properties": {
        "object": {"type": "string", "enum": ["list"]},
        "model": {"type": "string"},
        "method": {"type": "string", "enum": [RERANK, COSINE]},
        "results": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
}
_DESCRIPTION: Final[dict[str, Any]] = {
    "summary": "Documents in the order in which they answer a question",
    "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}},
    "responses": {
        200: answer("The documents' places and scores.", _ANSWER),
        **errors(400, 404, 413, 499, 503),
    },
}
