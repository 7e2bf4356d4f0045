# SPDX-License-Identifier: Apache-2.0
"""The families that can be loaded, by the name that stands on the wire."""

from collections.abc import Mapping
from pathlib import Path

import torch

from inglenook.wire.image import LoadImageModel
from inglenook.workers.image.device import Device
from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families.family import Family
from inglenook.workers.image.families.flux import Flux
from inglenook.workers.image.families.qwen_image import QwenImage
from inglenook.workers.image.families.sd1 import StableDiffusion1
from inglenook.workers.image.families.sd2 import StableDiffusion2
from inglenook.workers.image.families.sd3 import StableDiffusion3
from inglenook.workers.image.families.sdxl import StableDiffusionXL

FAMILY_CLASSES: Mapping[str, type[Family]] = {
    family.name: family
    for family in (StableDiffusion1, StableDiffusion2, StableDiffusionXL, StableDiffusion3, Flux, QwenImage)
}

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def load_family(request: LoadImageModel, device: Device) -> Family:
    """Read the model and place it on `device`.

    Raises `LoadCorrupt`, `LoadUnsupported`, or what the allocator raises.
    """
    if request.family not in FAMILY_CLASSES:
        raise LoadUnsupported(
            f"There is no family {request.family!r}; the image worker knows {', '.join(FAMILY_CLASSES)}."
        )
    if request.dtype not in DTYPES:
        raise LoadUnsupported(f"{request.dtype!r} is not a precision; there are {', '.join(DTYPES)}.")
    family, dtype, path = FAMILY_CLASSES[request.family], DTYPES[request.dtype], Path(request.path)
    with torch.no_grad():
        if request.layout == "folder":
            model = family.from_folder(path, variant=request.variant, dtype=dtype, device=device)
        else:
            parts = {role: Path(place) for role, place in request.parts.items()}
            model = family.from_single(path, parts=parts, variant=request.variant, dtype=dtype, device=device)
        if request.vae_on_cpu:
            model.keep_vae_on_host()
        model.spare(request.saving)
        if request.compile is not None:
            model.compile(
                request.compile, None if request.compile_cache is None else Path(request.compile_cache)
            )
    return model
