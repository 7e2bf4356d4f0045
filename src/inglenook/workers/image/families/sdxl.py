# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion XL: two text encoders side by side, and the picture's size as an input of the UNet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch

from inglenook.workers.image.device import Device
from inglenook.workers.image.families import clip, ldm
from inglenook.workers.image.families.family import Text
from inglenook.workers.image.families.unet import LatentUNet
from inglenook.workers.image.weights import Checkpoint


class StableDiffusionXL(LatentUNet):
    name = "sdxl"
    text_parts = ("text_encoder", "text_encoder_2")
    pipelines = frozenset(
        {"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"}
    )
    vae_overflows = True

    @classmethod
    def from_single(
        cls, path: Path, *, parts: Mapping[str, Path], variant: str, dtype: torch.dtype, device: Device
    ) -> Self:
        """CLIP ViT-L and OpenCLIP's ViT-bigG under `conditioner.embedders`; heads of 64 channels each."""
        del parts  # these files hold all of a model
        file = Checkpoint(path)
        first, second = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
        ldm.require_parts(file, cls.name, (first, second))
        pooled = file.shape(f"{second}text_projection")[1]
        return cls(
            modules={
                "unet": ldm.read_unet(file, cls.name, dtype, heads=ldm.heads_of_64, pooled_width=pooled),
                "vae": ldm.read_vae(file, cls.name, dtype),
                "text_encoder": clip.read_openai(file, first, cls.name, dtype),
                "text_encoder_2": clip.read_openclip(file, second, cls.name, dtype, part="text_encoder_2"),
            },
            tokenizers={
                "text_encoder": clip.tokenizer(pad="<|endoftext|>"),
                "text_encoder_2": clip.tokenizer(pad="!"),
            },
            scheduler=ldm.scheduler_config(file, cls.name, variant),
            options={},
            variant=variant,
            dtype=dtype,
            device=device,
        )

    def encode_text(
        self, prompt: str, negative_prompt: str, *, guidance_scale: float | None, width: int, height: int
    ) -> Text:
        embeds, pooled, dropped = self._read(prompt)
        sizes = embeds.new_tensor([[height, width, 0, 0, height, width]])  # original, crop, target
        if self.asks_twice(guidance_scale):
            negative, negative_pooled, also_dropped = self._read_negative(negative_prompt, embeds, pooled)
            embeds, pooled = torch.cat([negative, embeds]), torch.cat([negative_pooled, pooled])
            sizes, dropped = torch.cat([sizes, sizes]), max(dropped, also_dropped)
        return Text(embeds, guidance_scale, dropped, {"text_embeds": pooled, "time_ids": sizes})

    def _read_negative(
        self, text: str, embeds: torch.Tensor, pooled: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Most of these models were trained with zeros for no text at all; `model_index.json` says so."""
        if not text and self._options.get("force_zeros_for_empty_prompt", True):
            return torch.zeros_like(embeds), torch.zeros_like(pooled), 0
        return self._read(text)

    def _read(self, text: str) -> tuple[torch.Tensor, torch.Tensor, int]:
        """States before the last layer of both encoders, side by side; the pooled text; tokens cut off."""
        states, dropped, pooled = [], 0, None
        for part in self.text_parts:
            ids, cut = self.tokens(part, text)
            read = self._parts.use(part)(ids, output_hidden_states=True)
            states.append(read.hidden_states[-2])
            pooled, dropped = read[0], max(dropped, cut)
        assert pooled is not None
        return torch.cat(states, dim=-1).to(self._dtype), pooled.to(self._dtype), dropped
