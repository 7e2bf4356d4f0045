# SPDX-License-Identifier: Apache-2.0
"""GET /admin/config; PUT and DELETE /admin/config/{key}, also with the names of our own settings."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.cyber.keys import CPU, as_setting, running, setting_of
from inglenook.api.cyber.shapes import OBJECT, errors, required_object
from inglenook.api.errors import answer, json_response
from inglenook.base.errors import Invalid
from inglenook.door.administrator import administration_of, administrator
from inglenook.door.caller import FromCaller, caller
from inglenook.door.services import Runtime
from inglenook.settings import Settings
from inglenook.store.configuration import Configuration, Entry

MAX_KEY_CHARS: Final = 128
_AT_START: Final = "after a restart"
_NOW: Final = "now"


def config_routes(*, configuration: Configuration, settings: Settings, runtime: Runtime) -> APIRouter:
    router = APIRouter(
        prefix="/admin/config",
        tags=["cyber-inference"],
        dependencies=[Depends(caller), Depends(administrator)],
    )

    @router.get(
        "",
        summary="The values that count now (Cyber-Inference)",
        responses={200: answer("By that system's keys.", OBJECT), **errors()},
    )
    async def show(request: Request) -> Response:
        administration = await run_in_threadpool(administration_of, request)
        has_password = administration is not None and administration.has_password
        said = running(settings, has_password=has_password, memory_percent=_memory_percent(runtime))
        said["port"] = request.url.port or said["port"]
        return json_response(said)

    @router.put(
        "/{key}",
        summary="Keep another value for a key, or for a setting of ours (Cyber-Inference)",
        responses={200: answer("`takes_effect` says when.", OBJECT), **errors(400, 404)},
    )
    async def put(request: Request, key: str, who: FromCaller) -> Response:
        body = await required_object(request)
        setting, value = _asked(key, body, settings, _totals(runtime))
        entry = await run_in_threadpool(configuration.put, setting, value, person=who.person)
        return json_response(_kept(key, body, entry))

    @router.delete(
        "/{key}",
        summary="Take back what was kept for a key, or for a setting of ours",
        responses={200: answer("What counts then.", OBJECT), **errors(400, 404)},
    )
    async def clear(key: str, who: FromCaller) -> Response:
        setting = key if "." in key else setting_of(key[:MAX_KEY_CHARS])
        entry = await run_in_threadpool(configuration.clear, setting, person=who.person)
        return json_response(_kept(key, {"value": None}, entry))

    return router


def _asked(
    key: str, body: Mapping[str, Any], settings: Settings, total_bytes: Mapping[str, int]
) -> tuple[str, Any]:
    """The setting, and what it is to be. Raises Invalid, Denied, UnknownKey."""
    setting = key if "." in key else setting_of(key[:MAX_KEY_CHARS])
    if "value" not in body:
        raise Invalid("value is required.", field="value", code="request.missing_field")
    value = body["value"]
    if value is None:
        hint = f"to take a change back: DELETE /admin/config/{key[:MAX_KEY_CHARS]}"
        raise Invalid(f"{key[:MAX_KEY_CHARS]} must have a value; got null.", field="value", hint=hint)
    return setting, value if "." in key else as_setting(key, value, settings, total_bytes)


def _kept(key: str, body: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
    return {
        "key": key,
        "value": body["value"],
        "value_type": "string",
        "description": body.get("description") or entry.says,
        "setting": entry.key,
        "running": entry.text,
        "kept": entry.next_text,
        "takes_effect": _AT_START if entry.waits else _NOW,
    }


def _memory_percent(runtime: Runtime) -> float | None:
    for one in runtime.snapshot()["devices"]:
        if one["id"] == CPU:
            return round(100 * int(one["budget_bytes"]) / int(one["total_bytes"]), 1)
    return None


def _totals(runtime: Runtime) -> dict[str, int]:
    """Bytes of each device that models use."""
    return {str(one["id"]): int(one["total_bytes"]) for one in runtime.snapshot()["devices"]}
