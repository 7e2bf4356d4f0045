# SPDX-License-Identifier: Apache-2.0
import asyncio
import errno
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.testclient import TestClient
from starlette.types import Message

from inglenook.api.errors import render_json
from inglenook.base import errors
from inglenook.base.errors import Busy, Denied, Failed, InglenookError, Invalid
from inglenook.base.ids import OWNER
from inglenook.door.caller import Caller, FromCaller, MachineOwner, caller
from inglenook.door.frame import by_path, frame
from inglenook.door.problem import STATUS, Problem, problem_of
from inglenook.store.files import write_error
from inglenook.testing.clock import FakeClock


def kinds(root: type[InglenookError]) -> Iterator[type[InglenookError]]:
    for child in root.__subclasses__():
        yield child
        yield from kinds(child)


def test_every_kind_of_the_tree_has_the_status_that_is_drawn_beside_it() -> None:
    drawn = re.findall(r"── (\w+) .*\(door: (\d+)\)", errors.__doc__ or "")
    assert {getattr(errors, name).kind: int(status) for name, status in drawn} == dict(STATUS)
    assert {kind.kind for kind in kinds(InglenookError)} == set(STATUS)


def test_a_leaf_has_the_status_of_its_kind() -> None:
    class Leaf(Denied):
        default_code = "leaf.denied"

    problem = problem_of(Leaf("No.", hint="ask", field="name"))
    assert (problem.status, problem.code, problem.hint, problem.field) == (403, "leaf.denied", "ask", "name")


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (2.0, "2"), (2.1, "3")])
def test_retry_after_is_in_whole_seconds_and_never_now(seconds: float, header: str) -> None:
    problem = problem_of(Busy("Full.", retry_after_s=seconds))
    assert problem.http_headers() == {"retry-after": header}


def framed(router: APIRouter, *, identity: object = None) -> TestClient:
    app = FastAPI(openapi_url=None)
    app.include_router(router)
    frame(
        app,
        identity=MachineOwner() if identity is None else identity,  # type: ignore[arg-type]
        renderers={
            "": lambda request, problem: PlainTextResponse(problem.message, problem.status),
            "/v1": render_json,
        },
        allowed_hosts=[],
        max_body_bytes=1000,
        clock=FakeClock(),
    )
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=True)


@pytest.fixture
def router() -> APIRouter:
    return APIRouter(dependencies=[Depends(caller)])


def test_an_unexpected_error_says_nothing_but_an_id_that_is_in_the_log(
    router: APIRouter, caplog: pytest.LogCaptureFixture
) -> None:
    @router.get("/v1/things/{name}")
    def broken(name: str) -> None:
        raise RuntimeError("password=hunter2 at /home/somebody")

    with framed(router) as client, caplog.at_level(logging.ERROR):
        answer = client.get("/v1/things/private-name")

    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "somebody" not in answer.text
    request_id = answer.headers["x-request-id"]
    assert request_id in answer.json()["error"]["message"]
    [record] = [record for record in caplog.records if record.name == "inglenook.door.problem"]
    assert request_id in record.getMessage()
    assert "/v1/things/{name}" in record.getMessage()
    assert "private-name" not in record.getMessage()
    assert record.exc_info is not None


def test_an_error_of_ours_keeps_its_words(router: APIRouter) -> None:
    @router.get("/v1/broken")
    def broken() -> None:
        raise Failed("The child was killed by signal 9.", code="child.killed")

    with framed(router) as client:
        answer = client.get("/v1/broken")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "child.killed"
    assert answer.json()["error"]["message"] == "The child was killed by signal 9."


def test_an_error_in_the_middle_of_an_answer_cuts_it_off(
    router: APIRouter, caplog: pytest.LogCaptureFixture
) -> None:
    @router.get("/half")
    def half() -> Response:
        def body() -> Iterator[bytes]:
            yield b"the first half"
            raise RuntimeError("no more")

        return StreamingResponse(body())

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return await asyncio.Future()

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": "/half", "query_string": b"", "headers": headers}
    with caplog.at_level(logging.ERROR):
        asyncio.run(framed(router).app(scope, receive, send))

    assert [message.get("body") for message in sent] == [None, b"the first half"]
    assert sent[-1]["more_body"] is True  # a server closes the connection then, and the client sees it
    assert any("GET /half" in record.getMessage() for record in caplog.records)


def test_what_the_framework_refuses_has_the_same_shape(router: APIRouter) -> None:
    @router.get("/v1/thing")
    def thing(limit: int) -> None: ...

    @router.delete("/v1/thing")
    def no_thing() -> None: ...

    with framed(router) as client:
        nothing = client.get("/v1/nothing").json()["error"]
        assert nothing["code"] == "http.not_found"
        assert nothing["message"].startswith("There is nothing at '/v1/nothing'.")
        assert nothing["hint"] == "/docs lists every address of this server"
        wrong_method = client.post("/v1/thing")
        assert wrong_method.status_code == 405
        assert wrong_method.headers["allow"] == "DELETE, GET"
        bad = client.get("/v1/thing?limit=x")
        assert bad.status_code == 400
        assert bad.json()["error"]["param"] == "limit"
        missing = client.get("/v1/thing")
        assert missing.status_code == 400


def test_each_part_of_the_server_writes_errors_its_own_way(router: APIRouter) -> None:
    with framed(router) as client:
        assert client.get("/page").text == "There is nothing at '/page'."
        assert client.get("/v1/x").headers["content-type"] == "application/json"


def test_a_renderer_for_everything_else_is_needed() -> None:
    with pytest.raises(ValueError, match='""'):
        by_path({"/v1": render_json})


def test_the_longest_beginning_decides() -> None:
    def named(name: str) -> object:
        return lambda request, problem: PlainTextResponse(name)

    render = by_path({"": named("all"), "/v1": named("v1"), "/v1/x": named("x")})  # type: ignore[dict-item]
    for path, name in (("/v1/x/y", b"x"), ("/v1/z", b"v1"), ("/w", b"all")):
        request = Request(
            {"type": "http", "path": path, "headers": [], "query_string": b"", "server": ("h", 1)}
        )
        assert render(request, Problem(400, "invalid", "c", "m")).body == name


def test_who_calls_is_asked_once_and_may_be_denied(router: APIRouter) -> None:
    asked: list[str] = []

    class Picky:
        async def identify(self, connection: HTTPConnection) -> Caller:
            asked.append(connection.headers.get("authorization", ""))
            if connection.headers.get("authorization") != "Bearer right":
                raise Denied("This key is not known.", code="key.unknown")
            return Caller(OWNER)

    @router.get("/v1/me")
    def me(who: FromCaller) -> str:
        return who.person

    with framed(router, identity=Picky()) as client:
        assert client.get("/v1/me", headers={"authorization": "Bearer wrong"}).status_code == 403
        assert client.get("/v1/me", headers={"authorization": "Bearer right"}).json() == "owner"
    assert asked == ["Bearer wrong", "Bearer right"]


def test_a_body_over_the_limit_is_413_also_where_the_framework_reads_it(router: APIRouter) -> None:
    @router.post("/v1/thing")
    def thing(body: dict[str, int]) -> None: ...

    def chunks() -> Iterator[bytes]:
        yield from [b'{"a": 1'] * 1000

    with framed(router) as client:
        answer = client.post("/v1/thing", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_an_invalid_without_a_field_has_no_param(router: APIRouter) -> None:
    @router.get("/v1/bad")
    def bad() -> None:
        raise Invalid("No.")

    with framed(router) as client:
        assert client.get("/v1/bad").json()["error"]["param"] is None


def test_a_full_disk_has_a_status_of_its_own(router: APIRouter) -> None:
    @router.get("/v1/full")
    def full() -> None:
        raise write_error(OSError(errno.ENOSPC, "No space left on device"), Path("/tmp/thing"))

    with framed(router) as client:
        answer = client.get("/v1/full")
    assert answer.status_code == 507
    said = answer.json()["error"]
    assert said["code"] == "store.disk_full"
    assert re.search(r"no room on the disk for /tmp/thing: \d.* of \d.* are free", said["message"])
    assert "checkpoints" in said["message"]  # what to free
