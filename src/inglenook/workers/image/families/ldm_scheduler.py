# SPDX-License-Identifier: Apache-2.0
"""What a single file in the layout of the first latent diffusion models is drawn with: its family's
scheduler, and what it predicts. No tensor library is needed to tell."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

CONFIGS: Final = Path(__file__).parent.parent / "configs"
UNET: Final = "model.diffusion_model."
GUIDANCE: Final = f"{UNET}time_embed.cond_proj.weight"
"""Latent consistency models read the guidance scale with it."""


class Headed(Protocol):
    """A file whose header was read."""

    @property
    def path(self) -> Path: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def shape(self, key: str) -> tuple[int, ...]: ...


_TRAILING: Final = {"timestep_spacing": "trailing"}
_FEW_STEPS: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("sd1", "lcm"): {"_class_name": "LCMScheduler", "original_inference_steps": 50},
    ("sd2", "turbo"): {"_class_name": "EulerDiscreteScheduler", **_TRAILING},
    ("sdxl", "turbo"): {"_class_name": "EulerAncestralDiscreteScheduler", **_TRAILING},
    ("sdxl", "lightning"): {"_class_name": "EulerDiscreteScheduler", **_TRAILING},
    ("sdxl", "lcm"): {"_class_name": "LCMScheduler", "original_inference_steps": 50},
}
"""By family and variant, as their makers ship them: with one to eight steps, the first must be at the highest
noise level."""

_V_IN_SIDECAR = re.compile(r"""parameterization\s*:\s*["']?v["']?\s*$""", re.MULTILINE)
_PREDICTIONS = {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon", "eps": "epsilon"}


def scheduler_config(file: Headed, family: str, variant: str = "") -> dict[str, Any]:
    """The family's scheduler, with what this file predicts; for models of few steps the one that they were
    distilled for.

    Args:
        variant: one of `wire/families.py`.
    """
    place = CONFIGS / family / "scheduler" / "scheduler_config.json"
    config: dict[str, Any] = json.loads(place.read_text("utf-8"))
    few_steps = _FEW_STEPS.get((family, variant))
    default = str(config["prediction_type"]) if few_steps is None else "epsilon"
    config["prediction_type"] = prediction_type(file, default)
    config |= few_steps or {}
    if "ztsnr" in file.shapes:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return config


def prediction_type(file: Headed, default: str) -> str:
    """What the UNet was trained to predict. The weights themselves do not tell, so, in this order:

    1. `modelspec.prediction_type` in the file's metadata;
    2. an empty tensor named `v_pred`, with which some trainers mark their files;
    3. `parameterization: v` in a .yaml of the same name beside the file;
    4. inpainting models and models of 512 pixels (`modelspec.resolution`) predict the noise;
    5. the family's default: the noise, and v for Stable Diffusion 2.x, which is of 768 pixels.
    """
    told = _PREDICTIONS.get(file.metadata.get("modelspec.prediction_type", "").lower())
    if told is not None:
        return told
    sidecar = file.path.with_suffix(".yaml")
    if "v_pred" in file.shapes or (
        sidecar.is_file() and _V_IN_SIDECAR.search(sidecar.read_text("utf-8", "replace"))
    ):
        return "v_prediction"
    small = file.metadata.get("modelspec.resolution", "").startswith("512")
    inpainting = file.shape(f"{UNET}input_blocks.0.0.weight")[1] == 9
    return "epsilon" if small or inpainting else default
