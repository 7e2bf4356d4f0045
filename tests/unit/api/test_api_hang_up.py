# SPDX-License-Identifier: Apache-2.0
"""A client that closes its connection, driven below HTTP: the test client has no way to do it."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Scope
from tests.unit.api.services import Workshop

from inglenook.base.cancel import StopReason
from inglenook.jobs.model import JobState


class Connection:
    def __init__(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        self.body = json.dumps(body).encode()
        self.gone = asyncio.Event()
        self.sent: list[Message] = []
        given = {"host": "localhost", "content-type": "application/json", **headers}
        self.scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": "POST",
            "path": "/v1/images/generations",
            "raw_path": b"/v1/images/generations",
            "root_path": "",
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }

    async def receive(self) -> Message:
        if self.body:
            body, self.body = self.body, b""
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("key", [None, "k-1"])
def test_a_hang_up_cancels_the_job_unless_the_client_means_to_come_back(
    streamed: bool, key: str | None
) -> None:
    async def main() -> None:
        workshop = Workshop()
        submitted = asyncio.Event()
        workshop.images.plan = lambda job, request: submitted.set()
        headers = {} if key is None else {"idempotency-key": key}
        connection = Connection({"prompt": "a fox", "stream": streamed}, headers)

        serving = asyncio.create_task(workshop.app(connection.scope, connection.receive, connection.send))
        await submitted.wait()
        connection.gone.set()
        await serving

        [job] = workshop.jobs.jobs.values()
        if key is None:
            assert workshop.jobs.cancelled == [(job.id, StopReason.CLIENT_GONE)]
            assert job.state is JobState.CANCELLED
        else:
            assert workshop.jobs.cancelled == []
            assert job.state is JobState.QUEUED

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_hang_up_just_after_the_end_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        workshop = Workshop()
        connection = Connection({"prompt": "a fox", "stream": True}, {})

        def succeed_and_go(job: Any, request: Any) -> None:
            workshop.images.succeed(job, request)
            connection.gone.set()

        workshop.images.plan = succeed_and_go
        await workshop.app(connection.scope, connection.receive, connection.send)
        assert workshop.jobs.cancelled == []

    asyncio.run(asyncio.wait_for(main(), 60))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_hang_up_in_the_middle_of_the_body_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        workshop = Workshop()
        connection = Connection({}, {})
        connection.body = b""
        connection.gone.set()
        await workshop.app(connection.scope, connection.receive, connection.send)
        assert connection.sent[0]["status"] == 499
        assert workshop.images.requests == []

    asyncio.run(asyncio.wait_for(main(), 60))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
