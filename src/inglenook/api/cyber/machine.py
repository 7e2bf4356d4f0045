# SPDX-License-Identifier: Apache-2.0
"""The machine as Cyber-Inference's clients see it: status, resources, sessions, shutdown."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psutil
from fastapi import APIRouter, Depends
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.cyber.shapes import OBJECT, errors
from inglenook.api.errors import answer, json_response
from inglenook.base.clock import Clock
from inglenook.base.errors import Denied
from inglenook.base.units import GIB, MIB
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.door.administrator import administration_of, administrator
from inglenook.door.caller import caller
from inglenook.door.services import Catalog, Language, Runtime

KINDS: Final = (ModelKind.LANGUAGE, ModelKind.SPEECH)
"""What its clients call a model."""
_READY: Final = "ready"
_STATES: Final[Mapping[str, str]] = {"ready": "running", "starting": "starting", "draining": "stopping"}
_LIST: Final[dict[str, Any]] = {"type": "array", "items": OBJECT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What every route of the dialect works with."""

    language: Language
    catalog: Catalog
    runtime: Runtime
    clock: Clock

    def records(self) -> dict[str, ModelRecord]:
        """Models by id, usable ones only. Blocks."""
        found = (record for kind in KINDS for record in self.catalog.list(kind))
        return {record.id: record for record in found if record.problem is None}

    def loaded(self) -> list[str]:
        """Ids of models that are ready, of every kind: the memory is one. Each once, also one that is loaded
        for chats and for embeddings."""
        residents = self.runtime.snapshot()["residents"]
        return list(dict.fromkeys(str(one["model"]) for one in residents if one["state"] == _READY))


def machine_routes(
    machine: Machine, *, version: str, own_models: Path, shut_down: Callable[[], None]
) -> APIRouter:
    router = APIRouter(
        prefix="/admin", tags=["cyber-inference"], dependencies=[Depends(caller), Depends(administrator)]
    )
    began_s = machine.clock.monotonic()
    psutil.cpu_percent()  # the first reading is of no time at all

    @router.get(
        "/status",
        summary="The server in short (Cyber-Inference)",
        responses={200: answer("As it is now.", OBJECT), **errors()},
    )
    async def status() -> Response:
        loaded = machine.loaded()
        said = {
            "version": version,
            "status": "running",
            "uptime_seconds": round(machine.clock.monotonic() - began_s, 3),
            "running_models": loaded,
            "loaded_model_count": len(loaded),
            "cpu_percent": psutil.cpu_percent(),
            "memory_percent": (await run_in_threadpool(psutil.virtual_memory)).percent,
            "gpu_available": bool(gpus(machine.runtime.snapshot())),
        }
        return json_response(said)

    @router.get(
        "/resources",
        summary="Processor, memory, accelerator, disk (Cyber-Inference)",
        responses={200: answer("As it is now.", OBJECT), **errors()},
    )
    async def read_resources() -> Response:
        disk = await run_in_threadpool(psutil.disk_usage, str(own_models))
        memory = await run_in_threadpool(psutil.virtual_memory)
        snapshot = machine.runtime.snapshot()
        return json_response(
            {
                "platform": os.uname().sysname.lower(),
                "cpu_count": os.cpu_count(),
                "cpu_percent": psutil.cpu_percent(),
                "total_memory_gb": _gib(memory.total),
                "available_memory_gb": _gib(memory.available),
                "memory_percent": memory.percent,
                "disk_total_gb": _gib(disk.total),
                "disk_free_gb": _gib(disk.free),
                **_gpu_fields(snapshot),
            }
        )

    @router.get(
        "/sessions",
        summary="Processes that hold a model (Cyber-Inference)",
        responses={200: answer("One each.", _LIST), **errors()},
    )
    async def sessions(request: Request) -> Response:
        records = await run_in_threadpool(machine.records)
        snapshot = machine.runtime.snapshot()
        port = request.url.port or 0
        return json_response(
            [
                session(machine, records[one["model"]], one, snapshot, port)
                for one in snapshot["residents"]
                if one["model"] in records and one["state"] in _STATES
            ]
        )

    @router.post(
        "/shutdown",
        summary="Stop the server; only where an administrator's password is set (Cyber-Inference)",
        responses={200: answer("It stops after this answer.", OBJECT), **errors()},
    )
    async def shutdown(request: Request) -> Response:
        administration = await run_in_threadpool(administration_of, request)
        if administration is None or not administration.has_password:
            raise Denied(
                "The server is stopped from here only by an administrator who has shown a password.",
                code="admin.no_password",
                hint="set server.admin_password, or stop the server where it was started",
            )
        reply = json_response({"status": "shutting_down"})
        reply.background = BackgroundTask(shut_down)
        return reply

    return router


def session(
    machine: Machine, record: ModelRecord, resident: Mapping[str, Any], snapshot: Mapping[str, Any], port: int
) -> dict[str, Any]:
    """A resident as a session. It has no port of its own: it answers at the server's."""
    state = machine.language.state(record) if record.kind is ModelKind.LANGUAGE else None
    counted = machine.language.counters().get(record.id)
    measured = int(resident.get("measured_bytes") or 0)
    on_gpu = any(one["id"] == resident.get("device") for one in gpus(snapshot))
    began = machine.clock.now() - timedelta(seconds=float(resident.get("since_s") or 0.0))
    used = None if counted is None or counted.last_used is None else moment(counted.last_used)
    return {
        "id": number(str(resident["id"])),
        "model_id": number(record.id),
        "model_name": record.id,
        "port": port,
        "pid": None,
        "status": _STATES.get(str(resident["state"]), str(resident["state"])),
        "memory_mb": 0.0 if on_gpu else round(measured / MIB, 1),
        "gpu_memory_mb": round(measured / MIB, 1) if on_gpu else 0.0,
        "context_size": None if state is None else state.context,
        "device": resident.get("device"),
        "started_at": moment(began),
        "last_request_at": used,
        "request_count": 0 if counted is None else counted.requests,
    }


def number(name: str) -> int:
    """A number that stays the same for a name, for clients that keep one."""
    return int.from_bytes(sha256(name.encode()).digest()[:4], "big") >> 1


def moment(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds")


def gpus(snapshot: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [device for device in snapshot["devices"] if device.get("kind", "cpu") != "cpu"]


def _gpu_fields(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    found = gpus(snapshot)
    if not found:
        return dict.fromkeys(("gpu_info", "gpu_memory_total_gb", "gpu_memory_used_gb", "gpu_memory_note"))
    used = [device["used_bytes"] for device in found if device.get("used_bytes") is not None]
    return {
        "gpu_info": ", ".join(str(device.get("name") or device["id"]) for device in found),
        "gpu_memory_total_gb": _gib(sum(int(device["total_bytes"]) for device in found)),
        "gpu_memory_used_gb": _gib(sum(used)) if used else None,
        "gpu_memory_note": None if used else "the driver does not tell how much is used",
    }


def resources(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """As /ws/status tells them."""
    memory = psutil.virtual_memory()
    said: dict[str, Any] = {
        "cpu_percent": psutil.cpu_percent(),
        "memory_percent": memory.percent,
        "memory_used_gb": _gib(memory.total - memory.available),
        "memory_total_gb": _gib(memory.total),
    }
    fields = _gpu_fields(snapshot)
    if fields["gpu_info"] is not None:
        said["gpu"] = {
            "name": fields["gpu_info"],
            "memory_used_gb": fields["gpu_memory_used_gb"],
            "memory_total_gb": fields["gpu_memory_total_gb"],
            "memory_note": fields["gpu_memory_note"],
        }
    return said


def _gib(count: int) -> float:
    return round(count / GIB, 2)
