# SPDX-License-Identifier: Apache-2.0
"""/v1/messages as a chat, and a chat's answer as a message: for calls that llama.cpp's own route cannot hold.

Pure, but for the ids of what is made.
"""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final

import msgspec

from inglenook.api.language import calling
from inglenook.api.language.history import text_of
from inglenook.base.errors import Invalid
from inglenook.door.problem import shown

_RENAMED: Final = {"stop_sequences": "stop"}
_DROPPED: Final = frozenset(
    {"messages", "system", "tools", "tool_choice", "stream", "metadata", "thinking", "service_tier",
     "container", "context_management", "mcp_servers", "output_config"}
)  # fmt: skip
_STOPPED: Final[Mapping[str, str]] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of /v1/chat/completions that means the same. Raises Invalid: something that a chat has not."""
    chat = {_RENAMED.get(name, name): value for name, value in body.items() if name not in _DROPPED}
    chat["messages"] = _messages(body)
    if body.get("tools"):
        chat["tools"] = [_tool(tool, f"tools.{index}") for index, tool in enumerate(body["tools"])]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        chat["tool_choice"] = _choice(choice)
    return chat


def _tool(tool: object, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or not isinstance(tool.get("input_schema"), dict):
        raise Invalid(
            f"{where} must have a name and an input_schema; got {shown(tool)}.",
            field=where,
            hint="tools that run at Anthropic's do not run here",
        )
    function = {"name": tool.get("name"), "parameters": tool["input_schema"]}
    return {"type": "function", "function": function | {"description": tool.get("description")}}


def _choice(choice: Mapping[str, Any]) -> object:
    kind = choice.get("type")
    if kind == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return "required" if kind == "any" else kind


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if body.get("system"):
        found.append({"role": "system", "content": text_of(body["system"])})
    sent = body.get("messages")
    if not isinstance(sent, list):
        raise Invalid(f"messages must be a list; got {shown(sent)}.", field="messages")
    for index, message in enumerate(sent):
        if not isinstance(message, dict):
            raise Invalid(f"messages.{index} must be an object; got {shown(message)}.", field="messages")
        found += _turned(message)
    return found


def _turned(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One message as one or more: results of tools are messages of their own in a chat."""
    content, role = message.get("content"), message.get("role", "user")
    if not isinstance(content, list):
        return [{"role": role, "content": content}]
    blocks = [block for block in content if isinstance(block, dict)]
    results = [
        {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text_of(block.get("content"))}
        for block in blocks
        if block.get("type") == "tool_result"
    ]
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    parts = [part for block in blocks if (part := _part(block)) is not None]
    if calls:
        return [*results, {"role": role, "content": text_of(parts) or None, "tool_calls": calls}]
    return [*results, {"role": role, "content": parts}] if parts else results


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    function = {"name": block.get("name"), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def _part(block: Mapping[str, Any]) -> dict[str, Any] | None:
    if block.get("type") == "text":
        return {"type": "text", "text": block.get("text", "")}
    if block.get("type") == "image":
        source = block.get("source") or {}
        url = f"data:{source.get('media_type')};base64,{source.get('data')}"
        return {"type": "image_url", "image_url": {"url": url}}
    return None


def as_message(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A `chat.completion` as a message."""
    choice = answer["choices"][0]
    message = choice["message"]
    content: list[dict[str, Any]] = []
    if message.get("content"):
        content.append({"type": "text", "text": message["content"]})
    content += [_use(call, _input(call)) for call in message.get("tool_calls") or ()]
    usage = answer.get("usage") or {}
    return {
        **_message(answer.get("model"), content),
        "stop_reason": _STOPPED.get(choice.get("finish_reason") or "stop", "end_turn"),
        "usage": {
            "input_tokens": usage.get("prompt_tokens", 0),
            "output_tokens": usage.get("completion_tokens", 0),
        },
    }


def _message(model: object, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _use(call: Mapping[str, Any], given: object) -> dict[str, Any]:
    name, identifier = call["function"]["name"], str(call["id"]).replace("call_", "toolu_", 1)
    return {"type": "tool_use", "id": identifier, "name": name, "input": given}


def _input(call: Mapping[str, Any]) -> object:
    return msgspec.json.decode(call["function"]["arguments"])


async def as_events(
    pieces: AsyncIterator[Mapping[str, Any]], model: str
) -> AsyncGenerator[dict[str, Any], None]:
    """A chat's pieces as the events of a message."""
    yield {"type": "message_start", "message": _message(model, [])}
    index, open_text, finish = 0, False, None
    usage: Mapping[str, Any] = {}
    async for piece in pieces:
        usage = piece.get("usage") or usage
        for choice in piece["choices"]:
            finish = choice.get("finish_reason") or finish
            delta = choice.get("delta") or {}
            if delta.get("content"):
                if not open_text:
                    open_text = True
                    yield _start(index, {"type": "text", "text": ""})
                yield _delta(index, {"type": "text_delta", "text": delta["content"]})
            if delta.get("tool_calls"):
                if open_text:
                    yield {"type": "content_block_stop", "index": index}
                    index, open_text = index + 1, False
                message: dict[str, Any] = {}
                calling.add_delta(message, delta)
                for call in message["tool_calls"]:
                    yield _start(index, _use(call, {}))
                    arguments = call["function"]["arguments"]
                    yield _delta(index, {"type": "input_json_delta", "partial_json": arguments})
                    yield {"type": "content_block_stop", "index": index}
                    index += 1
    if open_text:
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": _STOPPED.get(finish or "stop", "end_turn"), "stop_sequence": None},
        "usage": {
            "input_tokens": usage.get("prompt_tokens", 0),
            "output_tokens": usage.get("completion_tokens", 0),
        },
    }
    yield {"type": "message_stop"}


def _start(index: int, block: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, delta: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}
