# SPDX-License-Identifier: Apache-2.0
"""Pieces of an answer → Ollama's objects, one JSON line each; or all of them as one object."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from datetime import UTC
from typing import Any, Final, Protocol

import msgspec

from inglenook.api.ollama.answers import End, Piece
from inglenook.api.ollama.errors import error_line
from inglenook.base.clock import Clock
from inglenook.base.errors import Failed
from inglenook.door.problem import Problem

NDJSON: Final = "application/x-ndjson"


class LineByLine:
    """How a stream is written: a `api.relay.Manner`. A reader knows no line that says nothing."""

    media_type = NDJSON
    end = b"\n"

    def waiting(self, words: str) -> bytes | None:  # noqa: ARG002 - the protocol's signature
        return None

    def failed(self, problem: Problem) -> bytes:
        return error_line(problem)


class Shape(Protocol):
    """What /api/chat and /api/generate write differently."""

    def of_piece(self, piece: Piece, calls: list[dict[str, Any]]) -> dict[str, Any]: ...


class ChatShape:
    def of_piece(self, piece: Piece, calls: list[dict[str, Any]]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": piece.text}
        if piece.thinking:
            message["thinking"] = piece.thinking
        if calls:
            message["tool_calls"] = calls
        return {"message": message}


class GenerateShape:
    def of_piece(self, piece: Piece, calls: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG002 - as above
        return {"response": piece.text, **({"thinking": piece.thinking} if piece.thinking else {})}


class Writer:
    """Writes one answer.

    Args:
        name: of the model, as the client wrote it.
        began_s: by the clock's `monotonic`, when the request came.
    """

    def __init__(self, *, name: str, shape: Shape, clock: Clock) -> None:
        self._name = name
        self._shape = shape
        self._clock = clock
        self._began_s = clock.monotonic()
        self._calls: dict[int, dict[str, Any]] = {}
        self.load_ns = 0

    async def objects(self, pieces: AsyncIterator[Piece | End]) -> AsyncIterator[dict[str, Any]]:
        """One for each piece, and the final one. Tool calls come whole, before the final one.

        Raises:
            Failed: the arguments of a call are no JSON.
        """
        end: End | None = None
        async for one in pieces:  # to their very end: there the cost is counted
            if isinstance(one, End):
                end = one
                continue
            for call in one.calls:
                self._gather(call)
            if one.text or one.thinking or one.logprobs:
                made = self._object(self._shape.of_piece(one, []), done=False)
                if one.logprobs:
                    made["logprobs"] = list(one.logprobs)
                yield made
        if end is None:
            return
        if self._calls:
            yield self._object(self._shape.of_piece(Piece(), self._whole_calls()), done=False)
        yield self.final(end)

    def final(self, end: End) -> dict[str, Any]:
        return {
            **self._object(self._shape.of_piece(Piece(), []), done=True),
            "done_reason": end.reason,
            "total_duration": round((self._clock.monotonic() - self._began_s) * 1e9),
            "load_duration": self.load_ns,
            "prompt_eval_count": end.prompt_tokens,
            "prompt_eval_duration": end.prompt_ns,
            "eval_count": end.answer_tokens,
            "eval_duration": end.answer_ns,
        }

    def empty(self, reason: str) -> dict[str, Any]:
        """The answer to a request without words: the model was loaded, or unloaded."""
        return {**self._object(self._shape.of_piece(Piece(), []), done=True), "done_reason": reason}

    def _object(self, said: Mapping[str, Any], *, done: bool) -> dict[str, Any]:
        return {"model": self._name, "created_at": moment(self._clock), **said, "done": done}

    def _gather(self, part: Mapping[str, Any]) -> None:
        call = self._calls.setdefault(int(part.get("index", 0)), {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""

    def _whole_calls(self) -> list[dict[str, Any]]:
        return [
            {
                **({"id": call["id"]} if call["id"] else {}),
                "function": {"index": index, "name": call["name"], "arguments": _arguments(call)},
            }
            for index, call in sorted(self._calls.items())
        ]


def _arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    text = call["arguments"].strip() or "{}"
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Failed(
            f"The model called {call['name']} with arguments that are no JSON object: {text[:200]}",
            code="model.bad_call",
            hint="ask again, or give it more room with num_predict",
        )
    return said


def moment(clock: Clock) -> str:
    return clock.now().astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


async def as_lines(objects: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(objects):
        async for one in objects:
            yield msgspec.json.encode(one) + b"\n"


async def as_one(objects: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any]:
    """All of them as the one object that a client gets who does not stream."""
    parts: list[dict[str, Any]] = []
    async with aclosing(objects):
        parts.extend([one async for one in objects])
    whole = parts[-1]
    logprobs = [each for one in parts for each in one.get("logprobs", ())]
    message = whole.get("message")
    if message is not None:
        said = [one["message"] for one in parts]
        whole = {**whole, "message": {**message, **_joined(said, "content")}}
        calls = [call for one in said for call in one.get("tool_calls", ())]
        if calls:
            whole["message"]["tool_calls"] = calls
    else:
        whole = {**whole, **_joined(parts, "response")}
    return {**whole, **({"logprobs": logprobs} if logprobs else {})}


def _joined(parts: list[dict[str, Any]], name: str) -> dict[str, Any]:
    thinking = "".join(one.get("thinking", "") for one in parts)
    joined = {name: "".join(one.get(name, "") for one in parts)}
    return {**joined, **({"thinking": thinking} if thinking else {})}
