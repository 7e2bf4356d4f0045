# SPDX-License-Identifier: Apache-2.0
"""The starters for tests: real small models, fetched once a checkout into `.starters/`.

`chat_model`, `embedding_model` and `speech_model` are paths; a test that starts a whole server gives it any
of them with `with_starters`:

    def test_it_answers(tmp_path, chat_model):
        with RunningServer.start(with_starters(tmp_path, chat_model)) as server: ...

where the model has the id `smollm2-135m-instruct`. TEST_STARTERS names a folder to use instead of
`.starters/`, for instance that of another checkout.
"""

import os
from pathlib import Path

import pytest

from inglenook.base.errors import InglenookError
from inglenook.catalog.starters.installing import install
from inglenook.catalog.starters.listing import starter
from inglenook.testing import parts

CHAT = "smollm2-135m-instruct"
EMBEDDING = "all-minilm-l6-v2"
SPEECH = "whisper-tiny.en"
MATTING = "u2netp"

_ROOT = Path(os.environ.get("TEST_STARTERS", Path(__file__).parents[1] / ".starters"))


def installed(name: str) -> Path:
    """The starter of this name, installed if need be; else a skip that says why, or in CI a failure.

    Several processes may ask at once: one installs, the others wait for it.
    """
    one = starter(name)
    try:
        install(_ROOT, one)
    except InglenookError as error:
        parts.require(False, f"the starter {name}: {error}")
    return one.model(_ROOT)


def with_starters(data: Path, *models: Path) -> Path:
    """Put the models into the starter folder of the data folder `data`, as links, and return `data`."""
    folder = data / "starters"
    folder.mkdir(parents=True, exist_ok=True)
    for model in models:
        for path in (model, model.with_name(f"{model.name}.inglenook.json")):
            if path.exists():
                (folder / path.name).symlink_to(path, target_is_directory=path.is_dir())
    return data


@pytest.fixture(scope="session")
def chat_model() -> Path:
    """A GGUF file: SmolLM2 135M Instruct, Q4_1."""
    return installed(CHAT)


@pytest.fixture(scope="session")
def embedding_model() -> Path:
    """A GGUF file: all-MiniLM-L6-v2, Q8_0, 384 columns."""
    return installed(EMBEDDING)


@pytest.fixture(scope="session")
def speech_model() -> Path:
    """A folder of CTranslate2: Whisper tiny.en."""
    return installed(SPEECH)


@pytest.fixture(scope="session")
def matting_model() -> Path:
    """An ONNX file: U2-Net (small)."""
    return installed(MATTING)
