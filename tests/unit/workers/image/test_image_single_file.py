# SPDX-License-Identifier: Apache-2.0
"""Single `.safetensors` files: what is read from their shapes, what from our configurations."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from tests.tiny_models import CLIP_TOKENS, FAMILIES, _unet_to_ldm, _vae_to_ldm, build, write_single
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from inglenook.wire.image import LoadImageModel
from inglenook.workers.image.device import Device
from inglenook.workers.image.families import ldm
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.families.registry import load_family
from inglenook.workers.image.families.sd1 import eight_heads
from inglenook.workers.image.weights import Checkpoint

EVERY_DAY = {("sd1", False, False), ("sdxl", True, True)}
PUBLISHED_PARAMETERS = {
    ("sd1", "unet"): 859_520_964,
    ("sd1", "vae"): 83_653_863,
    ("sd1", "text_encoder"): 123_060_480,
    ("sd2", "unet"): 865_910_724,
    ("sd2", "vae"): 83_653_863,
    ("sd2", "text_encoder"): 340_387_840,
    ("sdxl", "unet"): 2_567_463_684,
    ("sdxl", "vae"): 83_653_863,
    ("sdxl", "text_encoder"): 123_060_480,
    ("sdxl", "text_encoder_2"): 694_659_840,
}


def load(path: Path, family: str, dtype: str = "float32") -> Any:
    return load_family(
        LoadImageModel(
            path=str(path), layout="single", family=family, device="cpu", dtype=dtype, spool="unused"
        ),
        Device("cpu"),
    )


@pytest.mark.parametrize(
    ("family", "ema", "inpainting"),
    [
        pytest.param(*case, marks=() if case in EVERY_DAY else pytest.mark.slow)
        for case in product(FAMILIES, (False, True), (False, True))
    ],
)
def test_every_weight_of_a_single_file_arrives_unchanged(
    tmp_path: Path, family: str, ema: bool, inpainting: bool
) -> None:
    path = write_single(
        family, tmp_path / "m.safetensors", dtype=torch.float32, ema=ema, inpainting=inpainting
    )
    loaded = load(path, family)
    built = build(family, vocabulary=CLIP_TOKENS, inpainting=inpainting)
    for part, module in loaded._parts.modules.items():
        expected = getattr(built, part).state_dict()
        found = module.state_dict()
        assert set(found) == set(expected)
        assert all(torch.equal(found[key].reshape(expected[key].shape), expected[key]) for key in expected)
    assert loaded.sees_masked_picture == inpainting


@pytest.mark.slow
@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_a_file_in_half_precision_loads_in_the_precision_asked_for(
    tmp_path: Path, stored: torch.dtype
) -> None:
    path = write_single("sd1", tmp_path / "m.safetensors", dtype=stored)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        modules = load(path, "sd1", name)._parts.modules
        assert {p.dtype for module in modules.values() for p in module.parameters()} == {dtype}


@pytest.mark.slow
def test_the_vae_of_sdxl_stays_in_float32_where_float16_would_overflow(tmp_path: Path) -> None:
    modules = load(write_single("sdxl", tmp_path / "m.safetensors"), "sdxl", "float16")._parts.modules
    assert (modules["vae"].dtype, modules["unet"].dtype) == (torch.float32, torch.float16)


@pytest.mark.parametrize(("family", "part"), PUBLISHED_PARAMETERS)
def test_our_configurations_have_the_published_number_of_parameters(family: str, part: str) -> None:
    assert (
        sum(p.numel() for p in of_real_size(family, part).parameters()) == PUBLISHED_PARAMETERS[family, part]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shapes_of_a_real_unet_give_our_configuration_back(family: str) -> None:
    unet = of_real_size(family, "unet")
    heads = eight_heads if family == "sd1" else ldm.heads_of_64
    told = ldm._unet_settings(Shapes(_unet_to_ldm(unet)), heads)
    for key, value in told.items():
        expected = unet.config[key]
        if isinstance(value, list) and not isinstance(expected, list | tuple):
            expected = [expected] * len(value)
        assert list(value) == list(expected) if isinstance(value, list) else value == expected, key


def test_the_shapes_of_a_real_vae_are_counted_right(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(ldm, "_read", lambda *given: told.update(given[-1]))
    vae = of_real_size("sd1", "vae")
    ldm.read_vae(Shapes(_vae_to_ldm(vae)), "sd1", torch.float32)
    assert told == {key: vae.config[key] for key in told}


class Shapes(Checkpoint):
    """A file that has only names and shapes."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.path = Path("shapes.safetensors")
        self.metadata = {}
        self.shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def of_real_size(family: str, part: str) -> Any:
    """A part as our configuration describes it, without memory for its weights."""
    config = json.loads((CONFIGS / family / part / "config.json").read_text())
    with torch.device("meta"):
        match part:
            case "unet":
                return UNet2DConditionModel.from_config(config)
            case "vae":
                return AutoencoderKL.from_config(config)
            case "text_encoder":
                return CLIPTextModel(CLIPTextConfig(**config))
            case _:
                return CLIPTextModelWithProjection(CLIPTextConfig(**config))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metadata", "inpainting", "sidecar", "expected"),
    [
        ({}, False, None, "v_prediction"),
        ({"modelspec.prediction_type": "epsilon"}, False, None, "epsilon"),
        ({"modelspec.prediction_type": "v"}, True, None, "v_prediction"),
        ({"modelspec.resolution": "512x512"}, False, None, "epsilon"),
        ({"modelspec.resolution": "768x768"}, False, None, "v_prediction"),
        ({"modelspec.resolution": "512x512"}, False, 'parameterization: "v"\n', "v_prediction"),
        ({}, True, None, "epsilon"),
    ],
)
def test_what_an_sd2_file_predicts_is_taken_from_what_says_so(
    tmp_path: Path, metadata: dict[str, str], inpainting: bool, sidecar: str | None, expected: str
) -> None:
    path = write_single("sd2", tmp_path / "m.safetensors", metadata=metadata, inpainting=inpainting)
    if sidecar is not None:
        path.with_suffix(".yaml").write_text(f"model:\n  params:\n    {sidecar}")
    assert ldm.prediction_type(Checkpoint(path), "v_prediction") == expected
    assert load(path, "sd2").schedulers.make(None).config["prediction_type"] == expected


@pytest.mark.slow
def test_sd1_and_sdxl_files_predict_the_noise_unless_they_say_otherwise(tmp_path: Path) -> None:
    for family in ("sd1", "sdxl"):
        path = write_single(family, tmp_path / f"{family}.safetensors")
        assert load(path, family).schedulers.make("euler").config["prediction_type"] == "epsilon"
