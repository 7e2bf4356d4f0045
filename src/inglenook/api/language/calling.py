# SPDX-License-Identifier: Apache-2.0
"""Tool calls that hold: one chat in which the answer is words or calls, and nothing else.

The child is asked with a schema (`tools.py`) and answers in a stream of pieces; out come pieces of OpenAI's
`chat.completion.chunk`, words as they are written, calls when they are whole. A model that finds no end in a
call is asked once more, with bounds on every text.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from inglenook.api.language import history
from inglenook.api.language.calls import Call, Said, Words, read
from inglenook.api.language.events import events
from inglenook.api.language.tools import Wish, instructions, schema
from inglenook.api.relay import Held
from inglenook.base.errors import Failed, Invalid

PATH: Final = "/v1/chat/completions"
HEADER: Final = "x-inglenook-tools"
"""Says `schema` on an answer that was made in this way."""
_OURS: Final = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "json_schema",
        "logprobs",
        "top_logprobs",
    }
)
_LOOP_CHARS: Final = 64
_LOOP_TIMES: Final = 4
_USUAL_TOKENS: Final = 512
_FRAME_TOKENS: Final = 40
"""What a call takes beside its texts, roughly."""
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


@dataclass(slots=True)
class _Choice:
    """One of the answers that were asked for."""

    words: Words = field(default_factory=Words)
    finish: str | None = None
    done: bool = False

    @property
    def loops(self) -> bool:
        """Whether the model writes the same again and again, in a call."""
        text = self.words.text
        return (
            not self.words.begun
            and text.count(text[-_LOOP_CHARS:]) > _LOOP_TIMES > 0 < len(text) - _LOOP_CHARS
        )


async def chunks(held: Held, body: Mapping[str, Any], wish: Wish) -> AsyncGenerator[dict[str, Any], None]:
    """The answer in pieces; the last one, without choices, holds usage and timings.

    Raises:
        InglenookError: as `Held.request`.
        Invalid, Failed: `tools.cut_off`: no whole call came.
    """
    choices: dict[int, _Choice] = {}
    frame: dict[str, Any] = {}
    totals: dict[str, Any] = {}
    async for event in _pieces(held, body, wish, None, choices):
        frame = {name: value for name, value in event.items() if name not in ("choices", "usage", "timings")}
        totals |= {name: event[name] for name in ("usage", "timings") if name in event}
        for choice in event["choices"]:
            for out in _passed(choice, choices.setdefault(choice["index"], _Choice())):
                yield {**frame, "choices": [out]}
    for index, choice in choices.items():
        if not choice.done:
            said, usage = await _again(held, body, wish)
            totals["usage"] = summed(totals.get("usage"), usage)
            for out in _said(index, said):
                yield {**frame, "choices": [out]}
    yield {**frame, "choices": [], **totals}


async def _pieces(
    held: Held, body: Mapping[str, Any], wish: Wish, longest: int | None, choices: Mapping[int, _Choice]
) -> AsyncIterator[dict[str, Any]]:
    """The child's own pieces; an end when the one answer runs in circles."""
    asked = msgspec.json.encode(asked_body(body, wish, longest=longest))
    async for event in events(held, PATH, asked):
        yield event
        if len(choices) == 1 and 0 in choices and choices[0].loops:
            return


def asked_body(body: Mapping[str, Any], wish: Wish, *, longest: int | None = None) -> dict[str, Any]:
    """What the child is asked instead of `body`; it always streams.

    Raises:
        Invalid: the caller's own grammar stands in the way.
    """
    if body.get("grammar"):
        raise Invalid("grammar and tools exclude each other.", field="grammar")
    asked = {name: value for name, value in body.items() if name not in _OURS}
    asked["messages"] = history.in_words(body.get("messages") or [], instructions=instructions(wish))
    asked["json_schema"] = schema(wish, longest=longest)
    return asked | {"stream": True, "stream_options": {"include_usage": True}}


def _passed(choice: Mapping[str, Any], state: _Choice) -> list[dict[str, Any]]:
    """What a piece of the child's is for the client."""
    delta, index = choice.get("delta") or {}, choice["index"]
    out = {name: delta[name] for name in ("role", "reasoning_content") if delta.get(name)}
    words = state.words.feed(delta.get("content") or "")
    if words or out.get("role"):
        out["content"] = words or None
    found = [_piece(index, out)] if out else []
    state.finish = choice.get("finish_reason")
    if state.finish is None:
        return found
    said = read(state.words.text)
    if state.words.begun:
        state.done = True
        return [*found, _piece(index, {}, state.finish)]
    if said is not None:
        state.done = True
        return [*found, *_said(index, said)]
    return found


def _said(index: int, said: Said) -> list[dict[str, Any]]:
    if said.words is not None:
        return [_piece(index, {"content": said.words}), _piece(index, {}, "stop")]
    calls = [{"index": number, **call.as_json()} for number, call in enumerate(said.calls)]
    return [_piece(index, {"tool_calls": calls}), _piece(index, {}, "tool_calls")]


def _piece(index: int, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": dict(delta), "finish_reason": finish}


async def _again(held: Held, body: Mapping[str, Any], wish: Wish) -> tuple[Said, Mapping[str, Any] | None]:
    """One answer with an end, and its usage."""
    sent = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("n_predict")
    budget = sent if isinstance(sent, int) and sent > 0 else _USUAL_TOKENS
    longest = min(256, max(8, (budget - _FRAME_TOKENS) // max(1, _texts(wish))))
    state, usage = _Choice(), None
    async for event in _pieces(held, {**body, "n": 1}, wish, longest, {0: state}):
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            state.words.feed((choice.get("delta") or {}).get("content") or "")
    said = read(state.words.text)
    if said is not None:
        return said, usage
    names = " or ".join(tool.name for tool in wish.tools[:4])
    if sent is not None:
        raise Invalid(
            f"{sent} tokens are too few for a call of {names}.", field="max_tokens", code="tools.cut_off"
        )
    raise Failed(
        f"{held.model.id} found no end in its call of {names}.",
        code="tools.cut_off",
        hint="give the parameters bounds (maxLength, maxItems), or take a larger model",
    )


def _texts(wish: Wish) -> int:
    """How many texts the largest call holds."""
    return max((msgspec.json.encode(tool.parameters).count(b'"string"') for tool in wish.tools), default=1)


def summed(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> dict[str, Any]:
    """Two usages as one."""
    if one is None or other is None:
        return dict(one or other or {})
    return {**one, **other} | {name: one.get(name, 0) + other.get(name, 0) for name in _COUNTS}


async def whole(pieces: AsyncIterator[Mapping[str, Any]]) -> dict[str, Any]:
    """All pieces of a chat (`chunks`, or the child's own) as one `chat.completion`."""
    frame: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    async for piece in pieces:
        frame |= {name: value for name, value in piece.items() if name != "choices"}
        for part in piece["choices"]:
            known = choices.setdefault(
                part["index"],
                {
                    "index": part["index"],
                    "message": {"role": "assistant", "content": None},
                    "finish_reason": None,
                },
            )
            known["finish_reason"] = part.get("finish_reason") or known["finish_reason"]
            add_delta(known["message"], part.get("delta") or {})
    return {**frame, "object": "chat.completion", "choices": [choices[index] for index in sorted(choices)]}


def add_delta(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """One piece of a message to what is known of it."""
    for name in ("content", "reasoning_content"):
        if delta.get(name):
            message[name] = (message.get(name) or "") + delta[name]
    if delta.get("images"):
        message.setdefault("images", []).extend(delta["images"])
    for part in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        while len(calls) <= part["index"]:
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[part["index"]], part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def calls_of(message: Mapping[str, Any]) -> tuple[Call, ...]:
    return tuple(
        Call(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or ()
    )
