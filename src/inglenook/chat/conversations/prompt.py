# SPDX-License-Identifier: Apache-2.0
"""From a conversation to what a language model is sent: OpenAI's messages, and llama.cpp's fields. Pure."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inglenook.chat.conversations.model import Image, Message, Part, Role, Text, Tool
from inglenook.chat.conversations.parameters import Parameters

NO_PICTURES: Final = "(a picture, which this model cannot see)"
GONE: Final = "(a picture that is no longer there)"
_AS_THEY_ARE: Final = (
    *("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty"),
    *("frequency_penalty", "max_tokens", "seed"),
)

Pictures = Mapping[Image, bytes]
"""The files of the pictures in a conversation; one that is gone is not in it."""


def body_of(
    messages: Sequence[Message],
    parameters: Parameters,
    *,
    model: str,
    system: str,
    pictures: Pictures,
    sees: bool,
    tools: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What `/v1/chat/completions` of the engine is asked.

    Args:
        messages: the path, without the answer that is to be written.
        pictures: of the messages; sent only to a model that `sees`.
        tools: what the model may call, as OpenAI describes functions.
    """
    known = parameters.as_json()
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(messages, system=system, pictures=pictures, sees=sees),
        "stream": True,
        "stream_options": {"include_usage": True},
        "timings_per_token": True,
        "cache_prompt": True,
        **{name: known[name] for name in _AS_THEY_ARE if name in known},
    }
    if parameters.stop:
        body["stop"] = list(parameters.stop)
    if parameters.json_mode:
        body["response_format"] = {"type": "json_object"}
    if tools:
        body["tools"] = list(tools)
    return body


def chat_messages(
    messages: Sequence[Message], *, system: str, pictures: Pictures, sees: bool
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"role": "system", "content": system}] if system.strip() else []
    for message in messages:
        if message.role is Role.USER:
            found.append({"role": "user", "content": _content(message, pictures, sees)})
        else:
            found.extend(said_by_the_model(message.parts))
    return found


def said_by_the_model(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """An answer as the messages that it was: texts, calls, what the calls gave; none where it is empty."""
    found: list[dict[str, Any]] = []
    text, calls = "", list[Tool]()
    for part in (*parts, None):
        if isinstance(part, Tool):
            calls.append(part)
            continue
        if calls:
            found.extend(_called(text, calls))
            text, calls = "", []
        if isinstance(part, Text):
            text += part.text
    if text:
        found.append({"role": "assistant", "content": text})
    return found


def _called(text: str, calls: Sequence[Tool]) -> list[dict[str, Any]]:
    asked = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
    told = [
        {"role": "tool", "tool_call_id": call.id, "content": call.result or "(it was stopped)"}
        for call in calls
    ]
    return [{"role": "assistant", "content": text or None, "tool_calls": asked}, *told]


def _content(message: Message, pictures: Pictures, sees: bool) -> str | list[dict[str, Any]]:
    """Text alone as text; with pictures as parts. The model is told a picture's id, so it can edit it."""
    given = [part for part in message.parts if isinstance(part, Image)]
    if not given:
        return message.text
    found: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Text):
            found.append({"type": "text", "text": part.text})
        elif isinstance(part, Image):
            found.extend(_picture(part, pictures, sees))
    if sees:
        return found
    return "\n\n".join(one["text"] for one in found)


def _picture(part: Image, pictures: Pictures, sees: bool) -> list[dict[str, Any]]:
    data = pictures.get(part)
    if data is None:
        return [{"type": "text", "text": GONE}]
    name = f"Picture {part.picture or part.blob}:"
    if not sees:
        return [{"type": "text", "text": f"{name} {NO_PICTURES}"}]
    address = f"data:{_media_type(data)};base64,{base64.b64encode(data).decode()}"
    return [{"type": "text", "text": name}, {"type": "image_url", "image_url": {"url": address}}]


def _media_type(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"
