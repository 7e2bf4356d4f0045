# SPDX-License-Identifier: Apache-2.0
"""PixelAI's dialect over real jobs, a scripted machine, and sprites that are made without a model."""

import base64
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.unit.api.services import NOW, Catalog, Runtime

from inglenook.api.errors import render_json
from inglenook.api.pixelai import PREFIX, Choices, Desk, pixelai_router, render_pixelai
from inglenook.api.pixelai.root import AtRoot
from inglenook.door.administrator import Administration
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.door.routes import add_routes
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.records import JobRecords
from inglenook.jobs.service import JobsService
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock
from inglenook.testing.sprites import FakeSprites, FakeSpriteWork

ADDRESS = "http://127.0.0.1:8190"
ROOT_PORT = 5000
PASSWORD = "a long enough word"


class PixelHouse:
    """The application with this dialect alone; its jobs run while a client is open."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        password: str | None = None,
        hello_within_s: float = 15.0,
        max_active: int = 1,
    ) -> None:
        self.clock = FakeClock(NOW)
        self.catalog = Catalog()
        for at, one in enumerate(self.catalog.records):  # models that read sentences, as the original's do
            assert one.image is not None
            self.catalog.records[at] = replace(one, image=replace(one.image, native_px=512, fixed=()))
        self.runtime = Runtime()
        self.work = FakeSpriteWork(self.clock)
        self.jobs = JobsService(
            records=JobRecords(database=database),
            works=[self.work],
            clock=self.clock,
            limits=JobLimits(max_active=max_active, progress_every_s=0.0),
        )
        models = [one.id for one in self.catalog.records if one.problem is None and one.image is not None]
        self.sprites = FakeSprites(jobs=self.jobs, work=self.work, models=models)
        self.app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=self._lifespan)
        self.app.state.administration = Administration(password=password, secret=b"s" * 32, clock=self.clock)
        self.desk = Desk(
            sprites=self.sprites,
            jobs=self.jobs,
            catalog=self.catalog,
            choices=Choices(folder / "pixelai.json"),
            clock=self.clock,
            default_model="auto",
        )
        add_routes(
            self.app.router,
            pixelai_router(
                desk=self.desk,
                sprites=self.sprites,
                catalog=self.catalog,
                runtime=self.runtime,
                max_body_bytes=1 << 20,
                version="1.2.3",
                hello_within_s=hello_within_s,
            ),
        )
        frame(
            self.app,
            identity=MachineOwner(),
            renderers={"": render_json, PREFIX: render_pixelai},
            allowed_hosts=[],
            max_body_bytes=1 << 20,
            clock=self.clock,
        )

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        await self.jobs.start()
        yield
        self.work.release()
        await self.jobs.stop(5.0)

    @contextmanager
    def open(self) -> Iterator[TestClient]:
        with TestClient(
            AtRoot(self.app, ports={ROOT_PORT}, prefix=PREFIX),
            base_url=ADDRESS,
            raise_server_exceptions=False,
        ) as client:
            yield client


def pixels_of(image: Mapping[str, Any]) -> list[tuple[int, int, int, int]]:
    """Of one answer, row by row."""
    data = base64.b64decode(image["base64"])
    return [(data[i], data[i + 1], data[i + 2], data[i + 3]) for i in range(0, len(data), 4)]


def calling(client: TestClient, work: Callable[..., Any], *arguments: Any) -> Any:
    """Run something of the house on the loop that the application runs on."""
    assert client.portal is not None
    return client.portal.call(work, *arguments)
