# SPDX-License-Identifier: Apache-2.0
from fastapi import APIRouter, Depends, FastAPI
from starlette.testclient import TestClient

from inglenook.door.caller import caller, open_routes
from inglenook.door.routes import add_routes


def joined(*routers: APIRouter) -> APIRouter:
    router = APIRouter()
    add_routes(router, *routers)
    return router


def answering(word: str, *paths: str, router: APIRouter) -> APIRouter:
    for path in paths:
        router.add_api_route(path, lambda: word, summary=word)
    return router


def test_the_first_router_answers_what_two_could() -> None:
    app = FastAPI()
    first = answering("first", "/one", "/both", router=APIRouter())
    second = answering("second", "/both", "/two", router=APIRouter())
    add_routes(app.router, joined(first, second), answering("third", "/two", "/three", router=APIRouter()))
    with TestClient(app) as client:
        said = {path: client.get(path).json() for path in ("/one", "/both", "/two", "/three")}
    assert said == {"/one": "first", "/both": "first", "/two": "second", "/three": "third"}


def test_another_method_of_the_same_path_is_found_in_a_later_router() -> None:
    app, reading, writing = FastAPI(), APIRouter(), APIRouter()
    reading.add_api_route("/{name}", lambda name: f"read {name}", methods=["GET"])
    writing.add_api_route("/{name}", lambda name: f"wrote {name}", methods=["PUT"])
    add_routes(app.router, joined(reading, writing))
    with TestClient(app) as client:
        assert client.get("/x").json() == "read x"
        assert client.put("/x").json() == "wrote x"
        assert client.delete("/x").status_code == 405


def test_prefix_dependencies_and_description_of_each_router_stay_its_own() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    closed = APIRouter(prefix="/closed", tags=["quiet"], dependencies=[Depends(caller)])
    hidden = APIRouter(include_in_schema=False)
    nested = APIRouter()
    nested.include_router(answering("nested", "/deep", router=APIRouter()), prefix="/under")
    add_routes(
        app.router,
        joined(answering("closed", "/door", router=closed), answering("hidden", "/page", router=hidden)),
        nested,
    )
    assert open_routes(app) == ["/page", "/under/deep"]
    paths = app.openapi()["paths"]
    assert set(paths) == {"/closed/door", "/under/deep"}
    assert paths["/closed/door"]["get"]["tags"] == ["quiet"]
