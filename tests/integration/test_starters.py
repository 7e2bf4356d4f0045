# SPDX-License-Identifier: Apache-2.0
"""The starters, out of their real packages."""

from pathlib import Path

import pytest
from tests.starters import with_starters

from inglenook.catalog.service import CatalogService


@pytest.mark.slow
def test_every_starter_comes_out_of_its_package_and_stands_in_the_catalogue_as_built_in(
    tmp_path: Path, chat_model: Path, embedding_model: Path, speech_model: Path
) -> None:
    folder = with_starters(tmp_path, chat_model, embedding_model, speech_model) / "starters"
    records = CatalogService(roots=[], builtin=tmp_path / "none", starters=folder).list()
    found = {record.id: (record.builtin, record.licence) for record in records}
    assert found["smollm2-135m-instruct"] == (True, "Apache-2.0")
    assert found["all-minilm-l6-v2"] == (True, "Apache-2.0")
