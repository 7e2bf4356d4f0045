# SPDX-License-Identifier: Apache-2.0
"""Conversations and messages as JSON, and what that JSON is."""

from dataclasses import asdict
from typing import Any

import msgspec

from inglenook.chat.conversations.model import Conversation, Message, Preset
from inglenook.chat.conversations.parameters import RANGES, WHOLE

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        name: {"type": "integer" if name in WHOLE else "number", "minimum": low, "maximum": high}
        for name, (low, high) in RANGES.items()
    }
    | {
        "stop": {"type": "array", "items": {"type": "string"}},
        "json_mode": {"type": "boolean"},
        "tools": {"type": "array", "items": {"type": "string", "enum": ["generate_image", "edit_image"]}},
    },
}
_NULL_TEXT = {"type": ["string", "null"]}
CONVERSATION: dict[str, Any] = {
    "type": "object",
    "required": ["id", "title", "model", "system", "parameters", "shown", "pinned", "archived"],
    "properties": {
        "id": {"type": "string"},
        "title": {"type": "string"},
        "model": {"type": "string", "description": "empty for the default one"},
        "system": {"type": "string"},
        "parameters": PARAMETERS,
        "shown": {**_NULL_TEXT, "description": "the last message of the branch that is shown"},
        "pinned": {"type": "boolean"},
        "archived": {"type": "boolean"},
        "created_at": {"type": "string", "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"},
        "deleted_at": _NULL_TEXT,
    },
}
MESSAGE: dict[str, Any] = {
    "type": "object",
    "required": ["id", "parent", "role", "state", "parts"],
    "properties": {
        "id": {"type": "string"},
        "parent": _NULL_TEXT,
        "role": {"type": "string", "enum": ["user", "assistant"]},
        "state": {"type": "string", "enum": ["writing", "done", "stopped", "failed"]},
        "parts": {"type": "array", "items": {"type": "object"}},
        "model": {"type": "string"},
        "finish_reason": _NULL_TEXT,
        "usage": {"type": "object"},
        "timings": {"type": "object"},
        "error": {"type": ["object", "null"]},
        "created_at": {"type": "string", "format": "date-time"},
        "finished_at": _NULL_TEXT,
    },
}
WHOLE_CONVERSATION: dict[str, Any] = {
    **CONVERSATION,
    "properties": {**CONVERSATION["properties"], "messages": {"type": "array", "items": MESSAGE}},
}
CONVERSATIONS: dict[str, Any] = {
    "type": "object",
    "properties": {"data": {"type": "array", "items": CONVERSATION}, "has_more": {"type": "boolean"}},
}
PRESET: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "name", "text")},
}
DELETED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "deleted": {"type": "boolean"},
        "restorable": {"type": "boolean"},
    },
}


def conversation_json(conversation: Conversation) -> dict[str, Any]:
    said = asdict(conversation)
    del said["owner"]
    for name in ("created_at", "updated_at", "deleted_at"):
        said[name] = None if said[name] is None else said[name].isoformat()
    return {**said, "parameters": conversation.parameters.as_json()}


def message_json(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(message)
    return said


def preset_json(preset: Preset) -> dict[str, Any]:
    return {"id": preset.id, "name": preset.name, "text": preset.text}
