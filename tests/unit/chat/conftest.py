# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from tests.unit.chat.bench import write_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that nobody changes."""
    return write_models(tmp_path_factory.mktemp("language") / "models")
