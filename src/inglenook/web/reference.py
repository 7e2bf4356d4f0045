# SPDX-License-Identifier: Apache-2.0
"""/docs (and /redoc): what /openapi.json says, as a page of our own. Nothing is loaded from elsewhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inglenook.door.caller import caller
from inglenook.web.templating import HEADERS, html


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `body` is the media type of what is sent, or empty; `answers` are (status, meaning)."""

    method: str
    path: str
    summary: str
    parameters: tuple[Field, ...]
    body: str
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str], ...]


def reference_router() -> APIRouter:
    router = APIRouter(include_in_schema=False, dependencies=[Depends(caller)])

    @router.get("/docs")
    def docs(request: Request) -> Response:
        description = request.app.openapi()
        return html(
            "reference.html", {"groups": grouped(description), "version": description["info"]["version"]}
        )

    @router.get("/redoc")
    def redoc() -> Response:
        return RedirectResponse("/docs", status_code=307, headers=HEADERS)

    return router


def grouped(description: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """The operations by their first tag, both in the order of the description."""
    groups: dict[str, list[Operation]] = {}
    for path, methods in description["paths"].items():
        for method, said in methods.items():
            tag = (said.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(method, path, said))
    return groups


def _operation(method: str, path: str, said: Mapping[str, Any]) -> Operation:
    content = said.get("requestBody", {}).get("content", {})
    body = next(iter(content), "")
    return Operation(
        method=method.upper(),
        path=path,
        summary=said.get("summary", ""),
        parameters=tuple(_parameters(said)),
        body=body,
        fields=tuple(_fields(content[body].get("schema", {}))) if body else (),
        answers=tuple(
            (status, answer.get("description", "")) for status, answer in said.get("responses", {}).items()
        ),
    )


def _parameters(said: Mapping[str, Any]) -> Iterator[Field]:
    for one in said.get("parameters", ()):
        kind = f"{one['in']}, {_kind(one.get('schema', {}))}"
        yield Field(one["name"], kind, one.get("required", False), one.get("description", ""))


def _fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        yield Field(name, _kind(one), name in required, one.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    for how in ("anyOf", "oneOf"):
        if how in schema:
            return " | ".join(dict.fromkeys(map(_kind, schema[how])))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return " | ".join(kind) if isinstance(kind, list) else str(kind)
