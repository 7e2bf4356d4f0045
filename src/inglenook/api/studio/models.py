# SPDX-License-Identifier: Apache-2.0
"""What can be done with one model: load, unload, pin, and set how it is used. An id may hold slashes; an
alias is as good."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from inglenook.api.bodies import json_object, known_only, media_type
from inglenook.api.errors import answer, errors, json_response
from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import PersonId
from inglenook.catalog.errors import unusable
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.chat import options as rules
from inglenook.chat.model import Counters, KeptOptions, ModelState
from inglenook.door.administrator import administrator
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown
from inglenook.door.services import Language

log = logging.getLogger(__name__)

_OBJECT: dict[str, Any] = {"type": "object"}
_STATE: dict[str, Any] = {
    "type": "object",
    "required": ["model", "state", "away_s", "pinned"],
    "properties": {
        "model": {"type": "string"},
        "state": {
            "type": "string",
            "enum": ["ready", "loading", "unloading", "failed", "unloaded", "unusable"],
        },
        "away_s": {"type": ["number", "null"], "description": "seconds until it could answer"},
        "problem": {"type": ["string", "null"]},
        "pinned": {"type": "boolean"},
    },
}
_OPTIONS: dict[str, Any] = {
    "type": "object",
    "required": ["model", "options", "changed_by", "changed_at", "stale", "known"],
    "properties": {
        "options": {"type": "object", "description": "what is set"},
        "stale": {"type": "array", "items": {"type": "string"}, "description": "work from the next load on"},
        "known": {"type": "array", "items": {"type": "object"}, "description": "what there is"},
    },
}
_LOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "keep_s": {"type": ["number", "null"], "description": "-1 for ever"},
                        "wait": {"type": "boolean", "default": True},
                    },
                }
            }
        },
    }
}
_PIN_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"pinned": {"type": "boolean", "default": True}}}
            }
        },
    }
}


class Load(Protocol):
    """Loads a model of one kind, and returns when it is ready."""

    def __call__(
        self, model: ModelRecord, person: PersonId, stop: StopToken | None = None
    ) -> Coroutine[Any, Any, None]: ...


def model_router(*, language: Language, loads: Mapping[ModelKind, Load]) -> APIRouter:
    """Add it before the routers that know `/v1/models/{id}`, which would take its paths for ids.

    Args:
        loads: by the kind of model; one without is loaded only when it is asked for.
    """
    router = APIRouter(prefix="/v1/models/{model_id:path}", tags=["models"], dependencies=[Depends(caller)])
    loading = _Loading(language=language, loads=loads)

    @router.get(
        "/state",
        summary="Whether a model is loaded, or how far away it is",
        responses={200: answer("As it is now.", _STATE), **errors(400, 404)},
    )
    async def state(model_id: str) -> Response:
        return json_response(_state(language, await language.found(model_id)))

    @router.post(
        "/load",
        summary="Load a model before anybody asks it anything",
        dependencies=[Depends(administrator)],
        openapi_extra=_LOAD_BODY,
        responses={
            200: answer("It is ready.", _STATE),
            202: answer("With `wait` false: it is being loaded.", _STATE),
            **errors(400, 401, 404, 409, 499, 503),
        },
    )
    async def load(who: FromCaller, model_id: str, request: Request) -> Response:
        body = await _body(request, "keep_s", "wait")
        keep_s, wait = _keep_s(body), _flag(body, "wait", default=True)
        model = await language.found(model_id)
        if wait:
            await loading.wait(model, who.person, keep_s, request.receive)
        else:
            await loading.begin(model, who.person, keep_s)
        return json_response(_state(language, model), status_code=200 if wait else 202)

    @router.post(
        "/unload",
        summary="Unload a model: now, or when its work is done; nothing is cut off",
        dependencies=[Depends(administrator)],
        responses={200: answer("It goes.", _STATE), **errors(400, 404, 409)},
    )
    async def unload(model_id: str) -> Response:
        model = await language.found(model_id)
        await language.unload(model)
        return json_response(_state(language, model))

    @router.post(
        "/pin",
        summary="Never unload a model for others once it is loaded, or do so again",
        dependencies=[Depends(administrator)],
        openapi_extra=_PIN_BODY,
        responses={200: answer("As it is now.", _STATE), **errors(400, 404)},
    )
    async def pin(who: FromCaller, model_id: str, request: Request) -> Response:
        pinned = _flag(await _body(request, "pinned"), "pinned", default=True)
        model = await language.found(model_id)
        await language.pin(model, pinned, person=who.person)
        return json_response(_state(language, model))

    @router.get(
        "/options",
        summary="What is set for a model, and what can be",
        responses={200: answer("All of it.", _OPTIONS), **errors(400, 404)},
    )
    async def options(model_id: str) -> Response:
        model = await language.found(model_id)
        return json_response(_options(language, model, language.options(model.id)))

    @router.patch(
        "/options",
        summary="Set options of a model; null clears one",
        dependencies=[Depends(administrator)],
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": _OBJECT}}}
        },
        responses={200: answer("As they are now.", _OPTIONS), **errors(400, 404, 409)},
    )
    async def change(who: FromCaller, model_id: str, request: Request) -> Response:
        changes = await json_object(request)
        model = await language.found(model_id)
        kept = await language.set_options(model, changes, person=who.person)
        return json_response(_options(language, model, kept))

    @router.delete(
        "/options",
        summary="Take back everything that was set for a model",
        dependencies=[Depends(administrator)],
        responses={200: answer("As they are now.", _OPTIONS), **errors(400, 404)},
    )
    async def reset(who: FromCaller, model_id: str) -> Response:
        model = await language.found(model_id)
        return json_response(
            _options(language, model, await language.reset_options(model, person=who.person))
        )

    return router


class _Loading:
    """Loads that a request waits for, and loads that nobody waits for."""

    def __init__(self, *, language: Language, loads: Mapping[ModelKind, Load]) -> None:
        self._language = language
        self._loads = loads
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait(
        self, model: ModelRecord, person: PersonId, keep_s: float | None, receive: Receive
    ) -> None:
        """Whoever hangs up leaves the queue; a load that has begun goes on."""
        stop = StopToken()

        async def leave() -> None:
            stop.stop(StopReason.CLIENT_GONE)

        await while_connected(receive, self._able(model)(model, person, stop), on_gone=leave)
        self._keep(model, keep_s)

    async def begin(self, model: ModelRecord, person: PersonId, keep_s: float | None) -> None:
        loading = self._able(model)(model, person)
        task = asyncio.create_task(self._alone(loading, model, keep_s), name=f"load {model.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(0)  # it is asked for before we answer

    async def _alone(
        self, loading: Coroutine[Any, Any, None], model: ModelRecord, keep_s: float | None
    ) -> None:
        try:
            await loading
        except InglenookError as error:  # its state tells it to whoever looks
            log.warning("%s could not be loaded: %s", model.id, error.message)
        else:
            self._keep(model, keep_s)

    def _keep(self, model: ModelRecord, keep_s: float | None) -> None:
        if keep_s is not None:
            self._language.keep_loaded(model, keep_s)

    def _able(self, model: ModelRecord) -> Load:
        if model.problem is not None:  # a file that cannot be read is of no kind that is loaded
            raise unusable(model.id, model.problem)
        found = self._loads.get(model.kind)
        if found is None:
            raise Invalid(
                f"{model.id} is a model of kind {model.kind}; such models are loaded with what needs them.",
                field="model",
                code="model.no_load",
                hint=f"models of kind {', '.join(self._loads)} can be loaded",
            )
        return found


async def _body(request: Request, *known: str) -> Mapping[str, Any]:
    """The JSON body; empty where there is none. Raises Invalid for a field that is not `known`."""
    if not media_type(request) and request.headers.get("content-length", "0") == "0":
        return {}
    body = await json_object(request)
    known_only(body, known)
    return body


def _flag(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Invalid(f"{name} must be true or false; got {shown(value)}.", field=name)
    return value


def _keep_s(body: Mapping[str, Any]) -> float | None:
    value = body.get("keep_s")
    return None if value is None else rules.changed(rules.NOTHING, {"keep_s": value}).keep_s


def _state(language: Language, model: ModelRecord) -> dict[str, Any]:
    return state_json(language.state(model), language.counters().get(model.id, Counters()))


def state_json(state: ModelState, counters: Counters) -> dict[str, Any]:
    """The state, with what the model has done since the server started as `counters`."""
    last = counters.last_used
    return {
        **asdict(state),
        "counters": {**asdict(counters), "last_used": None if last is None else last.isoformat()},
    }


def _options(language: Language, model: ModelRecord, kept: KeptOptions) -> dict[str, Any]:
    known = rules.RULES if model.kind is ModelKind.LANGUAGE else rules.OF_EVERY_KIND
    return {
        "model": model.id,
        "options": rules.as_json(kept.options),
        "changed_by": kept.person,
        "changed_at": None if kept.changed_at is None else kept.changed_at.isoformat(),
        "stale": list(language.state(model).stale),
        "known": rules.description(known),
    }
