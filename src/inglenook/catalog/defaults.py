# SPDX-License-Identifier: Apache-2.0
"""What a request that names nothing gets from a picture model, as far as its own files tell. Pure."""

from collections.abc import Mapping
from math import lcm
from typing import Any

from inglenook.catalog.model import ImageDefaults
from inglenook.wire.families import FAMILIES
from inglenook.wire.schedulers import fitting

FLOW = "flow_prediction"
MIN_PX = 64
MAX_NATIVE_PX = 8192


def image_defaults(
    family: str,
    unet: Mapping[str, Any],
    vae: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    variant: str = "",
) -> ImageDefaults:
    """Defaults of a family of ours, with the size that the model's own configuration says.

    Args:
        family: a key of `FAMILIES`; variant: one of its variants.
        unet, vae, scheduler: the configuration of each, or empty where there is none (a single file).

    The picture's side is `sample_size` latents of `2 ** (blocks of the VAE - 1)` pixels each.
    """
    known = FAMILIES[family]
    told = known.variant(variant)
    native = known.native_px if told.native_px is None else told.native_px
    scale = _vae_scale(vae)
    sizes = _sample_size(unet)
    width, height = (native, native) if sizes is None else (sizes[0] * scale, sizes[1] * scale)
    if max(width, height) > MAX_NATIVE_PX:
        width = height = native
    return ImageDefaults(
        native_px=max(width, height),
        multiple=lcm(known.multiple, scale),
        width=width,
        height=height,
        steps=known.steps if told.steps is None else told.steps,
        guidance_scale=known.guidance_scale if told.guidance_scale is None else told.guidance_scale,
        min_px=min(MIN_PX, width, height),
        schedulers=fitting(flow=known.flow or scheduler.get("prediction_type") == FLOW),
        modes=told.modes,
        guided=told.guided,
        negative_prompt=told.negative_prompt,
        max_pictures=told.max_pictures,
        sizes=known.sizes,
    )


def _vae_scale(vae: Mapping[str, Any]) -> int:
    """Pixels along one side of a latent; 8 for a VAE that does not say, as every family here has."""
    blocks = vae.get("block_out_channels")
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 8:
        return 8
    return 1 << (len(blocks) - 1)


def _sample_size(unet: Mapping[str, Any]) -> tuple[int, int] | None:
    """(width, height) in latents; the configuration writes one number, or [height, width]."""
    size = unet.get("sample_size")
    if isinstance(size, int) and size > 0:
        return size, size
    if isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        return size[1], size[0]
    return None
