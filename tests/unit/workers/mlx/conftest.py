# SPDX-License-Identifier: Apache-2.0
import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import pytest


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]  # its types need torch
    """Tiny models by name, each in the hands of both workers; made when one is first asked for. Not shared
    between files: a LoRA of the last drawing lies on a model until the next one.
    """
    import torch
    from tests.unit.workers.mlx.bench import Pair, pair

    from inglenook.workers.image.worker import quieten

    kinds = {
        "sd1": ("sd1", {}),
        "sd2": ("sd2", {}),
        "sdxl": ("sdxl", {}),
        "flow": ("sd1", {"flow": True}),
        "sd1-lcm": ("sd1", {"few_steps": "lcm", "variant": "lcm"}),
        "sdxl-turbo": ("sdxl", {"few_steps": "turbo", "variant": "turbo"}),
        "sd1-inpainting": ("sd1", {"inpainting": True, "variant": "inpaint"}),
        "sdxl-inpainting": ("sdxl", {"inpainting": True, "variant": "inpaint"}),
        "sd1-single": ("sd1", {"single": True, "dtype": torch.float32}),
        "sd2-single": ("sd2", {"single": True, "dtype": torch.float32}),
        "sdxl-single": ("sdxl", {"single": True, "dtype": torch.float32}),
    }

    class Pairs(dict[str, Pair]):
        def __missing__(self, name: str) -> Pair:
            family, kind = kinds[name]
            self[name] = pair(family, tmp_path_factory.mktemp(name), **kind)
            return self[name]

    quieten()
    torch.set_num_threads(1)
    return Pairs()
