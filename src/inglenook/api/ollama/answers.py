# SPDX-License-Identifier: Apache-2.0
"""The events that a child streams → pieces of an answer: of its chat route, and of its own."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inglenook.base.errors import Failed

_REASONS: Final[Mapping[str, str]] = {"limit": "length", "length": "length"}
"""The child's words for why it ended, where Ollama's is not `stop`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of an answer. `calls`: pieces of tool calls as OpenAI streams them. `tokens`: only where they were
    asked for."""

    text: str = ""
    thinking: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()
    logprobs: tuple[Mapping[str, Any], ...] = ()
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """How it ended, and what it took: tokens and nanoseconds."""

    reason: str = "stop"
    prompt_tokens: int = 0
    answer_tokens: int = 0
    prompt_ns: int = 0
    answer_ns: int = 0


@dataclass(slots=True)
class _Told:
    """What the last events of a stream say, gathered."""

    reason: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)

    def end(self) -> End:
        return End(
            reason=_REASONS.get(self.reason or "", "stop"),
            prompt_tokens=int(self.usage.get("prompt_tokens", 0)),
            answer_tokens=int(self.usage.get("completion_tokens", 0)),
            prompt_ns=_ns(self.timings.get("prompt_ms")),
            answer_ns=_ns(self.timings.get("predicted_ms")),
        )


async def chat_pieces(chunks: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[Piece | End]:
    """Of a chat in OpenAI's words, with usage at its end. Raises Failed also where no end comes."""
    told = _Told()
    async for event in chunks:
        told.usage = event.get("usage") or told.usage
        told.timings = event.get("timings") or told.timings
        for choice in event.get("choices", ()):
            told.reason = choice.get("finish_reason") or told.reason
            delta = choice.get("delta") or {}
            piece = Piece(
                text=delta.get("content") or "",
                thinking=delta.get("reasoning_content") or "",
                calls=tuple(delta.get("tool_calls") or ()),
                logprobs=_logprobs((choice.get("logprobs") or {}).get("content")),
            )
            if piece != _NOTHING:
                yield piece
    if told.reason is None:
        raise _cut_off()
    yield told.end()


async def completion_pieces(chunks: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[Piece | End]:
    """Of `/completion` and `/infill`. Raises Failed also where the end is missing."""
    told = _Told()
    async for event in chunks:
        piece = Piece(
            text=event.get("content") or "",
            logprobs=_logprobs(event.get("completion_probabilities")),
            tokens=tuple(event.get("tokens") or ()),
        )
        if piece != _NOTHING:
            yield piece
        if event.get("stop"):
            told.reason = event.get("stop_type") or "stop"
            told.timings = event.get("timings") or {}
            told.usage = {
                "prompt_tokens": event.get("tokens_evaluated", 0),
                "completion_tokens": event.get("tokens_predicted", 0),
            }
    if told.reason is None:
        raise _cut_off()
    yield told.end()


_NOTHING: Final = Piece()


def _cut_off() -> Failed:
    return Failed("The answer ended before its end.", code="model.cut_off", hint="ask again")


def _ns(milliseconds: object) -> int:
    return round(milliseconds * 1e6) if isinstance(milliseconds, int | float) else 0


def _logprobs(sent: object) -> tuple[Mapping[str, Any], ...]:
    """As Ollama writes them: without ids."""
    if not isinstance(sent, list):
        return ()
    return tuple(
        {**_token(one), "top_logprobs": [_token(other) for other in one.get("top_logprobs") or ()]}
        for one in sent
    )


def _token(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": one.get("token", ""), "logprob": one.get("logprob", 0.0), "bytes": one.get("bytes")}
