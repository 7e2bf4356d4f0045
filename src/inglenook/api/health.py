# SPDX-License-Identifier: Apache-2.0
"""/livez, /readyz, /health for what watches over the server, and /metrics, which is closed: it tells more."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from inglenook.api.errors import answer, errors, json_response
from inglenook.api.metrics import Metrics
from inglenook.base.clock import Clock
from inglenook.door.caller import caller
from inglenook.door.services import Jobs, Runtime

Parts = Callable[[], Mapping[str, str | None]]
"""The parts that the server needs, by name: None where one is ready, else what is missing, in words."""

_HEALTH: dict[str, Any] = {
    "type": "object",
    "required": ["status", "version", "uptime_s", "parts"],
    "properties": {
        "status": {"type": "string", "enum": ["ok", "starting"]},
        "version": {"type": "string"},
        "uptime_s": {"type": "number"},
        "parts": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
_READY: dict[str, Any] = {
    "type": "object",
    "required": ["ready", "missing"],
    "properties": {
        "ready": {"type": "boolean"},
        "missing": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def health_router(*, version: str, parts: Parts, clock: Clock) -> APIRouter:
    """Open routes. The uptime counts from this call."""
    router = APIRouter(tags=["health"])
    began_s = clock.monotonic()

    @router.get("/livez", summary="The process answers", response_class=PlainTextResponse, responses=errors())
    async def livez() -> Response:
        return PlainTextResponse("ok", headers={"cache-control": "no-store"})

    @router.get(
        "/readyz",
        summary="Everything that requests need is there",
        responses={
            **errors(),
            200: answer("Ready.", _READY),
            503: answer("Not yet; `missing` says what.", _READY),
        },
    )
    async def readyz() -> Response:
        missing = {name: lacking for name, lacking in parts().items() if lacking is not None}
        return json_response({"ready": not missing, "missing": missing}, status_code=503 if missing else 200)

    @router.get(
        "/health", summary="How the server is", responses={200: answer("Always 200.", _HEALTH), **errors()}
    )
    async def health() -> Response:
        states = {name: "ready" if lacking is None else lacking for name, lacking in parts().items()}
        ready = all(state == "ready" for state in states.values())
        return json_response(
            {
                "status": "ok" if ready else "starting",
                "version": version,
                "uptime_s": round(clock.monotonic() - began_s, 3),
                "parts": states,
            }
        )

    return router


def metrics_router(*, metrics: Metrics, jobs: Jobs, runtime: Runtime) -> APIRouter:
    router = APIRouter(tags=["health"], dependencies=[Depends(caller)])

    @router.get(
        "/metrics",
        summary="Meters in Prometheus' text format",
        responses={
            200: {"description": "All meters.", "content": {"text/plain": {"schema": {"type": "string"}}}},
            **errors(),
        },
    )
    async def exposition() -> Response:
        text = metrics.text(jobs=await jobs.counts(), runtime=runtime.snapshot())
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST, "cache-control": "no-store"})

    return router
