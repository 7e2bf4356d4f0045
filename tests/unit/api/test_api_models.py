# SPDX-License-Identifier: Apache-2.0
from openai.types import Model
from starlette.testclient import TestClient


def test_the_list_holds_what_can_be_used_as_a_model(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["starter", "family/with/slashes"]
    starter = body["data"][0]
    assert Model.model_validate(starter).owned_by == "inglenook"
    assert starter["state"] == "ready"
    assert starter["picture"]["fixed_sizes"] == ["64x48"]
    assert body["data"][1]["state"] == "available"


def test_an_id_may_hold_slashes(client: TestClient) -> None:
    assert client.get("/v1/models/family/with/slashes").json()["id"] == "family/with/slashes"
    assert client.get("/v1/models/family%2Fwith%2Fslashes").json()["id"] == "family/with/slashes"


def test_a_model_that_cannot_be_used_says_why(client: TestClient) -> None:
    body = client.get("/v1/models/broken").json()
    assert body["state"] == "unusable"
    assert body["problem"] == "its header is cut off"


def test_an_unknown_model_is_a_404(client: TestClient) -> None:
    answer = client.get("/v1/models/gpt-image-1")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert answer.json()["error"]["message"].endswith("Hint: nearest: starter.")
