# SPDX-License-Identifier: Apache-2.0
"""Ollama's and Cyber-Inference's doors over services in memory; a test says what the model answers."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from tests.databases import fresh_sqlite

from inglenook.api.cyber import cyber_router, render_detail
from inglenook.api.errors import render_json
from inglenook.api.language.pictures import Pictures
from inglenook.api.ollama import PATHS, ollama_router, render_ollama
from inglenook.base.cancel import StopToken
from inglenook.base.errors import NotFound
from inglenook.base.ids import ModelId, PersonId, ResidentId
from inglenook.base.journal import Journal
from inglenook.catalog.model import LanguageFacts, LanguageTask, ModelKind, ModelRecord
from inglenook.chat import options as rules
from inglenook.chat.errors import NotLoaded
from inglenook.chat.exchange import Usage
from inglenook.chat.model import Counters, KeptOptions, ModelOptions, ModelState
from inglenook.door.administrator import Administration
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.door.routes import add_routes
from inglenook.engines.llamacpp.child import Reply
from inglenook.settings import load
from inglenook.store.configuration import Configuration
from inglenook.store.database import Database
from inglenook.store.overrides import SettingOverrides
from inglenook.testing.clock import FakeClock

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def language_model(name: str, task: LanguageTask = LanguageTask.CHAT, **more: Any) -> ModelRecord:
    facts = LanguageFacts(
        task=task,
        architecture="llama" if task is LanguageTask.CHAT else "bert",
        context=2048,
        width=576,
        heads=9,
        kv_heads=3,
        quantisation="Q4_1",
        template=more.pop("template", TEMPLATE),
        layer_bytes=(10,) * 30,
    )
    path = more.pop("path", Path("unused") / f"{name}.gguf")
    return ModelRecord(
        id=ModelId(name),
        kind=ModelKind.LANGUAGE,
        family=None,
        path=path,
        layout="single",
        weights_bytes=98_000_000,
        parameters=134_515_008,
        dtype="q4_1",
        digest="ab" * 32,
        root=path.parent,
        created=NOW.timestamp(),
        language=facts,
        **more,
    )


def fresh_database(folder: Path) -> Database:
    """With our tables; for a whole module, since none of its tests looks at what another has kept."""
    return fresh_sqlite(folder / "inglenook.db")


def events(*chunks: Mapping[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)


def said(text: str, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text, **delta}, "finish_reason": None}]}


def ended(reason: str = "stop", prompt: int = 7, answer: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
        {
            "choices": [],
            "usage": {"prompt_tokens": prompt, "completion_tokens": answer},
            "timings": {
                "prompt_n": prompt,
                "predicted_n": answer,
                "prompt_ms": 20.5,
                "predicted_ms": 40.25,
            },
        },
    )


@dataclass
class Asked:
    path: str
    body: Any
    stopped: bool = False


Answer = bytes | tuple[int, bytes] | AsyncGenerator[bytes, None]


class Child:
    """What a model's process answers, by path; a path that is not there is refused with 501."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, Callable[[Any], Answer]] = {
            "/props": lambda _: json.dumps(self.props).encode(),
            "/apply-template": lambda body: json.dumps({"prompt": self.template(body["messages"])}).encode(),
            "/tokenize": lambda body: json.dumps(
                {"tokens": [len(w) for w in body["content"].split()]}
            ).encode(),
        }
        self.props: dict[str, Any] = {
            "chat_template_caps": {"supports_tools": True},
            "modalities": {"vision": False},
            "default_generation_settings": {"n_ctx": 8},
        }

    @staticmethod
    def template(messages: list[dict[str, Any]]) -> str:
        return "".join(f"<{one['role']}> {one['content']} " for one in messages) + "<assistant> "

    def chats(self, *chunks: Mapping[str, Any]) -> None:
        self.answers["/v1/chat/completions"] = lambda _: events(*chunks) + b"data: [DONE]\n\n"

    def body_of(self, path: str) -> Any:
        return next(one.body for one in reversed(self.asked) if one.path == path)

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Reply]:
        asked = Asked(path, json.loads(body) if body else None)
        self.asked.append(asked)
        refused = (501, json.dumps({"error": {"code": 501, "message": "not for this model"}}).encode())
        answer = self.answers.get(path, lambda _: refused)(asked.body)
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        parts = _one(content) if isinstance(content, bytes) else content
        try:
            yield Reply(status, {"content-type": "application/json"}, parts)
        finally:
            asked.stopped = True
            await parts.aclose()


async def _one(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


@dataclass
class _Lease:
    resident: str = "res_1"
    waited_s: float = 0.5


@dataclass
class _Exchange:
    model: ModelRecord
    child: Child
    told: list[Usage]
    lease: _Lease = field(default_factory=_Lease)

    def request(self, method: str, path: str, **more: Any) -> Any:
        return self.child.request(method, path, **more)

    def used(self, usage: Usage) -> None:
        self.told.append(usage)


class Language:
    """Implements `door.services.Language`, as far as these doors ask."""

    def __init__(self, catalog: "Catalog", runtime: "Runtime", clock: FakeClock) -> None:
        self.catalog = catalog
        self.runtime = runtime
        self.clock = clock
        self.child = Child()
        self.load_s = 2.0
        self.held: list[dict[str, Any]] = []
        self.usages: list[Usage] = []
        self.aliased: dict[str, str] = {}
        self.projectors: dict[str, ModelRecord] = {}
        self.kept: dict[str, ModelOptions] = {}
        self.unloading: list[str] = []
        self.stale: tuple[str, ...] = ()
        self.room = asyncio.Event()
        self.room.set()

    def find(self, name: str | None) -> ModelRecord:
        return self.catalog.get(ModelId(self.aliased.get(str(name), str(name))))

    def task_of(self, model: ModelRecord) -> LanguageTask | None:
        return None if model.language is None else model.language.task

    def projector(self, model: ModelRecord) -> ModelRecord | None:
        return self.projectors.get(model.id)

    def sees(self, model: ModelRecord) -> bool:
        return model.id in self.projectors

    def defaults_for(self, model: ModelRecord) -> Mapping[str, Any]:
        return rules.request_defaults(self.options(model.id).options)

    def options(self, model: ModelId) -> KeptOptions:
        return KeptOptions(self.kept.get(model, ModelOptions()))

    async def set_options(
        self, model: ModelRecord, changes: Mapping[str, Any], *, person: PersonId
    ) -> KeptOptions:
        self.kept[model.id] = rules.changed(self.options(model.id).options, changes)
        return self.options(model.id)

    def counters(self) -> Mapping[ModelId, Counters]:
        return {ModelId(one["model"]): Counters(requests=1, last_used=NOW) for one in self.held}

    def state(self, model: ModelRecord) -> ModelState:
        resident = self.runtime.of(model.id)
        if resident is None:
            return ModelState(model.id, "unloaded", stale=())
        return ModelState(
            model.id,
            "ready",
            leases=len(resident["leases"]),
            keep_s=resident["keep_s"],
            unload_in_s=None if resident["keep_s"] < 0 else resident["keep_s"],
            context=resident["context"],
            stale=self.stale,
        )

    async def unload(self, model: ModelRecord) -> ModelState:
        resident = self.runtime.of(model.id)
        if resident is None:
            raise NotLoaded(f"{model.id} is not loaded.")
        self.unloading.append(model.id)
        if resident["leases"]:
            return replace(self.state(model), leaving=True)
        self.runtime.residents.remove(resident)
        return self.state(model)

    @asynccontextmanager
    async def exchange(self, model: ModelRecord, **asked: Any) -> AsyncIterator[Any]:
        await self.room.wait()
        resident = self.runtime.of(model.id)
        if resident is None:
            self.clock.advance(self.load_s)
            resident = {
                "id": f"res_{len(self.held)}",
                "model": model.id,
                "state": "ready",
                "device": "cpu",
                "measured_bytes": 200 << 20,
                "since_s": 0.0,
                "leases": [],
                "keep_s": 300.0,
                "context": asked.get("context") or 2048,
            }
            self.runtime.residents.append(resident)
        if asked.get("keep_s") is not None:
            resident["keep_s"] = asked["keep_s"]
        self.held.append({"model": model.id, **asked})
        resident["leases"].append("lease")
        try:
            yield _Exchange(model, self.child, self.usages)
        finally:
            resident["leases"].pop()


class Runtime:
    def __init__(self) -> None:
        self.residents: list[dict[str, Any]] = []
        gib = 1 << 30
        cpu = {
            "id": "cpu",
            "kind": "cpu",
            "total_bytes": 10 * gib,
            "budget_bytes": 7 * gib,
            "used_bytes": gib,
        }
        self.devices: list[dict[str, Any]] = [cpu]

    def of(self, model: str) -> dict[str, Any] | None:
        return next((one for one in self.residents if one["model"] == model), None)

    def snapshot(self) -> Mapping[str, Any]:
        leases = [{"model": one["model"]} for one in self.residents for _ in one["leases"]]
        return {"devices": self.devices, "residents": self.residents, "leases": leases, "queue": []}

    async def unload(self, resident: ResidentId) -> bool:
        before = len(self.residents)
        self.residents = [one for one in self.residents if one["id"] != resident or one["leases"]]
        return len(self.residents) < before


class Catalog:
    def __init__(self) -> None:
        self.records = [
            language_model("smollm2-135m-instruct"),
            language_model("family/thinker", template="{% if enable_thinking %}<think>{% endif %}"),
            language_model("minilm", LanguageTask.EMBEDDING),
            language_model("broken", problem="its header is cut off\nhint: fetch it again"),
        ]

    def list(self, kind: ModelKind | None = None) -> list[ModelRecord]:
        return [record for record in self.records if kind in (None, record.kind) and self.there(record)]

    def there(self, record: ModelRecord) -> bool:
        return record.path.parts[0] == "unused" or record.path.exists()

    def refresh(self) -> None:
        """Looks at nothing."""

    def get(self, model_id: ModelId) -> ModelRecord:
        for record in self.list():
            if model_id in (record.id, record.id.rpartition("/")[2]):
                return record
        raise NotFound(f"There is no model {model_id!r}.", code="model.not_found", hint="nearest: minilm")


class Nothing:
    """What no test of these doors asks for."""


class House:
    """Both doors over these services."""

    def __init__(
        self,
        database: Database,
        *,
        password: str | None = None,
        own_models: Path = Path("own"),
        status_every_s: float = 2.0,
        keepalive_after_s: float = 30.0,
    ) -> None:
        self.clock = FakeClock(NOW)
        self.catalog = Catalog()
        self.runtime = Runtime()
        self.language = Language(self.catalog, self.runtime, self.clock)
        self.child = self.language.child
        self.journal = Journal()
        self.stopped = 0
        loaded = load(file=None, environ={})
        overrides = SettingOverrides(database=database, clock=self.clock)
        self.configuration = Configuration(
            given=loaded, running=loaded, overrides=overrides, trial=lambda _: None
        )
        nothing: Any = Nothing()
        pictures = Pictures(
            gallery=nothing,
            links=nothing,
            outgoing=nothing,
            clock=self.clock,
            max_bytes=1 << 20,
            max_pixels=1 << 20,
        )
        self.app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        self.app.state.administration = Administration(password=password, secret=b"s" * 32, clock=self.clock)
        add_routes(
            self.app,
            ollama_router(
                language=self.language,
                catalog=self.catalog,
                runtime=self.runtime,
                pictures=pictures,
                clock=self.clock,
                max_body_bytes=1 << 20,
                own_models=own_models,
                version="1.2.3",
            ),
        )
        add_routes(
            self.app,
            cyber_router(
                language=self.language,
                catalog=self.catalog,
                runtime=self.runtime,
                configuration=self.configuration,
                settings=loaded.settings,
                journal=self.journal,
                clock=self.clock,
                own_models=own_models,
                loads={ModelKind.SPEECH: self._load},
                version="1.2.3",
                shut_down=self._stop,
                status_every_s=status_every_s,
                keepalive_after_s=keepalive_after_s,
            ),
        )
        frame(
            self.app,
            identity=MachineOwner(),
            renderers={"": render_json, "/admin": render_detail, **dict.fromkeys(PATHS, render_ollama)},
            allowed_hosts=[],
            max_body_bytes=1 << 20,
            clock=self.clock,
        )

    async def _load(self, model: ModelRecord, person: PersonId, stop: StopToken | None = None) -> None:
        async with self.language.exchange(model):
            pass

    def _stop(self) -> None:
        self.stopped += 1
