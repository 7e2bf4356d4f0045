# SPDX-License-Identifier: Apache-2.0
"""/livez, /readyz, /health (also /api/health) for what watches over the server, and /metrics, which is
closed: it tells more.

Health has our names, ALICE's and Cyber-Inference's side by side. Meters come in two forms, by what `Accept`
asks for.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from inglenook.api.errors import answer, errors, json_response
from inglenook.api.metrics import Metrics
from inglenook.api.summary import SUMMARY, models_loaded, summary, wants_summary
from inglenook.base.clock import Clock
from inglenook.base.ids import ModelId
from inglenook.chat.model import Counters
from inglenook.door.caller import FromCaller
from inglenook.door.services import Jobs, Runtime

Parts = Callable[[], Mapping[str, str | None]]
"""The parts that the server needs, by name: None where one is ready, else what is missing, in words."""

_HEALTH: dict[str, Any] = {
    "type": "object",
    "required": ["status", "version", "uptime_s", "parts", "gpuAvailable", "modelsLoaded"],
    "properties": {
        "status": {"type": "string", "enum": ["healthy", "ok", "starting"]},
        "service": {"type": "string"},
        "version": {"type": "string"},
        "uptime_s": {"type": "number"},
        "uptimeSeconds": {"type": "number"},
        "gpuAvailable": {"type": "boolean"},
        "gpuStatsAvailable": {"type": "boolean"},
        "modelsLoaded": {"type": "integer"},
        "backend": {"type": ["string", "null"]},
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


HEALTHY = "healthy"
"""What Cyber-Inference's clients look for at /health."""
OK = "ok"
"""What ALICE's do; at /api/health always."""
SERVICE = "cyber-inference"


def health_router(
    *, version: str, parts: Parts, runtime: Runtime, clock: Clock, well: str = HEALTHY
) -> APIRouter:
    """Open routes. The uptime counts from this call.

    Args:
        well: what /health says of a server that is well. Two systems' clients look there,
            each for its own word.
    """
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

    def said(well: str) -> Response:
        states = {name: "ready" if lacking is None else lacking for name, lacking in parts().items()}
        ready = all(state == "ready" for state in states.values())
        uptime_s = round(clock.monotonic() - began_s, 3)
        return json_response(
            {
                "status": well if ready else "starting",
                "service": SERVICE,
                "version": version,
                "uptime_s": uptime_s,
                "uptimeSeconds": uptime_s,
                "parts": states,
                **accelerator_of(runtime.snapshot()),
            }
        )

    @router.get(
        "/api/health",
        summary="How the server is, in ALICE's words",
        responses={200: answer("Always 200.", _HEALTH), **errors()},
    )
    async def alices_health() -> Response:
        return said(OK)

    @router.get(
        "/health", summary="How the server is", responses={200: answer("Always 200.", _HEALTH), **errors()}
    )
    async def health() -> Response:
        return said(well)

    return router


def accelerator_of(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """ALICE's words for the runtime's state: what there is, and how many models are in memory."""
    devices = snapshot["devices"]
    gpus = [device for device in devices if device.get("kind", "cpu") != "cpu"]
    first = (gpus or devices)[:1]
    return {
        "gpuAvailable": bool(gpus),
        "gpuStatsAvailable": any(device.get("used_bytes") is not None for device in gpus),
        "modelsLoaded": models_loaded(snapshot),
        "backend": _backend(first[0]) if first else None,
    }


def _backend(device: Mapping[str, Any]) -> str:
    kind = str(device.get("kind", device["id"])).upper()
    name = device.get("name")
    return f"PyTorch ({kind} - {name})" if name else f"PyTorch ({kind})"


def metrics_router(
    *,
    metrics: Metrics,
    jobs: Jobs,
    runtime: Runtime,
    counters: Callable[[], Mapping[ModelId, Counters]],
) -> APIRouter:
    """Args:
    counters: what language models have done since the server started.
    """
    router = APIRouter(tags=["health"])

    @router.get(
        "/metrics",
        summary="Meters in Prometheus' text format, or a summary in JSON, by what Accept asks for",
        responses={
            200: {
                "description": "All meters, or the summary.",
                "content": {
                    "text/plain": {"schema": {"type": "string"}},
                    "application/json": {"schema": SUMMARY},
                },
            },
            **errors(),
        },
    )
    async def meters(request: Request, who: FromCaller) -> Response:
        if wants_summary(request.headers.get("accept")):
            return json_response(await summary(jobs=jobs, snapshot=runtime.snapshot(), person=who.person))
        text = metrics.text(jobs=await jobs.counts(), runtime=runtime.snapshot(), language=counters())
        headers = {"content-type": CONTENT_TYPE_LATEST, "cache-control": "no-store", "vary": "accept"}
        return Response(text, headers=headers)

    return router
