# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from tests.unit.api.services import Workshop

ADDRESS = "http://127.0.0.1:8190"


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def client(workshop: Workshop) -> Iterator[TestClient]:
    with TestClient(workshop.app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def refusing() -> Iterator[TestClient]:
    """One application for all requests of a module that are refused; at the end none has done anything."""
    workshop = Workshop()
    with TestClient(workshop.app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client
    assert workshop.jobs.jobs == {}
    assert workshop.images.requests == []
    assert workshop.language.asked == []
