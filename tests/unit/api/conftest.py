# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from tests.unit.api.services import Workshop


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def client(workshop: Workshop) -> Iterator[TestClient]:
    with TestClient(workshop.app, base_url="http://127.0.0.1:8190", raise_server_exceptions=False) as client:
        yield client
