# SPDX-License-Identifier: Apache-2.0
"""PixelAI's dialect and its socket on a port of their own, with sprites that are made without a model.

    python -m inglenook.testing.pixel_server [--port N] [--password WORD] [--step-s SECONDS]

Prints `listens on http://127.0.0.1:N` when it is ready. For tests of clients, which want a server that
answers at once and the same way every time; `/pixel/…` is all there is.
"""

import argparse
import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from inglenook.api.pixelai import PREFIX, Choices, Desk, pixelai_router, render_pixelai
from inglenook.base.clock import SystemClock
from inglenook.base.ids import ResidentId
from inglenook.catalog.model import ModelKind
from inglenook.catalog.service import AUTO, BUILTIN_MODELS, CatalogService
from inglenook.door.administrator import Administration
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.door.routes import add_routes
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.records import JobRecords
from inglenook.jobs.service import JobsService
from inglenook.store import schema
from inglenook.store.database import Database, sqlite_url
from inglenook.testing.sprites import FakeSprites, FakeSpriteWork


class _Runtime:
    def snapshot(self) -> Mapping[str, Any]:
        return {"devices": [], "residents": [], "leases": [], "queue": []}

    async def unload(self, resident: ResidentId) -> bool:  # noqa: ARG002 - a `door.services.Runtime`
        return False


def application(folder: Path, *, password: str | None = None, step_s: float = 0.0) -> FastAPI:
    """Args:
    folder: for the database.
    password: of the administrator.
    step_s: how long a step of a drawing takes.
    """
    clock = SystemClock()
    database = Database(sqlite_url(folder / "inglenook.db"))
    schema.upgrade(database)
    work = FakeSpriteWork(clock, step_s=step_s)
    jobs = JobsService(
        records=JobRecords(database=database), works=[work], clock=clock, limits=JobLimits(max_active=1)
    )
    catalog = CatalogService(roots=(), builtin=BUILTIN_MODELS)
    sprites = FakeSprites(jobs=jobs, work=work, models=[one.id for one in catalog.list(ModelKind.IMAGE)])

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001 - the framework's signature
        await jobs.start()
        yield
        await jobs.stop(1.0)
        database.close()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.administration = Administration(password=password, secret=b"s" * 32, clock=clock)
    add_routes(
        app.router,
        pixelai_router(
            desk=Desk(
                sprites=sprites,
                jobs=jobs,
                catalog=catalog,
                choices=Choices(folder / "pixelai.json"),
                clock=clock,
                default_model=AUTO,
            ),
            sprites=sprites,
            catalog=catalog,
            runtime=_Runtime(),
            max_body_bytes=1 << 25,
            version="0",
        ),
    )
    frame(
        app,
        identity=MachineOwner(),
        renderers={"": render_pixelai, PREFIX: render_pixelai},
        allowed_hosts=[],
        max_body_bytes=1 << 25,
        clock=clock,
    )
    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--password")
    parser.add_argument("--step-s", type=float, default=0.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", given.port)) as listener:
        app = application(Path(folder), password=given.password, step_s=given.step_s)
        config = uvicorn.Config(app, log_level="warning", ws_max_size=1 << 25, timeout_graceful_shutdown=2)
        port = listener.getsockname()[1]
        print(f"listens on http://127.0.0.1:{port}", flush=True)  # noqa: T201 - whoever started it reads it
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
