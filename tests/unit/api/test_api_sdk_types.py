# SPDX-License-Identifier: Apache-2.0
"""What is answered must satisfy the types of the current SDK, read strictly: the SDK is lenient."""

import json
from typing import Any

import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
)
from pydantic import BaseModel
from starlette.testclient import TestClient
from tests.unit.api.test_api_generations import events_of

QUALITIES = ["auto", "low", "medium", "standard", "high", "hd", "xhigh", "max"]


def strictly(kind: type[BaseModel], data: dict[str, Any]) -> None:
    kind.model_validate_json(json.dumps(data), strict=True)


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("response_format", ["url", "b64_json"])
def test_a_whole_answer_is_an_images_response(client: TestClient, quality: str, response_format: str) -> None:
    fields = {"prompt": "a fox", "quality": quality, "response_format": response_format, "user": "u"}
    strictly(ImagesResponse, client.post("/v1/images/generations", json=fields).json())


@pytest.mark.parametrize("quality", QUALITIES)
def test_events_are_the_sdks_events(client: TestClient, quality: str) -> None:
    fields = {"prompt": "a fox", "quality": quality, "stream": True, "partial_images": 1}
    (_, partial), (_, completed) = events_of(client.post("/v1/images/generations", json=fields).text)
    strictly(ImageGenPartialImageEvent, partial)
    strictly(ImageGenCompletedEvent, completed)


def test_events_of_an_edit_are_the_sdks_events(client: TestClient) -> None:
    fields = {"prompt": "a fox", "stream": "true", "partial_images": "1"}
    answer = client.post("/v1/images/edits", data=fields, files={"image": b"x"})
    (_, partial), (_, completed) = events_of(answer.text)
    strictly(ImageEditPartialImageEvent, partial)
    strictly(ImageEditCompletedEvent, completed)
