# SPDX-License-Identifier: Apache-2.0
"""What /metrics counts (Prometheus). Labels name routes, states and devices; never a person or a prompt."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inglenook.base.clock import Clock
from inglenook.base.ids import ModelId
from inglenook.chat.model import Counters
from inglenook.jobs.model import JobState

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The meters of one server, in a registry of its own."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._registry = registry
        route = ("method", "route")
        self._requests = Counter(
            "inglenook_http_requests", "Answers, by status.", (*route, "status"), registry=registry
        )
        self._seconds = Histogram(
            "inglenook_http_first_byte_seconds",
            "From a request to the first byte of its answer.",
            route,
            buckets=_SECONDS,
            registry=registry,
        )
        self._jobs = Gauge("inglenook_jobs", "Jobs, by state.", ("state",), registry=registry)
        self._queue = Gauge(
            "inglenook_queue_length", "Requests that wait for the accelerator.", registry=registry
        )
        self._device_bytes = Gauge(
            "inglenook_device_bytes",
            "Memory of a device: total, budget, reserved by us, used by all.",
            ("device", "what"),
            registry=registry,
        )
        self._residents = Gauge(
            "inglenook_residents", "Model processes, by state.", ("state",), registry=registry
        )

        self._model_requests = Gauge(
            "inglenook_model_requests",
            "Requests that language models have taken since the start, by outcome: all, failed.",
            ("model", "what"),
            registry=registry,
        )
        self._model_tokens = Gauge(
            "inglenook_model_tokens",
            "Tokens of language models since the start, as answers told: prompt, completion.",
            ("model", "what"),
            registry=registry,
        )
        self._model_speed = Gauge(
            "inglenook_model_tokens_per_second",
            "Tokens per second of a language model's last completions.",
            ("model",),
            registry=registry,
        )

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)

    def text(
        self,
        *,
        jobs: Mapping[JobState, int],
        runtime: Mapping[str, Any],
        language: Mapping[ModelId, Counters],
    ) -> bytes:
        """The exposition, with the gauges as they are now.

        Args:
            runtime: the runtime's snapshot.
            language: what language models have done.
        """
        for state, count in jobs.items():
            self._jobs.labels(state.value).set(count)
        self._queue.set(len(runtime["queue"]))
        self._device_bytes.clear()
        for device in runtime["devices"]:
            for what in ("total", "budget", "reserved", "used"):
                amount = device.get(f"{what}_bytes")
                if amount is not None:
                    self._device_bytes.labels(str(device["id"]), what).set(amount)
        self._residents.clear()
        for resident in runtime["residents"]:
            self._residents.labels(str(resident["state"])).inc()
        for model, counters in language.items():
            self._model_requests.labels(model, "all").set(counters.requests)
            self._model_requests.labels(model, "failed").set(counters.failures)
            self._model_tokens.labels(model, "prompt").set(counters.prompt_tokens)
            self._model_tokens.labels(model, "completion").set(counters.completion_tokens)
            if counters.tokens_per_s is not None:
                self._model_speed.labels(model).set(counters.tokens_per_s)
        return generate_latest(self._registry)


class MeasureRequests:
    """ASGI middleware, outermost: every answer is counted, also a refusal at the threshold."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, clock: Clock) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = self._clock.monotonic()

        async def watching(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(
                    method=scope["method"],
                    route=_route(scope),
                    status=message["status"],
                    seconds=self._clock.monotonic() - began_s,
                )
            await send(message)

        await self._app(scope, receive, watching)


def _route(scope: Scope) -> str:
    """The route as it is declared, or where the files that answered are mounted."""
    declared = getattr(scope.get("route"), "path", None)
    return str(declared or scope.get("root_path") or "unmatched")
