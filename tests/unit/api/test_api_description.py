# SPDX-License-Identifier: Apache-2.0
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.unit.api.services import Workshop

from inglenook.api.openai.fields import EditFields, GenerationFields
from inglenook.door.caller import OPEN_PATHS, open_routes, require_closed


def test_only_the_written_list_is_open(workshop: Workshop) -> None:
    assert sorted(set(open_routes(workshop.app))) == [
        "/api/health",
        "/health",
        "/images/{name}",
        "/livez",
        "/readyz",
    ]
    assert set(open_routes(workshop.app)) <= OPEN_PATHS


def test_a_server_with_a_forgotten_route_does_not_start(workshop: Workshop) -> None:
    @workshop.app.get("/v1/forgotten")
    def forgotten() -> None: ...

    with pytest.raises(RuntimeError, match="/v1/forgotten"):
        require_closed(workshop.app)


def test_the_frameworks_own_pages_count_as_open() -> None:
    assert {"/docs", "/openapi.json"} <= set(open_routes(FastAPI()))


def test_the_description_holds_every_field_that_a_request_may_have(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    body = paths["/v1/images/generations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == set(GenerationFields.model_fields)
    form = paths["/v1/images/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == set(EditFields.model_fields) | {"image", "mask", "markup"}
    assert form["required"] == ["image", "prompt"]


def test_every_route_describes_its_errors_and_none_promises_a_422(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) >= 15
    for path, methods in paths.items():
        for method, operation in methods.items():
            responses = set(operation["responses"])
            assert {"default", "500", "421"} <= responses, (path, method)
            assert "422" not in responses, (path, method)
            if operation.get("requestBody") or operation.get("parameters"):
                assert "400" in responses, (path, method)
