# SPDX-License-Identifier: Apache-2.0
"""How much memory a picture model will need, before anybody has measured it. Pure.

An estimate that is too small makes two models collide; one that is too large makes a model wait for room
until its first run has been measured (the scheduler prefers what it learns). So this errs upwards:

    weights       every scalar that is loaded, at the dtype it is loaded in; the VAE at 4 bytes, because
                  SDXL's is computed in float32. Averaged copies (`ema`) stay in the file.
    activations   the larger of two peaks that do not happen together:
                  the UNet on two latents (guided and unguided), 64 maps of its 320 first channels, and
                  the VAE's decoder at full size, 5 maps of 256 channels in float32.
    runtime       1 GiB for the tensor library itself.

Where the factors come from: the UNet and the VAE of Stable Diffusion 1 (random weights, float32, PyTorch 2.15
on a CPU) were run once at each size, and the growth of the process was read:

    side in px     UNet          in maps    VAE           in maps
    256            190 MiB       76         321 MiB       5.0
    384                                     629 MiB       4.4
    512            474 MiB       47         1002 MiB      3.9
    768            855 MiB       38

(at 256 px a fixed part of some 100 MiB shows, which `runtime` covers). A process with torch, diffusers and
transformers imported and nothing loaded took 830 MiB. SDXL has as many first channels, and the same VAE.
"""

from inglenook.base.units import GIB
from inglenook.catalog.model import ModelRecord

RUNTIME_BYTES = GIB

UNET_MAPS = 64
UNET_CHANNELS = 320
UNET_PICTURES = 2
LATENT_SCALE = 8
VAE_MAPS = 5
VAE_CHANNELS = 256
VAE_SCALAR_BYTES = 4

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def footprint(record: ModelRecord, width: int, height: int, dtype: str) -> int:
    """Bytes that a process needs to draw one picture of `width` × `height` pixels with `record`.

    Args:
        width, height: pixels as drawn (before any enlarging), at least 1.
        dtype: `float32`, `float16` or `bfloat16`: what the weights are loaded as.

    Raises:
        KeyError: another dtype.
    """
    return weights_bytes(record, dtype) + activation_bytes(width, height, dtype) + RUNTIME_BYTES


def weights_bytes(record: ModelRecord, dtype: str) -> int:
    """Bytes of the weights in memory."""
    stored = max(record.weights_bytes, 1)
    loaded = stored - record.components.get("ema", 0)
    scalars = -(-record.parameters * loaded // stored)
    vae = -(-record.parameters * record.components.get("vae", 0) // stored)
    return scalars * DTYPE_BYTES[dtype] + vae * (VAE_SCALAR_BYTES - DTYPE_BYTES[dtype])


def activation_bytes(width: int, height: int, dtype: str) -> int:
    """Bytes of intermediate results at their peak."""
    pixels = width * height
    latents = -(-pixels // LATENT_SCALE**2)
    unet = UNET_MAPS * UNET_CHANNELS * UNET_PICTURES * latents * DTYPE_BYTES[dtype]
    vae = VAE_MAPS * VAE_CHANNELS * pixels * VAE_SCALAR_BYTES
    return max(unet, vae)
