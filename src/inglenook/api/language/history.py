# SPDX-License-Identifier: Apache-2.0
"""A conversation with tool calls in it, for a template that knows none: the calls and their results in words.

What the model finds there is what it is asked to write (`tools.instructions`). Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from inglenook.api.language.tools import ARGUMENTS, CALLS, TOOL

TOOL_ROLES = ("tool", "function")


def tells_of_calls(messages: Sequence[Any]) -> bool:
    return any(
        isinstance(one, dict) and (one.get("role") in TOOL_ROLES or one.get("tool_calls")) for one in messages
    )


def in_words(messages: Sequence[Any], *, instructions: str = "") -> list[Any]:
    """The messages with `instructions` in their system prompt, without tool calls and tool results."""
    names = _names(messages)
    found: list[Any] = []
    for message in messages:
        if not isinstance(message, dict):
            found.append(message)
        elif message.get("role") in TOOL_ROLES:
            _add_result(found, message, names)
        elif message.get("tool_calls"):
            found.append({"role": "assistant", "content": _calls(message)})
        else:
            found.append(message)
    return with_system(found, instructions)


def with_system(messages: Sequence[Any], text: str) -> list[Any]:
    """`text` at the end of the system prompt; the first message becomes one where there is none."""
    if not text:
        return list(messages)
    first = messages[0] if messages and isinstance(messages[0], dict) else {}
    if first.get("role") not in ("system", "developer"):
        return [{"role": "system", "content": text}, *messages]
    content = first.get("content")
    joined = (
        [*content, {"type": "text", "text": text}]
        if isinstance(content, list)
        else f"{content}\n\n{text}"
        if content
        else text
    )
    return [{**first, "content": joined}, *messages[1:]]


def _names(messages: Sequence[Any]) -> Mapping[str, str]:
    """Id of a call → name of its function."""
    return {
        call["id"]: call["function"]["name"]
        for message in messages
        if isinstance(message, dict)
        for call in message.get("tool_calls") or ()
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
        if isinstance(call.get("id"), str) and isinstance(call["function"].get("name"), str)
    }


def _add_result(found: list[Any], message: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Results that follow each other become one message: many templates want the roles to alternate."""
    name = message.get("name") or names.get(str(message.get("tool_call_id")), "the function")
    text = f"Result of {name}: {text_of(message.get('content'))}"
    last = found[-1] if found else None
    if (
        isinstance(last, dict)
        and last.get("role") == "user"
        and str(last.get("content")).startswith("Result of ")
    ):
        found[-1] = {**last, "content": f"{last['content']}\n{text}"}
    else:
        found.append({"role": "user", "content": text})


def _calls(message: Mapping[str, Any]) -> str:
    calls = [
        {TOOL: call["function"].get("name"), ARGUMENTS: _arguments(call["function"].get("arguments"))}
        for call in message["tool_calls"]
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    ]
    written = calls[0] if len(calls) == 1 else {CALLS: calls}
    said = text_of(message.get("content"))
    return (f"{said}\n" if said else "") + msgspec.json.encode(written).decode()


def _arguments(sent: object) -> object:
    if not isinstance(sent, str):
        return sent
    try:
        return msgspec.json.decode(sent or "{}")
    except msgspec.DecodeError:
        return sent


def text_of(content: object) -> str:
    """The words of a message's content: a text, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "" if content is None else msgspec.json.encode(content).decode()
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))
