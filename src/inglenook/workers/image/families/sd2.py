# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion 2.x: as 1.x, with OpenCLIP's ViT-H less its last layer, and often v-prediction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch

from inglenook.workers.image.device import Device
from inglenook.workers.image.families import clip, ldm
from inglenook.workers.image.families.sd1 import StableDiffusion1
from inglenook.workers.image.weights import Checkpoint


class StableDiffusion2(StableDiffusion1):
    name = "sd2"

    @classmethod
    def from_single(
        cls, path: Path, *, parts: Mapping[str, Path], variant: str, dtype: torch.dtype, device: Device
    ) -> Self:
        """OpenCLIP under `cond_stage_model.model`; heads of 64 channels each."""
        del parts  # these files hold all of a model
        file = Checkpoint(path)
        ldm.require_parts(file, cls.name, ("cond_stage_model.model.",))
        return cls(
            modules={
                "unet": ldm.read_unet(file, cls.name, dtype, heads=ldm.heads_of_64),
                "vae": ldm.read_vae(file, cls.name, dtype),
                "text_encoder": clip.read_openclip(
                    file, "cond_stage_model.model.", cls.name, dtype, layers_left_out=1
                ),
            },
            tokenizers={"text_encoder": clip.tokenizer(pad="!")},
            scheduler=ldm.scheduler_config(file, cls.name, variant),
            options={},
            variant=variant,
            dtype=dtype,
            device=device,
        )
