# SPDX-License-Identifier: Apache-2.0
"""The JSON of requests, field by field. Nothing is accepted and ignored."""

from collections.abc import Mapping
from typing import Any

from inglenook.api.studio.pages import is_id
from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import ConversationId, MessageId
from inglenook.chat.conversations.model import Image, Part, Text
from inglenook.chat.conversations.parameters import parameters_of
from inglenook.door.problem import shown

MAX_MODEL_CHARS = 500


def text(body: Mapping[str, Any], name: str, *, most: int | None = None) -> str:
    """ "" where it is not given."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or (most is not None and len(value) > most):
        bound = "" if most is None else f" of at most {most} characters"
        raise Invalid(f"{name} must be a text{bound}; got {shown(value)}.", field=name)
    return value


def truth(body: Mapping[str, Any], name: str) -> bool:
    value = body[name]
    if not isinstance(value, bool):
        raise Invalid(f"{name} must be true or false; got {shown(value)}.", field=name)
    return value


def settings_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Of those that are given: title, model, system, parameters."""
    found: dict[str, Any] = {}
    for name in ("title", "system"):
        if name in body:
            found[name] = text(body, name)
    if "model" in body:
        found["model"] = text(body, "model", most=MAX_MODEL_CHARS)
    if "parameters" in body:
        sent = body["parameters"] or {}
        if not isinstance(sent, dict):
            raise Invalid(f"parameters must be an object; got {shown(sent)}.", field="parameters")
        found["parameters"] = parameters_of(sent)
    return found


def parts_of(content: Any) -> list[Part]:
    """`content`: a text, or parts `{"type": "text", "text"}` and `{"type": "image", "picture" or "blob"}`."""
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise Invalid(f"content must be a text or a list of parts; got {shown(content)}.", field="content")
    return [_part(one, f"content.{place}") for place, one in enumerate(content)]


def _part(sent: Any, where: str) -> Part:
    if not isinstance(sent, dict):
        raise Invalid(f"{where} must be an object; got {shown(sent)}.", field=where)
    if sent.get("type") == "text" and isinstance(sent.get("text"), str):
        return Text(sent["text"])
    if sent.get("type") == "image":
        picture, blob = sent.get("picture"), sent.get("blob")
        if (picture is None) != (blob is None):
            if isinstance(picture, str) and is_id("pic", picture):
                return Image(picture=picture)
            if isinstance(blob, str) and is_blob(blob):
                return Image(blob=blob)
        raise Invalid(f"{where} must name a picture by its id or its blob.", field=where)
    raise Invalid(f"{where} must be of type text or image; got {shown(sent.get('type'))}.", field=where)


def is_blob(value: str) -> bool:
    return len(value) == 64 and all(char in "0123456789abcdef" for char in value)


def conversation_id_of(value: str) -> ConversationId:
    """Raises NotFound for what cannot be one."""
    if not is_id("cnv", value):
        raise NotFound(f"There is no conversation {shown(value)}.", code="conversation.not_found")
    return ConversationId(value)


def message_id_of(value: Any) -> MessageId:
    if not isinstance(value, str) or not is_id("msg", value):
        raise NotFound(f"There is no message {shown(value)}.", code="message.not_found")
    return MessageId(value)
