# SPDX-License-Identifier: Apache-2.0
"""/v1/responses as a chat, and a chat's answer as a response, for calls that llama.cpp's route cannot hold.

Pure, but for the ids of what is made.
"""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final

from inglenook.api.language import calling
from inglenook.base.errors import Invalid
from inglenook.door.problem import shown

_RENAMED: Final = {"max_output_tokens": "max_tokens"}
_DROPPED: Final = frozenset(
    {"input", "instructions", "tools", "tool_choice", "text", "store", "include", "truncation", "metadata",
     "background", "reasoning", "service_tier", "user", "prompt_cache_key", "safety_identifier", "stream",
     "max_tool_calls", "stream_options"}
)  # fmt: skip
_ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None, "metadata": {}, "max_output_tokens": None, "temperature": None, "top_p": None,
    "tools": [], "tool_choice": "auto",
}  # fmt: skip
"""What a response repeats of its request, and what it says where nothing was sent."""
_STATEFUL: Final = ("previous_response_id", "conversation", "prompt")


def as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of /v1/chat/completions that means the same.

    Raises:
        Invalid: something that a chat does not have; what is kept between requests.
    """
    for name in _STATEFUL:
        if body.get(name) is not None:
            raise Invalid(
                f"{name} is not taken: nothing is kept between requests.",
                field=name,
                hint="send the whole conversation as input",
            )
    chat = {_RENAMED.get(name, name): value for name, value in body.items() if name not in _DROPPED}
    chat["messages"] = _messages(body)
    if body.get("tools"):
        chat["tools"] = [_tool(tool, f"tools.{index}") for index, tool in enumerate(body["tools"])]
    if body.get("tool_choice") is not None:
        chat["tool_choice"] = body["tool_choice"]
    form = (body.get("text") or {}).get("format") if isinstance(body.get("text"), dict) else None
    if isinstance(form, dict) and form.get("type") != "text":
        chat["response_format"] = (
            {"type": "json_schema", "json_schema": {"schema": form.get("schema")}}
            if form.get("type") == "json_schema"
            else form
        )
    return chat


def _tool(tool: object, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise Invalid(f"{where} must be a function; got {shown(tool)}.", field=where)
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if body.get("instructions"):
        found.append({"role": "system", "content": body["instructions"]})
    sent = body.get("input")
    if isinstance(sent, str):
        return [*found, {"role": "user", "content": sent}]
    if not isinstance(sent, list):
        raise Invalid(f"input must be a text or a list; got {shown(sent)}.", field="input")
    for index, item in enumerate(sent):
        _add(found, item, f"input.{index}")
    return found


def _add(found: list[dict[str, Any]], item: object, where: str) -> None:
    kind = item.get("type", "message") if isinstance(item, dict) else None
    if not isinstance(item, dict) or kind not in (
        "message",
        "function_call",
        "function_call_output",
        "reasoning",
    ):
        raise Invalid(f"{where} is of a kind that is not taken: {shown(item)}.", field=where)
    if kind == "message":
        found.append({"role": item.get("role", "user"), "content": _content(item.get("content"))})
    elif kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        if found and found[-1].get("tool_calls"):
            found[-1]["tool_calls"].append(call)
        else:
            found.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind == "function_call_output":
        content = _content(item.get("output"))
        found.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})


def _content(content: object) -> object:
    if not isinstance(content, list):
        return content
    return [_part(part) for part in content]


def _part(part: object) -> object:
    if not isinstance(part, dict):
        return part
    if part.get("type") in ("input_text", "output_text", "text"):
        return {"type": "text", "text": part.get("text", "")}
    if part.get("type") == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    return part


def as_response(answer: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """A `chat.completion` as the response to `body`."""
    choice = answer["choices"][0]
    message = choice["message"]
    output: list[dict[str, Any]] = []
    if message.get("content"):
        output.append(_message_item(message["content"], _id("msg")))
    output += [_call_item(call, _id("fc")) for call in message.get("tool_calls") or ()]
    return _response(answer, output, choice.get("finish_reason"), _id("resp"), body)


def _response(
    answer: Mapping[str, Any],
    output: list[dict[str, Any]],
    finish: object,
    response_id: str,
    body: Mapping[str, Any],
) -> dict[str, Any]:
    cut = finish == "length"
    usage = answer.get("usage") or {}
    return {
        "id": response_id,
        "object": "response",
        "created_at": answer.get("created"),
        "model": answer.get("model"),
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "output": output,
        **_echoed(body),
        "usage": {
            "input_tokens": usage.get("prompt_tokens", 0),
            "input_tokens_details": usage.get("prompt_tokens_details") or {"cached_tokens": 0},
            "output_tokens": usage.get("completion_tokens", 0),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.get("total_tokens", 0),
        },
    }


def _echoed(body: Mapping[str, Any]) -> dict[str, Any]:
    sent = {name: usual if body.get(name) is None else body[name] for name, usual in _ECHOED.items()}
    return {**sent, "parallel_tool_calls": body.get("parallel_tool_calls") is True}


def _message_item(text: str, item_id: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    content = [part] if status == "completed" else []
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def _call_item(call: Mapping[str, Any], item_id: str, status: str = "completed") -> dict[str, Any]:
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call["id"],
        "name": call["function"]["name"],
        "arguments": call["function"]["arguments"] if status == "completed" else "",
    }


async def as_events(
    pieces: AsyncIterator[Mapping[str, Any]], body: Mapping[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """A chat's pieces as the events of the response to `body`. Their numbers are `Numbered`'s to add."""
    made = _Making()
    begun = {
        "id": made.response_id,
        "object": "response",
        "status": "in_progress",
        "output": [],
        **_echoed(body),
    }
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    async for piece in pieces:
        made.answer |= {name: value for name, value in piece.items() if name != "choices"}
        for choice in piece["choices"]:
            made.finish = choice.get("finish_reason") or made.finish
            for event in made.add(choice.get("delta") or {}):
                yield event
    for event in made.end_words():
        yield event
    whole = _response(made.answer, made.output, made.finish, made.response_id, body)
    yield {"type": f"response.{whole['status']}", "response": whole}


class _Making:
    """A response while its pieces come in.

    Attributes:
        output: the items that are whole. text: of the message that is being written.
    """

    def __init__(self) -> None:
        self.response_id = _id("resp")
        self.answer: dict[str, Any] = {}
        self.output: list[dict[str, Any]] = []
        self.finish: str | None = None
        self._item_id = _id("msg")
        self._text = ""

    def add(self, delta: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The events of one piece."""
        found: list[dict[str, Any]] = []
        words = delta.get("content")
        if words:
            if not self._text:
                found += _begun_message(self._item_id, len(self.output))
            self._text += words
            kind = "response.output_text.delta"
            found.append(_at_text(kind, self._item_id, len(self.output), delta=words))
        if delta.get("tool_calls"):
            found += self.end_words()
            message: dict[str, Any] = {}
            calling.add_delta(message, delta)
            for call in message["tool_calls"]:
                found += _called(self.output, call)
        return found

    def end_words(self) -> list[dict[str, Any]]:
        if not self._text:
            return []
        found = _ended_message(self.output, self._text, self._item_id)
        self._text, self._item_id = "", _id("msg")
        return found


def _begun_message(item_id: str, index: int) -> list[dict[str, Any]]:
    item = _message_item("", item_id, "in_progress")
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": item},
        _at_text("response.content_part.added", item_id, index, part=part),
    ]


def _ended_message(output: list[dict[str, Any]], text: str, item_id: str) -> list[dict[str, Any]]:
    index, item = len(output), _message_item(text, item_id)
    output.append(item)
    return [
        _at_text("response.output_text.done", item_id, index, text=text, logprobs=[]),
        _at_text("response.content_part.done", item_id, index, part=item["content"][0]),
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _at_text(kind: str, item_id: str, index: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "item_id": item_id, "output_index": index, "content_index": 0, **more}


def _called(output: list[dict[str, Any]], call: Mapping[str, Any]) -> list[dict[str, Any]]:
    index, item_id = len(output), _id("fc")
    begun, whole = _call_item(call, item_id, "in_progress"), _call_item(call, item_id)
    output.append(whole)
    place = {"item_id": item_id, "output_index": index}
    arguments = whole["arguments"]
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        {"type": "response.function_call_arguments.delta", **place, "delta": arguments},
        {
            "type": "response.function_call_arguments.done",
            **place,
            "arguments": arguments,
            "name": whole["name"],
        },
        {"type": "response.output_item.done", "output_index": index, "item": whole},
    ]


class Numbered:
    """Adds to the events of a response what their readers count by and llama.cpp leaves out."""

    def __init__(self) -> None:
        self._sequence = -1
        self._items: dict[str, int] = {}

    def of(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self._sequence += 1
        found = {"sequence_number": self._sequence, **event}
        item = event.get("item_id") or (event.get("item") or {}).get("id")
        if item is not None:
            found.setdefault("output_index", self._items.setdefault(str(item), len(self._items)))
        kind = str(event.get("type"))
        if kind.startswith(("response.output_text.", "response.content_part.")):
            found.setdefault("content_index", 0)
        if kind.startswith("response.output_text."):
            found.setdefault("logprobs", [])
        return found


def _id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(16)}"
