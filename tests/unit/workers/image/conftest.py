# SPDX-License-Identifier: Apache-2.0
import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import pytest
import torch
from tests.tiny_models import FAMILIES
from tests.unit.workers.image.bench import Bench, bench

from inglenook.workers.image.worker import quieten


@pytest.fixture(scope="session")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    quieten()
    torch.set_num_threads(1)
    return {
        **{family: bench(family, tmp_path_factory.mktemp(family)) for family in FAMILIES},
        "sd1-inpainting": bench("sd1", tmp_path_factory.mktemp("inpainting"), inpainting=True),
        "flow": bench("sd1", tmp_path_factory.mktemp("flow"), flow=True),
        "sdxl-inpainting": bench("sdxl", tmp_path_factory.mktemp("inpainting"), inpainting=True),
    }
