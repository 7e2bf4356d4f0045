# SPDX-License-Identifier: Apache-2.0
"""A client of PixelAI's dialect that closes its connection, driven below HTTP."""

import asyncio
import json
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Scope
from tests.databases import fresh_sqlite
from tests.unit.api.pixel_house import PixelHouse

from inglenook.api.pixelai.milestones import Status
from inglenook.base.ids import OWNER
from inglenook.store.database import Database

ID = "6f1e3a9e-4f0b-4d53-9f04-3f2d8a6a0001"
BODY = {"prompt": "cat", "generation_id": ID, "pixel_width": 8, "pixel_height": 8}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = fresh_sqlite(tmp_path_factory.mktemp("pixels") / "inglenook.db")
    yield database
    database.close()


class Connection:
    """One POST /pixel/generate, until `gone` is set."""

    def __init__(self, house: PixelHouse, body: dict[str, Any]) -> None:
        self._body = json.dumps(body).encode()
        self.gone = asyncio.Event()
        self.sent: list[Message] = []
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": "POST",
            "path": "/pixel/generate",
            "raw_path": b"/pixel/generate",
            "root_path": "",
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }
        self.serving = asyncio.create_task(house.app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if self._body:
            body, self._body = self._body, b""
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def running(house: PixelHouse, main: Coroutine[Any, Any, None]) -> None:
    async def whole() -> None:
        await house.jobs.start()
        house.work.hold()
        try:
            await main
        finally:
            house.work.release()
            await house.jobs.stop(5.0)

    asyncio.run(asyncio.wait_for(whole(), 60))


async def drawing(house: PixelHouse, waiters: int = 1) -> Any:
    """The generation, once it is drawn and so many wait for it."""
    while not house.work.asked or house.desk.tracks.get(ID, person=OWNER).waiters < waiters:
        await asyncio.sleep(0)
    return house.desk.tracks.get(ID, person=OWNER)


def test_whoever_hangs_up_calls_it_off(database: Database, tmp_path: Path) -> None:
    house = PixelHouse(database, tmp_path)

    async def main() -> None:
        connection = Connection(house, BODY)
        track = await drawing(house)
        connection.gone.set()
        await connection.serving
        await track.ended.wait()
        assert track.status is Status.CANCELED

    running(house, main())


def test_it_goes_on_while_somebody_else_waits_for_it(database: Database, tmp_path: Path) -> None:
    house = PixelHouse(database, tmp_path)

    async def main() -> None:
        first, second = Connection(house, BODY), Connection(house, BODY)
        track = await drawing(house, waiters=2)
        first.gone.set()
        await first.serving
        assert not track.stopping
        house.work.release()
        await second.serving
        assert second.status == 200
        assert len(house.work.asked) == 1

    running(house, main())


def test_it_goes_on_where_somebody_means_to_ask_later(database: Database, tmp_path: Path) -> None:
    house = PixelHouse(database, tmp_path)

    async def main() -> None:
        later = Connection(house, BODY | {"wait": False})
        await later.serving
        assert later.status == 202
        impatient = Connection(house, BODY)
        track = await drawing(house)
        impatient.gone.set()
        await impatient.serving
        assert not track.stopping
        house.work.release()
        await track.ended.wait()
        assert track.status is Status.COMPLETED

    running(house, main())
