# SPDX-License-Identifier: Apache-2.0
"""/v1/models/{id}/load, unload, pin, options and state, over the real service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from tests.unit.chat.bench import Bench, bench
from tests.unit.runtime.bench import run

from inglenook.api.errors import render_json
from inglenook.api.studio.models import model_router
from inglenook.base.cancel import StopToken
from inglenook.base.ids import PersonId
from inglenook.base.units import MIB
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.store.database import Database


@asynccontextmanager
async def door(models: Path, database: Database) -> AsyncIterator[tuple[httpx.AsyncClient, Bench]]:
    async with bench(models, database) as b:

        async def load(model: ModelRecord, person: PersonId, stop: StopToken | None = None) -> None:
            await b.chat.preload(model, person=person, stop=StopToken() if stop is None else stop)

        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(model_router(language=b.chat, loads={ModelKind.LANGUAGE: load}))
        frame(
            app,
            identity=MachineOwner(),
            renderers={"": render_json},
            allowed_hosts=[],
            max_body_bytes=MIB,
            clock=b.clock,
        )
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8190") as client:
            yield client, b


def test_a_model_is_loaded_kept_pinned_and_unloaded(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with door(models, sqlite) as (client, b):
            path = "/v1/models/group/other"
            assert (await client.get(f"{path}/state")).json()["state"] == "unloaded"
            loaded = await client.post(f"{path}/load", json={"keep_s": 30})
            assert (loaded.status_code, loaded.json()["state"]) == (200, "ready")
            await b.settled()
            state = (await client.get(f"{path}/state")).json()
            assert (state["keep_s"], state["unload_in_s"], state["counters"]["requests"]) == (30.0, 30.0, 0)
            assert (await client.post(f"{path}/pin")).json()["model"] == "group/other"
            await b.settled()
            assert (await client.get(f"{path}/state")).json()["pinned"] is True
            await client.post(f"{path}/pin", json={"pinned": False})
            assert (await client.post(f"{path}/unload")).status_code == 200
            await b.becomes("group/other", "unloaded")
            again = await client.post(f"{path}/unload")
            assert (again.status_code, again.json()["error"]["code"]) == (409, "model.not_loaded")
            begun = await client.post(f"{path}/load", json={"wait": False})
            assert begun.status_code == 202
            await b.becomes("group/other", "ready")

    run(main())


def test_options_are_set_cleared_and_taken_back(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with door(models, sqlite) as (client, _):
            path = "/v1/models/chat/options"
            set_ = (await client.patch(path, json={"context": 768, "aliases": ["mine"]})).json()
            assert set_["options"] == {"context": 768, "aliases": ["mine"]}
            assert (set_["changed_by"], set_["stale"]) == ("owner", [])
            assert {"name", "accepts", "at_load"} <= set(set_["known"][0])
            assert (await client.get("/v1/models/mine/state")).json()["model"] == "chat"
            cleared = (await client.patch(path, json={"aliases": None})).json()
            assert cleared["options"] == {"context": 768}
            assert (await client.delete(path)).json()["options"] == {}

    run(main())


def test_what_may_not_be_is_refused_in_words(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with door(models, sqlite) as (client, _):

            async def refused(method: str, path: str, body: Any) -> tuple[int, str]:
                answer = await client.request(method, f"/v1/models/{path}", json=body)
                return answer.status_code, answer.json()["error"]["message"]

            assert await refused("PATCH", "chat/options", {"contxt": 1}) == (
                400,
                "There is no option 'contxt'. Hint: nearest: context.",
            )
            assert (await refused("PATCH", "chat/options", {"context": 1}))[1].startswith("context must be")
            assert (await refused("POST", "chat/load", {"keep": 1}))[1].startswith("Unknown field 'keep'")
            assert (await refused("POST", "chat/load", {"keep_s": -5}))[1].startswith("keep_s must be")
            assert (await refused("POST", "chat/pin", {"pinned": "yes"}))[1].startswith("pinned must be")
            assert (await refused("POST", "gone/load", {}))[0] == 404

    run(main())
