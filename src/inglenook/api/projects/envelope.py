# SPDX-License-Identifier: Apache-2.0
"""AI Studio's dialect: `{"status": "ok", "data": …}`, its codes of errors, bodies as JSON or as a form.

Where HTMX asks (`HX-Request`), a route answers with the fragment that a page has registered for it, and an
error is a fragment too.
"""

import functools
import html
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import msgspec
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from msgspec.inspect import StructType, Type, UnionType, type_info
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import MAX_FIELD_BYTES, MAX_FIELDS, json_object, media_type
from inglenook.api.errors import json_response
from inglenook.base.errors import Invalid, begun
from inglenook.door.caller import Caller
from inglenook.door.fragments import Fragment, Fragments
from inglenook.door.problem import Problem, problem_of, shown

PREFIXES: Final = (
    "/api/projects",
    "/api/datasets",
    "/api/splits",
    "/api/tasks",
    "/api/training",
    "/api/evaluation",
    "/api/export",
)
"""Paths under which errors look as here."""

BODY_INVALID: Final = "Request validation failed."
_FORMS: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_MAX_FORM_FIELDS: Final = 4 * MAX_FIELDS
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}(\[\])?")

_BY_CODE: Mapping[str, tuple[int, str]] = {
    "dataset.not_imported": (422, "DATASET_NOT_IMPORTED"),
    "split.not_found": (404, "SPLIT_NOT_FOUND"),
    "experiment.not_found": (404, "EXPERIMENT_NOT_FOUND"),
    "checkpoint.not_found": (404, "CHECKPOINT_NOT_FOUND"),
    "training.in_progress": (409, "TRAINING_IN_PROGRESS"),
    "store.disk_full": (507, "DISK_FULL"),
}
_BY_KIND: Mapping[str, tuple[int, str]] = {
    "not_found": (404, "NOT_FOUND"),
    "invalid": (422, "VALIDATION_ERROR"),
    "too_large": (413, "VALIDATION_ERROR"),
    "conflict": (409, "CONFLICT"),
    "unidentified": (401, "UNAUTHENTICATED"),
    "denied": (403, "FORBIDDEN"),
    "busy": (429, "BUSY"),
    "unavailable": (503, "UNAVAILABLE"),
    "cancelled": (499, "CANCELLED"),
    "not_offered": (501, "NOT_OFFERED"),
    "failed": (500, "INTERNAL_ERROR"),
}

_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["status", "error"],
    "properties": {
        "status": {"type": "string", "enum": ["error"]},
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "array", "items": {"type": "object"}},
            },
        },
    },
}
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": words, "content": {"application/json": {"schema": _ERROR}}}
    for status, words in {
        401: "Nobody is known to ask.",
        403: "The project is only to be looked at.",
        404: "It is not there.",
        409: "Not now: what it is about is in another state.",
        413: "More than is accepted.",
        422: "A field cannot be accepted.",
        503: "Something that it needs cannot be used.",
        507: "There is no room on the disk.",
    }.items()
}
"""What `/openapi.json` says of every route under `PREFIXES`. For `APIRouter(responses=…)`."""

T = TypeVar("T")
Detail = dict[str, Any]
Details = list[Detail]


class BodyInvalid(Invalid):
    """A body, or another part of a request, that a route's declaration does not accept."""

    default_code = "request.invalid"

    def __init__(self, details: Details) -> None:
        """Args:
        details: what is wrong, one entry each: `loc`, `msg`, `type`.
        """
        super().__init__(BODY_INVALID, hint="; ".join(_words(it) for it in details[:5]))
        self.details = details


def _words(detail: Mapping[str, Any]) -> str:
    where = ".".join(str(it) for it in detail["loc"] if it not in ("body", "query", "path"))
    return f"{where}: {detail['msg']}" if where else str(detail["msg"])


# -- answers ---------------------------------------------------------------------------------------------


def ok(data: object, *, headers: Mapping[str, str] | None = None) -> Response:
    """The envelope of a success; always 200, also for what was created."""
    return json_response({"status": "ok", "data": data}, headers=headers)


async def answer(
    request: Request,
    caller: Caller,
    route: str,
    data: Mapping[str, Any],
    *,
    fragment_headers: Mapping[str, str] | None = None,
) -> Response:
    """The envelope; or the fragment that is registered for `route`, where HTMX asks.

    Args:
        fragment_headers: of the fragment alone (`HX-Redirect`, `HX-Trigger` …).
    """
    fragment = _fragment(request, route)
    if fragment is None:
        return ok(data)
    made = await fragment(request, caller, data)
    made.headers.update(fragment_headers or {})
    made.headers["vary"] = "HX-Request"
    return made


def is_htmx(request: Request) -> bool:
    """Whatever the header says, it is there."""
    return "hx-request" in request.headers


def has_fragment(request: Request, route: str) -> bool:
    """Whether `answer` would answer with a fragment."""
    return _fragment(request, route) is not None


def _fragment(request: Request, route: str) -> Fragment | None:
    fragments = request.app.state.fragments
    assert isinstance(fragments, Fragments)
    return fragments.find(route) if is_htmx(request) else None


def render_envelope(request: Request, problem: Problem) -> Response:
    """A `door.problem.Renderer`."""
    return _render(request, problem, None)


def sentence(hint: str) -> str:
    """A hint as it stands behind a message."""
    end = "" if hint.endswith(("?", ".", "!")) else "."
    return f"{begun(hint)}{end}"


def _render(request: Request, problem: Problem, details: Details | None) -> Response:
    status, code = _BY_CODE.get(problem.code) or _BY_KIND[problem.kind]
    if problem.code.startswith("http."):
        status = problem.status  # the framework's own: no such method, for instance
    message = problem.message
    if problem.hint and details is None:
        message = f"{message} {sentence(problem.hint)}"
    headers = problem.http_headers()
    if is_htmx(request):
        told = message if details is None else problem.hint or message
        toast = f'<div class="error-toast" role="alert">{html.escape(told)}</div>'
        return Response(toast, status_code=status, media_type="text/html", headers=headers)
    error: dict[str, Any] = {"code": code, "message": message}
    if details is not None:
        error["details"] = details
    return json_response({"status": "error", "error": error}, status_code=status, headers=headers)


class EnvelopeRoute(APIRoute):
    """A route whose validation errors list each value that is wrong. For `APIRouter(route_class=…)`."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]  # a handler of FastAPI's returns a Coroutine
        handler = super().get_route_handler()

        async def caught(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                invalid = BodyInvalid([_plain(it) for it in error.errors()])
                return _render(request, problem_of(invalid), invalid.details)
            except BodyInvalid as error:
                return _render(request, problem_of(error), error.details)

        return caught


def _plain(error: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of pydantic's list as JSON can hold it: a validator's own exception is not among it."""
    return {
        "loc": [it if isinstance(it, int) else str(it) for it in error["loc"]],
        "msg": str(error["msg"]),
        "type": str(error["type"]),
        "input": shown(error.get("input")),
    }


def invalid_field(error: Invalid) -> Invalid:
    """An `Invalid` of a service that names a field of the body, as the list that clients expect, with what to
    do; another one (a corrupt document) stays itself.
    """
    if error.field is None:
        return error
    told = f"{error.message} {sentence(error.hint)}" if error.hint else error.message
    return BodyInvalid([{"loc": ["body", *error.field.split(".")], "msg": told, "type": "value_error"}])


def unknown_field(name: str, known: Collection[str]) -> Detail:
    """What is said of a field of the body that there is not."""
    return {"loc": ["body", name[:80]], "msg": _unknown(name, sorted(known)), "type": "extra_forbidden"}


# -- requests --------------------------------------------------------------------------------------------


async def fields(request: Request) -> tuple[dict[str, Any], bool]:
    """The body as nested fields, and whether it was a form, whose values are all text. No body: no fields.

    Of a form, dotted keys nest (`model.backbone`), a `[]` at a key's end collects a list, a value that begins
    with `{` or `[` is JSON, and of a key that is given twice the last counts.

    Raises:
        BodyInvalid: no JSON object, no form, or keys that contradict each other.
        TooLarge: over the limits of `api.bodies`.
    """
    kind = media_type(request)
    if kind in _FORMS:
        async with request.form(
            max_files=0, max_fields=_MAX_FORM_FIELDS, max_part_size=MAX_FIELD_BYTES
        ) as form:
            pairs = [(key, value) for key, value in form.multi_items() if not isinstance(value, UploadFile)]
        return nested(pairs), True
    if request.headers.get("content-length") == "0" or (not kind and not await request.body()):
        return {}, False
    try:
        return await json_object(request), False
    except Invalid as error:
        raise BodyInvalid([{"loc": ["body"], "msg": error.message, "type": "json_invalid"}]) from None


def nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """A form's pairs as nested fields. Raises BodyInvalid."""
    found: dict[str, Any] = {}
    for key, text in pairs:
        if not _KEY.fullmatch(key):
            raise _wrong(key, "is not the name of a field")
        value = _value(key, text)
        path = key.removesuffix("[]").split(".")
        place = found
        for part in path[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise _wrong(key, "stands beside a plain value of the same name")
        last = path[-1]
        if key.endswith("[]"):
            some = place.setdefault(last, [])
            if not isinstance(some, list):
                raise _wrong(key, "stands beside a plain value of the same name")
            some.append(value)
        elif isinstance(place.get(last), dict) and not isinstance(value, dict):
            raise _wrong(key, "stands beside fields below the same name")
        else:
            place[last] = value
    return found


def _value(key: str, text: str) -> Any:
    if text[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _wrong(key, "begins like JSON and is none") from None


def _wrong(key: str, why: str) -> BodyInvalid:
    return BodyInvalid([{"loc": ["body", key[:80]], "msg": f"{key[:80]} {why}", "type": "value_error"}])


def _require_known(given: Mapping[str, Any], kind: Any) -> None:
    """Raises BodyInvalid: every unknown field, also of what stands within a field."""
    if unknown := list(_unknown_fields(given, _described(kind), ("body",))):
        raise BodyInvalid(unknown)


@functools.cache
def _described(kind: Any) -> StructType:
    found = type_info(kind)
    assert isinstance(found, StructType)
    return found


def _unknown_fields(given: Mapping[str, Any], kind: StructType, place: tuple[str, ...]) -> Iterator[Detail]:
    """Args:
    place: where `given` stands.
    """
    known = {field.encode_name: field for field in kind.fields}
    for name, value in given.items():
        if name in known:
            inner = _struct_in(known[name].type)
            if inner is not None and isinstance(value, Mapping):
                yield from _unknown_fields(value, inner, (*place, name))
        elif kind.forbid_unknown_fields:
            where = [*place, name[:80]]
            yield {"loc": where, "msg": _unknown(name, list(known)), "type": "extra_forbidden"}


def _struct_in(kind: Type) -> StructType | None:
    """The struct that a field holds, where it holds one, also one that may be left out."""
    options = kind.types if isinstance(kind, UnionType) else (kind,)
    return next((it for it in options if isinstance(it, StructType)), None)


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    told = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
    return f"There is no field {name[:60]!r}; {told}"


async def parsed(request: Request, kind: type[T]) -> T:
    """The body as a value of `kind`, a msgspec Struct. Text in a form counts as the number, truth value or
    null that it spells. Raises BodyInvalid, TooLarge.
    """
    given, is_form = await fields(request)
    return converted(given, kind, is_form=is_form)


def converted(given: Mapping[str, Any], kind: type[T], *, is_form: bool = False) -> T:
    """Raises BodyInvalid; where `kind` forbids unknown fields, with the nearest name that it knows."""
    _require_known(given, kind)
    try:
        return msgspec.convert(dict(given), kind, strict=not is_form)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        loc = ["body", *(it for it in re.split(r"[.\[\]`]+", path) if it)]
        raise BodyInvalid([{"loc": loc, "msg": message, "type": "value_error"}]) from None
