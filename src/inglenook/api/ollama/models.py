# SPDX-License-Identifier: Apache-2.0
"""GET /api/tags, /api/ps, /api/version, POST /api/show; and `HEAD /`, by which clients look for a server."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import answer, json_response
from inglenook.api.ollama.bodies import model_name, read_object
from inglenook.api.ollama.chat import thinks
from inglenook.api.ollama.errors import errors
from inglenook.api.ollama.held import Desk
from inglenook.api.ollama.names import listed_name
from inglenook.catalog.model import LanguageFacts, LanguageTask, ModelKind, ModelRecord
from inglenook.chat.model import ModelOptions, ModelState
from inglenook.door.caller import caller

API_VERSION: Final = "0.13.0"
"""The version of Ollama whose API this is: clients compare it before they use something newer."""
_NEVER_S: Final = 100 * 365 * 86400.0
_LISTED: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"models": {"type": "array", "items": {"type": "object"}}},
}
_PARAMETERS: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "max_tokens": "num_predict",
    "context": "num_ctx",
}
"""Our options of a model that Ollama's Modelfile has too, and its names for them."""
_INFILL: Final = ("fim_prefix", "<|fim_", "<PRE>")


def model_routes(desk: Desk, *, version: str) -> APIRouter:
    router = APIRouter(tags=["ollama"], dependencies=[Depends(caller)])

    @router.head("/", include_in_schema=False)
    @router.head("/api/version", include_in_schema=False)
    @router.head("/api/tags", include_in_schema=False)
    def is_here() -> Response:
        return Response(headers={"cache-control": "no-store"})

    @router.get(
        "/api/version",
        summary="The version of Ollama's API, and of this program (Ollama)",
        responses={200: answer("Both.", {"type": "object"}), **errors()},
    )
    def api_version() -> Response:
        return json_response({"version": API_VERSION, "inglenook": version})

    @router.get(
        "/api/tags",
        summary="The language models (Ollama)",
        responses={200: answer("Those that can be used.", _LISTED), **errors()},
    )
    def tags() -> Response:
        models = [one for one in desk.catalog.list(ModelKind.LANGUAGE) if one.problem is None]
        return json_response({"models": [_listed(one) for one in models]})

    @router.get(
        "/api/ps",
        summary="The language models that are loaded (Ollama)",
        responses={200: answer("With when they go, if nobody asks.", _LISTED), **errors()},
    )
    async def loaded() -> Response:
        records = {one.id: one for one in await run_in_threadpool(desk.catalog.list, ModelKind.LANGUAGE)}
        snapshot = desk.runtime.snapshot()
        now = desk.clock.now()
        kinds = {device["id"]: device.get("kind", "cpu") for device in snapshot["devices"]}
        return json_response(
            {
                "models": [
                    _loaded(
                        records[one["model"]], one, kinds, now, desk.language.state(records[one["model"]])
                    )
                    for one in snapshot["residents"]
                    if one["model"] in records and one["state"] == "ready"
                ]
            }
        )

    @router.post(
        "/api/show",
        summary="What is known of a model (Ollama)",
        responses={200: answer("Its header, in Ollama's words.", {"type": "object"}), **errors(400, 404)},
    )
    async def show(request: Request) -> Response:
        body = await read_object(request, desk.max_body_bytes)
        record = await desk.find(model_name(body, "name"))
        options = desk.language.options(record.id).options
        return json_response(shown_model(record, options, sees=desk.language.sees(record)))

    return router


def _listed(record: ModelRecord) -> dict[str, Any]:
    return {
        "name": listed_name(record),
        "model": listed_name(record),
        "modified_at": _moment(datetime.fromtimestamp(record.created, UTC)),
        "size": record.weights_bytes,
        "digest": record.digest,
        "details": details(record),
    }


def _loaded(
    record: ModelRecord,
    resident: Mapping[str, Any],
    kinds: Mapping[str, str],
    now: datetime,
    state: ModelState,
) -> dict[str, Any]:
    size = int(resident.get("measured_bytes") or resident.get("reserved_bytes") or 0)
    on_device = kinds.get(resident.get("device", ""), "cpu") != "cpu"
    listed = _listed(record)
    listed.pop("modified_at")
    return {
        **listed,
        "size": size,
        "size_vram": size if on_device else 0,
        "expires_at": _moment(now + timedelta(seconds=_left_s(state))),
        "context_length": state.context or 0,
    }


def _left_s(state: ModelState) -> float:
    """How long it stays if nobody asks. At work: as long as if it became idle now."""
    if state.unload_in_s is not None:
        return state.unload_in_s
    if state.leases and not state.pinned and state.keep_s is not None and state.keep_s >= 0:
        return state.keep_s
    return _NEVER_S


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def details(record: ModelRecord) -> dict[str, Any]:
    facts = record.language
    family = facts.architecture if facts is not None else ""
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": human(record.parameters),
        "quantization_level": "" if facts is None else facts.quantisation,
    }


def human(count: int) -> str:
    """``134515008`` → ``134.52M``, ``8030261248`` → ``8.0B``, as Ollama writes them."""
    if count >= 1_000_000_000:
        return f"{count / 1e9:.1f}B"
    if count >= 1_000_000:
        return f"{count / 1e6:.2f}M"
    return f"{count / 1e3:.0f}K" if count >= 1000 else str(count)


def shown_model(record: ModelRecord, options: ModelOptions, *, sees: bool) -> dict[str, Any]:
    """`template` is the model's own, in Jinja; Ollama's would be in Go's language. `parameters` and `system`
    are what its owner has set."""
    facts = record.language
    assert facts is not None
    modelfile = f"# A description, not a way to make the model again.\nFROM {record.id}\n"
    return {
        "license": record.licence or "",
        "modelfile": modelfile,
        "parameters": _parameters(options),
        **({} if options.system is None else {"system": options.system}),
        "template": facts.template,
        "details": details(record),
        "model_info": _info(record, facts),
        "capabilities": capabilities(record, sees=sees),
        "modified_at": _moment(datetime.fromtimestamp(record.created, UTC)),
    }


def _parameters(options: ModelOptions) -> str:
    """One a line, name and value, as a Modelfile has them."""
    values = {ollamas: getattr(options, ours) for ours, ollamas in _PARAMETERS.items()}
    return "\n".join(f"{name:30} {value:g}" for name, value in values.items() if value is not None)


def _info(record: ModelRecord, facts: LanguageFacts) -> dict[str, Any]:
    of = facts.architecture
    known = {
        "general.architecture": of,
        "general.basename": record.title or record.id,
        "general.parameter_count": record.parameters,
        "general.size_label": facts.size_label,
        f"{of}.context_length": facts.context,
        f"{of}.embedding_length": facts.width,
        f"{of}.block_count": facts.layers,
        f"{of}.attention.head_count": facts.heads,
        f"{of}.attention.head_count_kv": facts.kv_heads,
        f"{of}.attention.key_length": facts.key_width,
        f"{of}.attention.value_length": facts.value_width,
        f"{of}.attention.sliding_window": facts.sliding_window,
        f"{of}.expert_count": facts.experts,
        f"{of}.vocab_size": facts.vocabulary,
        f"{of}.pooling_type": facts.pooling,
    }
    return {name: value for name, value in known.items() if value}


def capabilities(record: ModelRecord, *, sees: bool) -> list[str]:
    facts = record.language
    assert facts is not None
    if facts.task is not LanguageTask.CHAT:
        return [str(facts.task.value)]
    found = ["completion", "tools"]  # where a template knows no tools, a schema holds the call
    if thinks(record):
        found.append("thinking")
    if sees:
        found.append("vision")
    if any(word in facts.template for word in _INFILL):
        found.append("insert")
    return found
