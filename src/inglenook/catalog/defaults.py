# SPDX-License-Identifier: Apache-2.0
"""What a request that names nothing gets from a picture model, as far as its own files tell. Pure."""

from collections.abc import Mapping
from math import lcm
from typing import Any

from inglenook.catalog.model import ImageDefaults
from inglenook.wire.families import FAMILIES, Family
from inglenook.wire.schedulers import fitting

FLOW = "flow_prediction"
MIN_PX = 64
MAX_NATIVE_PX = 8192
USUAL_SCALE = 8
PACKED_PATCH = 2
MAX_PATCH = 8


def image_defaults(
    family: str,
    network: Mapping[str, Any],
    vae: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    variant: str = "",
    side_px: int | None = None,
) -> ImageDefaults:
    """Defaults of a family of ours, with the size that the model's own files say.

    Args:
        family: a key of `FAMILIES`; variant: one of its variants.
        network: the configuration of its UNet or transformer; vae, scheduler: theirs; empty where there is
            none (a single file).
        side_px: what a single file's metadata say of the pictures that it was trained on.

    The picture's side is `sample_size` latents of `_vae_scale` pixels each; transformers without a
    `sample_size` (FLUX, Qwen-Image) were trained on the family's side at 8 pixels a latent.
    """
    known = FAMILIES[family]
    told = known.variant(variant)
    native = known.native_px if told.native_px is None else told.native_px
    scale = _vae_scale(vae)
    if known.flow:
        native = max(native * scale // USUAL_SCALE, 1)
    sizes = _sample_size(network)
    if side_px is not None:
        native = side_px
    width, height = (native, native) if sizes is None else (sizes[0] * scale, sizes[1] * scale)
    if max(width, height) > MAX_NATIVE_PX:
        width = height = native
    multiple = lcm(known.multiple, scale * _patch(family, network))
    return ImageDefaults(
        native_px=max(width, height),
        multiple=multiple,
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
        sizes=_sizes(known, width, height, multiple),
    )


def _sizes(known: Family, width: int, height: int, multiple: int) -> tuple[tuple[int, int], ...]:
    """The family's sizes, made smaller or larger where this model was trained on others than the family."""
    if width != height:
        return ((width, height),)
    found = [(width, height)]
    for size in known.sizes:
        scaled = [round(side * width / known.native_px / multiple) * multiple for side in size]
        if min(scaled) >= max(MIN_PX, multiple) and (scaled[0], scaled[1]) not in found:
            found.append((scaled[0], scaled[1]))
    return tuple(found)


def _patch(family: str, network: Mapping[str, Any]) -> int:
    """Latents along one side of what a transformer takes for one token; 1 for a UNet."""
    if not FAMILIES[family].flow:
        return 1
    told = network.get("patch_size")
    if family == "sd3" and isinstance(told, int) and 1 <= told <= MAX_PATCH:
        return told
    return (
        PACKED_PATCH  # FLUX and Qwen-Image fold 2 x 2 latents before the transformer, whatever it calls that
    )


def _vae_scale(vae: Mapping[str, Any]) -> int:
    """Pixels along one side of a latent; 8 for a VAE that does not say, as every family here has."""
    blocks = vae.get("block_out_channels", vae.get("dim_mult"))  # the second is Qwen-Image's word
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 8:
        return USUAL_SCALE
    return 1 << (len(blocks) - 1)


def _sample_size(network: Mapping[str, Any]) -> tuple[int, int] | None:
    """(width, height) in latents; the configuration writes one number, or [height, width]."""
    size = network.get("sample_size")
    if isinstance(size, int) and size > 0:
        return size, size
    if isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        return size[1], size[0]
    return None
