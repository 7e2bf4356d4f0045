# SPDX-License-Identifier: Apache-2.0
"""Routers that are put together: each route once, and as its own router declares it."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient

from inglenook.door.routes import add_routes


def refused() -> None:
    raise HTTPException(403)


def test_routes_keep_what_their_own_router_says_through_every_level() -> None:
    inner = APIRouter(prefix="/inner", dependencies=[Depends(refused)], include_in_schema=False)
    outer = APIRouter(prefix="/outer", tags=["outer"])

    @inner.get("/closed")
    def closed() -> str:
        return "never"

    @outer.get("/{number}")
    def opened(number: int, word: Annotated[str, Depends(lambda: "hello")]) -> str:
        return f"{word} {number}"

    app = FastAPI()
    add_routes(outer, inner)
    add_routes(app.router, outer)
    with TestClient(app) as client:
        assert client.get("/inner/closed").status_code == 403
        assert client.get("/outer/7").json() == "hello 7"
        assert client.get("/outer/x").status_code == 422
    assert list(app.openapi()["paths"]) == ["/outer/{number}"]
    assert app.openapi()["paths"]["/outer/{number}"]["get"]["tags"] == ["outer"]
