# SPDX-License-Identifier: Apache-2.0
"""A real server for each module, drawing with the model that ships."""

from collections.abc import Iterator

import pytest

from inglenook.testing.server import RunningServer

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that the module's tests share; its data folder is thrown away."""
    with RunningServer.start(tmp_path_factory.mktemp("data"), environ=ENVIRON) as running:
        yield running
