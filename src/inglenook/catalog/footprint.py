# SPDX-License-Identifier: Apache-2.0
"""How much memory a picture model will need, before anybody has measured it. Pure.

An estimate that is too small makes two models collide; one that is too large makes a model wait for room
until its first run has been measured (the scheduler prefers what it learns). So this errs upwards:

    weights       every scalar that is loaded, at the dtype it is loaded in, those of borrowed parts as well;
                  a UNet's VAE at 4 bytes, because SDXL's is computed in float32. Averaged copies (`ema`)
                  stay in the file. Float8 is made wider when it is loaded.
    activations   the larger of two peaks that do not happen together: the network at one step, and the VAE's
                  decoder at full size.
    runtime       1 GiB for the tensor library itself.

A UNet's step: 64 maps of its 320 first channels for each latent, of two pictures (guided and unguided). A
transformer's step: 20 maps of its width for each token, where 16 x 16 pixels are a token, the text is some
hundreds, and every reference picture is a square of 1024 px; twice where the guidance asks twice. The VAE's
decoder: 5 maps of 256 channels for each pixel, 22 maps of 96 for Qwen-Image's, which folds three
pictures at once.

Where the factors come from: networks of the real width and depth (the transformers: one block of each sort,
because blocks come one after another) with random weights were run once at each size in float32 (PyTorch 2.15
on a CPU), and the growth of the process was read:

    side in px     UNet of SD 1     in maps     its VAE        in maps
    256            190 MiB          76          321 MiB        5.0
    384                                         629 MiB        4.4
    512            474 MiB          47          1002 MiB       3.9
    768            855 MiB          38

    side in px     FLUX.1           in maps     Qwen-Image     in maps     SD 3.5 medium    in maps
    256            167 MiB          18.6        88 MiB         14.7        87 MiB           12.5
    512            278 MiB          15.4        204 MiB        13.6        202 MiB          12.7

    side in px     VAE of FLUX.1    in maps     side in px     VAE of Qwen-Image    in maps
    384            543 MiB          3.8         128            131 MiB              21.9
                                                256            508 MiB              21.2

(at 256 px a fixed part of some 100 MiB shows, which `runtime` covers). A process with torch, diffusers and
transformers imported and nothing loaded took 830 MiB. SDXL has as many first channels, and the same VAE; FLUX
and SD 3 have it with 16 latent channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from inglenook.base.units import GIB
from inglenook.catalog.model import ModelRecord
from inglenook.wire.families import EDIT

RUNTIME_BYTES = GIB

UNET_MAPS = 64
UNET_CHANNELS = 320
UNET_PICTURES = 2
LATENT_SCALE = 8
UNET_VAE_SCALAR_BYTES = 4

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

TRANSFORMER_MAPS = 20
TOKEN_PX = 16
"""Side of what is one token: 2 x 2 latents of 8 x 8 pixels."""


@dataclass(frozen=True, slots=True)
class Step:
    """Attributes:
    width: columns of the stream where the record does not say.
    text: tokens of a prompt at its longest.
    halves: how often the guidance asks at once.
    reference_px: side of the square that a reference picture is brought to.
    """

    width: int
    text: int
    halves: int
    reference_px: int = 1024


@dataclass(frozen=True, slots=True)
class Decoder:
    maps: int
    channels: int


STEPS: Mapping[str, Step] = {
    "flux": Step(3072, 512, 1),
    "sd3": Step(2432, 77 + 256, 2),
    "qwen-image": Step(3072, 1024, 2),
}
VAE = Decoder(5, 256)
DECODERS: Mapping[str, Decoder] = {"qwen-image": Decoder(22, 96)}


def footprint(record: ModelRecord, width: int, height: int, dtype: str) -> int:
    """Bytes that a process needs to draw one picture of `width` × `height` pixels with `record`.

    Args:
        width, height: pixels as drawn (before any enlarging), at least 1.
        dtype: `float32`, `float16` or `bfloat16`: what the weights are loaded as.

    Raises:
        KeyError: another dtype.
    """
    return weights_bytes(record, dtype) + activation_bytes(record, width, height, dtype) + RUNTIME_BYTES


def weights_bytes(record: ModelRecord, dtype: str) -> int:
    """Bytes of the weights in memory, those of borrowed parts as well."""
    return sum(weights_by_component(record, dtype).values())


def weights_by_component(record: ModelRecord, dtype: str) -> dict[str, int]:
    """Bytes in memory of `unet` or `transformer`, `vae`, `text_encoder` …; a file's bytes that belong to none
    stand under `other`.

    How many of a file's scalars a component has is told by its share of the bytes.
    """
    stored = max(record.weights_bytes, 1)
    known = record.components or {"other": record.weights_bytes}
    left = {"other": stored - sum(known.values())} if sum(known.values()) < stored else {}
    scalars = {
        name: -(-record.parameters * size // stored)
        for name, size in {**known, **left}.items()
        if name != "ema"
    }
    scalars |= record.part_parameters
    return {
        name: count * (_vae_scalar_bytes(record, dtype) if name == "vae" else DTYPE_BYTES[dtype])
        for name, count in scalars.items()
        if count
    }


def activation_bytes(record: ModelRecord, width: int, height: int, dtype: str) -> int:
    """Bytes of intermediate results at their peak."""
    return max(step_bytes(record, width, height, dtype), decoder_bytes(record, width, height, dtype))


def step_bytes(record: ModelRecord, width: int, height: int, dtype: str) -> int:
    """Bytes of intermediate results of the network at one step."""
    step = STEPS.get(record.family or "")
    if step is None:
        latents = -(-width * height // LATENT_SCALE**2)
        return UNET_MAPS * UNET_CHANNELS * UNET_PICTURES * latents * DTYPE_BYTES[dtype]
    tokens = (
        -(-width * height // TOKEN_PX**2)
        + step.text
        + _references(record) * (step.reference_px // TOKEN_PX) ** 2
    )
    columns = record.widths.get("transformer") or step.width
    return TRANSFORMER_MAPS * columns * step.halves * tokens * DTYPE_BYTES[dtype]


def _references(record: ModelRecord) -> int:
    """How many pictures an instruction may be about."""
    if record.image is None or EDIT not in record.image.modes:
        return 0
    return record.image.max_pictures


def decoder_bytes(record: ModelRecord, width: int, height: int, dtype: str) -> int:
    """Bytes of intermediate results of the VAE's decoder."""
    decoder = DECODERS.get(record.family or "", VAE)
    return decoder.maps * decoder.channels * width * height * _vae_scalar_bytes(record, dtype)


def _vae_scalar_bytes(record: ModelRecord, dtype: str) -> int:
    return DTYPE_BYTES[dtype] if record.family in STEPS else UNET_VAE_SCALAR_BYTES
