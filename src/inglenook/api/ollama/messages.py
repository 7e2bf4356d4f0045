# SPDX-License-Identifier: Apache-2.0
"""Ollama's messages and tools → those of llama.cpp's chat route, which are OpenAI's. Pure."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inglenook.base.errors import Invalid
from inglenook.door.problem import shown
from inglenook.images.sniff import sniff

MAX_MESSAGES: Final = 10_000
MAX_PICTURES: Final = 64


def messages_of(sent: Sequence[object]) -> list[dict[str, Any]]:
    """Raises Invalid."""
    if len(sent) > MAX_MESSAGES:
        raise Invalid(f"messages may be {MAX_MESSAGES} at most; got {len(sent)}.", field="messages")
    writing = _Writing()
    return [writing.message(one, f"messages.{index}") for index, one in enumerate(sent)]


class _Writing:
    """Gives each tool call an id, which Ollama's messages may leave out, and finds it for the answer."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []  # (name of the function, id) of calls without an answer

    def message(self, sent: object, where: str) -> dict[str, Any]:
        if not isinstance(sent, dict):
            raise Invalid(f"{where} must be an object; got {shown(sent)}.", field=where)
        role = sent.get("role")
        if not isinstance(role, str) or not role:
            raise Invalid(f"{where}.role must be a text; got {shown(role)}.", field=f"{where}.role")
        made: dict[str, Any] = {"role": role, "content": _content(sent, where)}
        thinking = sent.get("thinking")
        if isinstance(thinking, str) and thinking:
            made["reasoning_content"] = thinking
        calls = sent.get("tool_calls")
        if calls:
            made["tool_calls"] = self._calls(calls, f"{where}.tool_calls")
        if role == "tool":
            made |= self._answered(sent)
        return made

    def _calls(self, sent: object, where: str) -> list[dict[str, Any]]:
        if not isinstance(sent, list):
            raise Invalid(f"{where} must be a list; got {shown(sent)}.", field=where)
        made = []
        for index, one in enumerate(sent):
            function = one.get("function") if isinstance(one, dict) else None
            name = function.get("name") if isinstance(function, dict) else None
            if not isinstance(function, dict) or not isinstance(name, str):
                place = f"{where}.{index}.function"
                raise Invalid(f"{place} must be an object with a name; got {shown(one)}.", field=place)
            arguments = function.get("arguments")
            said = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
            call = self._id(one.get("id"))
            self._open.append((name, call))
            made.append({"id": call, "type": "function", "function": {"name": name, "arguments": said}})
        return made

    def _id(self, sent: object) -> str:
        self._count += 1
        return sent if isinstance(sent, str) and sent else f"call_{self._count}"

    def _answered(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Whose answer it is: by its id, else the first open call of that name, else the first open one."""
        name = sent.get("tool_name") or sent.get("name")
        given = sent.get("tool_call_id")
        found = next((one for one in self._open if one[1] == given), None)
        found = found or next((one for one in self._open if one[0] == name), None)
        found = found or (self._open[0] if self._open and not name else None)
        if found is not None:
            self._open.remove(found)
        call = found[1] if found is not None else self._id(given)
        return {"tool_call_id": call, **({"name": name} if isinstance(name, str) else {})}


def _content(sent: Mapping[str, Any], where: str) -> str | list[dict[str, Any]]:
    content = sent.get("content")
    if content is not None and not isinstance(content, str):
        raise Invalid(f"{where}.content must be a text; got {shown(content)}.", field=f"{where}.content")
    return content_of(content or "", sent.get("images"), f"{where}.images")


def content_of(words: str, pictures: object, where: str) -> str | list[dict[str, Any]]:
    """Words, with pictures before them where there are any. Raises Invalid."""
    if not pictures:
        return words
    if not isinstance(pictures, list) or len(pictures) > MAX_PICTURES:
        raise Invalid(f"{where} must be a list of at most {MAX_PICTURES} pictures.", field=where)
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": _address(one, f"{where}.{index}")}}
        for index, one in enumerate(pictures)
    ]
    return [*parts, *([{"type": "text", "text": words}] if words else [])]


def _address(sent: object, where: str) -> str:
    """A picture in base64 as a `data:` address, once its first bytes were looked at."""
    if not isinstance(sent, str):
        raise Invalid(f"{where} must be a picture in base64; got {shown(sent)}.", field=where)
    text = sent.partition(",")[2] if sent.startswith("data:") else sent
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(f"{where} is not base64; got {shown(sent)}.", field=where) from None
    kind = sniff(data, field=where).value.lower()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def tools_of(sent: Sequence[object]) -> list[dict[str, Any]]:
    """Raises Invalid where one is no function with a name."""
    for index, one in enumerate(sent):
        function = one.get("function") if isinstance(one, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            place = f"tools.{index}"
            raise Invalid(f"{place} must be a function with a name; got {shown(one)}.", field=place)
    return [{"type": "function", **one} for one in sent if isinstance(one, dict)]
