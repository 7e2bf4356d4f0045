# SPDX-License-Identifier: Apache-2.0
import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import diffusers
import pytest
import torch
from tests.tiny_models import FAMILIES
from tests.tiny_transformers import FLUX_VARIANTS, write_flux, write_sd3
from tests.unit.workers.image.bench import Bench, bench, opened

from inglenook.workers.image.families import flux
from inglenook.workers.image.worker import quieten

SMALL_SIZES = ((48, 96), (64, 64), (96, 48))


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


@pytest.fixture(scope="session")
def flux_benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    quieten()
    torch.set_num_threads(1)
    benches = {}
    for variant in FLUX_VARIANTS:
        place = tmp_path_factory.mktemp(f"flux-{variant}")
        benches[variant] = opened(write_flux(variant, place / "model"), "flux", place, variant=variant)
    return benches


@pytest.fixture(scope="session")
def sd3_benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    quieten()
    torch.set_num_threads(1)
    kinds: dict[str, dict[str, bool]] = {
        "plain": {},
        "without T5": {"t5_too": False},
        "dynamic": {"dynamic": True},
        "medium": {"medium": True},
    }
    benches = {}
    for name, kind in kinds.items():
        place = tmp_path_factory.mktemp("sd3")
        benches[name] = opened(write_sd3(place / "model", **kind), "sd3", place)
    return benches


@pytest.fixture
def small_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kontext's own sizes are of a million pixels; both sides get smaller ones."""
    theirs = diffusers.pipelines.flux
    monkeypatch.setattr(flux, "KONTEXT_SIZES", SMALL_SIZES)
    for module in (theirs.pipeline_flux_kontext, theirs.pipeline_flux_kontext_inpaint):
        monkeypatch.setattr(module, "PREFERRED_KONTEXT_RESOLUTIONS", SMALL_SIZES)
