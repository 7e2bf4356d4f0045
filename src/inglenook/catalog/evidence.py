# SPDX-License-Identifier: Apache-2.0
"""What a file's metadata and a folder's configurations tell, where shapes cannot. Pure.

Evidence that counts, in this order; a title or a name never does, because anybody writes anything there:

1. shapes: `inpaint` (9 channels into the UNet), `fill` (the picture and its mask go into the transformer as
   well), `schnell` (no table for the guidance), `lcm` (a table for the guidance in the UNet);
2. the sidecar's `image.variant`;
3. the pipeline's class in `model_index.json`: Kontext, Qwen-Image-Edit, Latent Consistency;
4. `zero_cond_t` in Qwen's transformer, which came with the second Qwen-Image-Edit (`edit-plus`);
5. the scheduler of a folder: Euler or Euler ancestral at trailing timesteps, which no undistilled release
   has. With 64 latents a side it is `turbo`; with 128, plain noise prediction and no rescaled betas, SDXL
   Lightning;
6. `modelspec.architecture` in a file's metadata, word by word.
"""

import re
from collections.abc import Mapping
from typing import Any

_ARCHITECTURES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"stable-diffusion-(v?3|m3)|^sd_?v?3"), "sd3"),
    (re.compile(r"stable-diffusion-xl|^sdxl"), "sdxl"),
    (re.compile(r"stable-diffusion-v?2|^sd_?v?2"), "sd2"),
    (re.compile(r"stable-diffusion-v?1|^sd_?v?1"), "sd1"),
    (re.compile(r"^flux[-_. ]?1(?!\d)"), "flux"),
    (re.compile(r"^qwen[-_]?image"), "qwen-image"),
)
"""How `modelspec.architecture` and kohya's `ss_base_model_version` begin."""

_WORDS = ("turbo", "lightning", "kontext")
_TURBO_LATENTS, _LIGHTNING_LATENTS = 64, 128


def told_family(metadata: Mapping[str, str]) -> str | None:
    """The family that a file's metadata name, or None."""
    for key in ("modelspec.architecture", "ss_base_model_version"):
        text = metadata.get(key, "")[:200].strip().lower()
        for pattern, family in _ARCHITECTURES:
            if pattern.search(text):
                return family
    return None


def told_variant(family: str, metadata: Mapping[str, str]) -> str:
    """The variant that a file's metadata name, as far as the family has it; "" where they name none."""
    words = set(re.split(r"[^a-z0-9]+", metadata.get("modelspec.architecture", "")[:200].lower()))
    if family == "qwen-image" and "edit" in words:
        return "edit-plus" if words & {"plus", "2509", "2511"} else "edit"
    able = {"sd2": ("turbo",), "sdxl": ("turbo", "lightning"), "sd3": ("turbo",), "flux": ("kontext",)}
    return next((word for word in _WORDS if word in words and word in able.get(family, ())), "")


def told_side_px(metadata: Mapping[str, str]) -> int | None:
    """The side of the square that `modelspec.resolution` names, in pixels, if it is a likely one."""
    found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", metadata.get("modelspec.resolution", "").strip().lower())
    if found is None or found[1] != found[2] or not 64 <= int(found[1]) <= 4096:
        return None
    return int(found[1])


def configured_variant(
    family: str, class_name: str, network: Mapping[str, Any], scheduler: Mapping[str, Any]
) -> str:
    """The variant that a folder's class and configurations name; "" where they name none.

    Args:
        network, scheduler: `unet/config.json` or `transformer/config.json`; `scheduler_config.json`.
    """
    if "Kontext" in class_name:
        return "kontext"
    if "EditPlus" in class_name or ("Edit" in class_name and network.get("zero_cond_t") is True):
        return "edit-plus"
    if "Edit" in class_name:
        return "edit"
    if class_name == "LatentConsistencyModelPipeline" or network.get("time_cond_proj_dim") is not None:
        return "lcm" if family in ("sd1", "sdxl") else ""
    return _distilled(family, network, scheduler)


def _distilled(family: str, network: Mapping[str, Any], scheduler: Mapping[str, Any]) -> str:
    euler = scheduler.get("_class_name") in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
    if family not in ("sd2", "sdxl") or not euler or scheduler.get("timestep_spacing") != "trailing":
        return ""
    latents = network.get("sample_size")
    if latents == _TURBO_LATENTS:
        return "turbo"
    plain = scheduler.get("prediction_type", "epsilon") == "epsilon"
    rescaled = scheduler.get("rescale_betas_zero_snr") is True
    return (
        "lightning" if family == "sdxl" and latents == _LIGHTNING_LATENTS and plain and not rescaled else ""
    )
