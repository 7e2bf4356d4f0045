# SPDX-License-Identifier: Apache-2.0
"""How much memory a picture model needs at each saving level. Pure.

    1   the guidance asks one half after the other: half of a step where there are two halves
    2   the VAE decodes in tiles: at most those of one tile
    3   only the part that works is on the device: the weights of the largest part instead of all
        (on a CPU the device is the host, and nothing is saved)

What the levels do is said in `inglenook.wire.image`. As the estimates of `footprint`, these err upwards.
"""

from inglenook.catalog.footprint import (
    RUNTIME_BYTES,
    STEPS,
    UNET_PICTURES,
    decoder_bytes,
    step_bytes,
    weights_by_component,
)
from inglenook.catalog.model import ModelRecord
from inglenook.wire.image import MAX_SAVING

TILE_PX = 1024
"""Side of a tile that the VAE of SDXL, SD 3 or FLUX decodes at once; those of older models are smaller."""


def footprint_at(
    record: ModelRecord, width: int, height: int, dtype: str, *, saving: int, on_cpu: bool, vae_apart: bool
) -> int:
    """Bytes that a process needs on its device at a saving level, 0 to `MAX_SAVING`.

    Args:
        on_cpu: the device is the host.
        vae_apart: the VAE works in host memory, which is the same place where the device is the host.
    """
    apart = vae_apart and not on_cpu
    weights = weights_by_component(record, dtype)
    if apart:
        weights.pop("vae", None)
    step = step_bytes(record, width, height, dtype)
    if saving >= 1:
        step = -(-step // _halves(record))
    tile = (min(width, TILE_PX), min(height, TILE_PX)) if saving >= 2 else (width, height)
    decoder = 0 if apart else decoder_bytes(record, *tile, dtype)
    sparing = saving >= MAX_SAVING and not on_cpu
    held = max(weights.values(), default=0) if sparing else sum(weights.values())
    return held + max(step, decoder) + RUNTIME_BYTES


def _halves(record: ModelRecord) -> int:
    step = STEPS.get(record.family or "")
    return UNET_PICTURES if step is None else step.halves
