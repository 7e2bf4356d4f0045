# SPDX-License-Identifier: Apache-2.0
"""What ALICE's clients ask about models and LoRAs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.unit.api.services import Workshop, model

from inglenook.catalog.model import LoraFacts, ModelKind, ModelRecord


def test_models_have_an_owner_in_both_spellings(client: TestClient) -> None:
    first = client.get("/v1/models").json()["data"][0]
    assert first["owned_by"] == first["ownedBy"] == "inglenook"


def test_a_refresh_counts_what_is_there(client: TestClient) -> None:
    said = client.post("/v1/models/refresh").json()
    assert said == {"status": "ok", "models_found": 2, "modelsFound": 2, "loras_found": 2, "lorasFound": 2}


def test_loras_are_listed_under_alices_ids(client: TestClient) -> None:
    said = client.get("/v1/loras").json()
    assert said == client.get("/v1/models/loras").json()
    assert [one["id"] for one in said["data"]] == ["lora/a-lora", "lora/Water_Colour v2"]
    assert said["data"][0]["baseModel"] == "sd15"
    assert said["data"][0]["sizeMb"] == said["data"][0]["size_mb"]


def test_a_language_model_s_lora_is_not_for_pictures(client: TestClient, workshop: Workshop) -> None:
    tone = LoraFacts(rank=4, touches=("language_model",), pairs=2)
    adapter = replace(model("tone", kind=ModelKind.LORA), lora=tone)
    workshop.catalog.records.append(adapter)
    assert "lora/tone" not in [one["id"] for one in client.get("/v1/loras").json()["data"]]
    assert client.post("/v1/models/refresh").json()["loras_found"] == 2


def test_loras_of_one_name_keep_their_folders(client: TestClient, workshop: Workshop) -> None:
    workshop.catalog.records.append(model("other/a-lora", kind=ModelKind.LORA))
    ids = [one["id"] for one in client.get("/v1/loras").json()["data"]]
    assert {"lora/a-lora", "lora/other/a-lora"} <= set(ids)


@pytest.mark.parametrize("path", ["family/with/slashes", "family%2Fwith%2Fslashes", "sd/family/with/slashes"])
def test_info_is_found_with_slashes_in_the_id(client: TestClient, path: str) -> None:
    said = client.get(f"/v1/models/{path}/info").json()
    assert said["id"] == "family/with/slashes"
    assert said["model_type"] == said["modelType"] == "sd15"
    assert said["native_resolution"] == 64
    assert said["recommended_resolutions"] == [{"width": 64, "height": 48, "label": "64 × 48, landscape"}]


def test_info_of_an_unknown_model_is_a_404(client: TestClient) -> None:
    assert client.get("/v1/models/sd/x/info").status_code == 404


def test_the_defaults_are_the_default_models(client: TestClient) -> None:
    said = client.get("/v1/generation/defaults").json()
    assert said["model"] == "starter"
    assert (said["steps"], said["guidance_scale"], said["width"], said["height"]) == (20, 3.0, 64, 48)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/web", "/"),
        ("/web/index.html", "/"),
        ("/web/style.css", "/static/inglenook.css"),
        ("/web/models.html", "/models"),
        ("/web/admin.html", "/settings"),
        ("/web/login.html?return=/web/", "/login"),
        ("/web/generate.html?model=sd/my fox%26", "/?model=my+fox%26"),
    ],
)
def test_alices_pages_lead_to_ours(client: TestClient, path: str, place: str) -> None:
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["location"] == place


def test_a_page_that_we_have_not_is_a_404(client: TestClient) -> None:
    assert client.get("/web/debug-cookies.html").status_code == 404


# ── deleting ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "loras").mkdir(parents=True)
    return folder


@pytest.fixture
def shop(own: Path) -> Workshop:
    return Workshop(own_models=own)


@pytest.fixture
def caller(shop: Workshop) -> TestClient:
    return TestClient(shop.app, base_url="http://127.0.0.1:8190", raise_server_exceptions=False)


def put(shop: Workshop, root: Path, model_id: str, path: str, **fields: Any) -> ModelRecord:
    """A model file with notes beside it, in the catalogue."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"weights")
    file.with_suffix(".json").write_text("{}")
    record = replace(model(model_id, **fields), path=file, root=root, layout="single")
    shop.catalog.records.insert(0, record)
    return record


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", ["art", "sd/art"])
def test_a_model_of_ones_own_is_deleted_for_good(
    caller: TestClient, shop: Workshop, own: Path, name: str
) -> None:
    put(shop, own, "art", "art.safetensors")
    shop.runtime.residents.append({"id": "res_2", "model": "art", "state": "ready"})
    answer = caller.delete(f"/v1/models/{name}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "deleted"
    assert "art.safetensors" not in left(own)
    assert not [name for name in left(own) if name.startswith(".deleted")]
    assert [resident["id"] for resident in shop.runtime.residents] == ["res_1"]
    assert shop.catalog.refreshed == 1


def test_a_folder_is_deleted_whole(caller: TestClient, shop: Workshop, own: Path) -> None:
    (own / "big" / "unet").mkdir(parents=True)
    (own / "big" / "unet" / "weights.safetensors").write_bytes(b"weights")
    shop.catalog.records.insert(0, replace(model("big"), path=own / "big", root=own))
    assert caller.delete("/v1/models/big").status_code == 200
    assert not (own / "big").exists()


def test_a_lora_is_deleted_by_alices_id_and_never_by_a_guess(
    caller: TestClient, shop: Workshop, own: Path
) -> None:
    put(shop, own, "loras/ink", "loras/ink.safetensors", kind=ModelKind.LORA)
    assert caller.delete("/v1/loras/lora/in").status_code == 404
    assert caller.delete("/v1/loras/INK").status_code == 404
    assert caller.delete("/v1/loras/lora/ink").json()["lora_id"] == "lora/ink"
    assert "ink.safetensors" not in left(own)


def test_a_model_that_came_with_the_program_stays(caller: TestClient) -> None:
    answer = caller.delete("/v1/models/starter")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "model.builtin"


def test_a_model_in_another_programs_folder_stays(caller: TestClient, shop: Workshop, tmp_path: Path) -> None:
    record = put(shop, tmp_path / "comfy", "theirs", "theirs.safetensors")
    answer = caller.delete("/v1/models/theirs")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "model.not_ours"
    assert record.path.exists()


def test_a_linked_folder_of_another_program_stays(
    caller: TestClient, shop: Workshop, own: Path, tmp_path: Path
) -> None:
    (tmp_path / "comfy").mkdir()
    (own / "linked").symlink_to(tmp_path / "comfy")
    record = put(shop, own, "linked/theirs", "linked/theirs.safetensors")
    assert caller.delete("/v1/models/linked/theirs").status_code == 403
    assert record.path.exists()


def test_a_part_of_another_model_stays(caller: TestClient, shop: Workshop, own: Path) -> None:
    encoder = put(shop, own, "t5", "t5.safetensors", kind=ModelKind.TEXT_ENCODER)
    put(shop, own, "flux", "flux.safetensors", parts={"text_encoder_2": encoder.path})
    answer = caller.delete("/v1/models/t5")
    assert answer.status_code == 409
    assert "flux" in answer.json()["error"]["message"]


def test_a_model_that_is_drawing_stays(caller: TestClient, shop: Workshop, own: Path) -> None:
    record = put(shop, own, "art", "art.safetensors")
    shop.runtime.leases.append({"model": "art", "resident": "res_2"})
    answer = caller.delete("/v1/models/art")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "model.in_use"
    assert record.path.exists()


def test_a_model_that_begins_to_draw_meanwhile_is_put_back(
    caller: TestClient, shop: Workshop, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put(shop, own, "art", "art.safetensors")
    shop.runtime.residents.append({"id": "res_2", "model": "art", "state": "ready"})

    async def at_work(resident: str) -> bool:
        return False

    monkeypatch.setattr(shop.runtime, "unload", at_work)
    assert caller.delete("/v1/models/art").status_code == 409
    assert record.path.read_bytes() == b"weights"
    assert shop.catalog.refreshed == 2


def test_an_unknown_model_is_a_404(caller: TestClient) -> None:
    assert caller.delete("/v1/models/sd/none").status_code == 404
    assert caller.delete("/v1/loras/lora/none").status_code == 404


# ── what left the machine ───────────────────────────────────────────────────────────────────────────────


def test_the_ledger_is_told_a_page_at_a_time(client: TestClient, workshop: Workshop) -> None:
    workshop.outgoing.pages["https://example.org/a.png"] = b"fetched"
    config = {"input_image_urls": ["https://example.org/a.png"] * 3}
    body = {"model": "starter", "messages": [{"role": "user", "content": "x"}], "sam_config": config}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    first = client.get("/v1/outgoing", params={"limit": 2}).json()
    assert [one["number"] for one in first["data"]] == [3, 2]
    assert first["data"][0]["host"] == "example.org"
    assert (first["has_more"], first["last_number"], first["offline"]) == (True, 2, False)
    second = client.get("/v1/outgoing", params={"before": 2}).json()
    assert [one["number"] for one in second["data"]] == [1]
    assert second["has_more"] is False
