# SPDX-License-Identifier: Apache-2.0
"""What a client sends, read within bounds: a JSON object, or a form with files."""

import asyncio
import base64
import binascii
import difflib
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from inglenook.base.errors import Invalid, TooLarge
from inglenook.base.units import MIB, format_bytes
from inglenook.door.problem import shown

MAX_JSON_BYTES = 4 * MIB
"""The largest JSON body; no request of ours needs more, and it is parsed at one go."""
MAX_JSON_VALUES = 200_000
"""Most commas, and so most values: what bounds the memory of a body that is mostly structure."""
LARGE_BYTES = 1 * MIB
"""A body from here up is not parsed on the event loop."""
MAX_FIELD_BYTES = 1 * MIB
MAX_FIELDS = 64
MAX_FILES = 20
_HALF = re.compile(rb"\\u[dD][89abABcdefCDEF]")
"""Escapes of surrogates: two make a character, one alone makes a text that nothing can write."""
_DATA = re.compile(r"data:[^,;]{0,100}(?:;[^,;]{1,100}){0,8}?;base64,", re.IGNORECASE)


def media_type(request: Request) -> str:
    """The declared type of the body in lower case, without parameters; empty when there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def json_object(
    request: Request, *, limit_bytes: int = MAX_JSON_BYTES, any_type: bool = False
) -> dict[str, Any]:
    """The body as a JSON object. `NaN` and `Infinity` come out as floats, for the field's check to refuse.

    Args:
        limit_bytes: of the body.
        any_type: whether the declared type is passed over. Another site's page can send plain types without
            asking, but not without `Origin`, which the guard has looked at.

    Raises:
        Invalid: another media type, no JSON, or no object.
        TooLarge: over `limit_bytes`, or more than `MAX_JSON_VALUES` values.
    """
    return await _parsed(await json_bytes(request, limit_bytes=limit_bytes, any_type=any_type))


async def json_bytes(request: Request, *, limit_bytes: int, any_type: bool = False) -> bytes:
    """The body, unread.

    Args:
        any_type: also where another media type is declared, or none.

    Raises:
        Invalid: another media type.
        TooLarge: over `limit_bytes`, or more than `MAX_JSON_VALUES` values.
    """
    kind = media_type(request)
    if kind != "application/json" and not any_type:
        raise Invalid(
            f"The body must be application/json; it is {shown(kind) if kind else 'of no declared type'}.",
            code="request.media_type",
            hint="send the header Content-Type: application/json",
        )
    body = await _bounded(request, limit_bytes)
    if body.count(b",") > MAX_JSON_VALUES:
        message = f"A JSON body may have {MAX_JSON_VALUES} values at most."
        raise TooLarge(message, code="request.too_large")
    return body


async def _parsed(body: bytes) -> dict[str, Any]:
    """A body as a JSON object. Raises Invalid: no JSON, or no object."""
    try:
        value = _read(body) if len(body) < LARGE_BYTES else await asyncio.to_thread(_read, body)
    except RecursionError:
        raise Invalid("The body is nested too deeply.", code="request.not_json") from None
    except ValueError as error:
        raise Invalid(f"The body is not valid JSON: {_why(error)}.", code="request.not_json") from None
    if not isinstance(value, dict):
        raise Invalid(f"The body must be a JSON object; got {shown(value)}.", code="request.not_json")
    return value


def _read(body: bytes) -> Any:
    """Raises ValueError, RecursionError, Invalid."""
    value = json.loads(body.decode("utf-8-sig"))
    if isinstance(value, dict) and _HALF.search(body):
        _require_whole_characters(value)
    return value


def _require_whole_characters(fields: dict[str, Any]) -> None:
    """Raises Invalid: a text cannot be written."""
    for name, value in fields.items():
        try:
            json.dumps({name: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            shown_name = name.encode("ascii", "backslashreplace").decode()[:64]
            raise Invalid(
                f"{shown_name} holds half a character (\\ud800 to \\udfff alone).",
                field=shown_name,
                code="request.not_json",
            ) from None


def _why(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[0].lower()}{error.msg[1:]} (line {error.lineno}, column {error.colno})"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return "a number has too many digits"


async def _bounded(request: Request, limit_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            message = f"A JSON body may have {format_bytes(limit_bytes)} at most."
            raise TooLarge(message, code="request.too_large")
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Form:
    """A form, taken apart. A name that ends in `[]` is kept without it; files keep their order."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[bytes]] = field(default_factory=dict)


async def form(request: Request) -> Form:
    """The body as multipart/form-data, every file read. What all may weigh together is the guard's limit.

    Raises:
        Invalid: another media type, a field given twice, too many parts.
    """
    kind = media_type(request)
    if kind != "multipart/form-data":
        raise Invalid(
            f"The body must be multipart/form-data; it is {shown(kind) if kind else 'of no declared type'}.",
            code="request.media_type",
            hint="send the picture as the file field `image`, and every other value as a text field",
        )
    taken = Form()
    async with request.form(
        max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
    ) as parsed:
        for key, value in parsed.multi_items():
            name = key.removesuffix("[]")
            if isinstance(value, UploadFile):
                taken.files.setdefault(name, []).append(await value.read())
            elif name in taken.texts:
                raise Invalid(f"{shown(name)} is given twice.", field=name, code="request.repeated")
            else:
                taken.texts[name] = value
    return taken


def decoded(text: str) -> bytes:
    """Base64, bare or in a data address, as bytes; white space in it does not matter. Blocks for large ones.

    Raises:
        Invalid: it is something else.
    """
    if text[:5].lower() == "data:":
        match = _DATA.match(text)
        if match is None:
            raise Invalid("A data address must be base64: data:image/png;base64,…", code="picture.base64")
        text = text[match.end() :]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(
            f"It is not base64: {str(error)[:100]}.",
            code="picture.base64",
            hint="send the bytes of the picture's file in base64",
        ) from None
    if not data:
        raise Invalid("The picture is empty.", code="picture.base64")
    return data


def known_only(sent: Iterable[str], known: Collection[str]) -> None:
    """Raises `unknown_field` for the first name that is not known: nothing is accepted and ignored."""
    for name in sent:
        if name not in known:
            raise unknown_field(name, known)


def unknown_field(
    name: str, known: Collection[str], *, among: Collection[str] | None = None, hint: str | None = None
) -> Invalid:
    """The refusal of a field that nobody would read.

    Args:
        known: what there is instead, in the order in which it is told.
        among: where the nearest name is looked for; None is `known`.
        hint: in place of that.
    """
    near = difflib.get_close_matches(name[:64], list(known if among is None else among), n=1)
    told = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return Invalid(
        f"Unknown field {shown(name)}.", field=name[:64], hint=hint or told, code="request.unknown_field"
    )
