# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion 1.x and all of its make: a UNet led by the last states of one CLIP text encoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch

from inglenook.wire.image import EmbeddingUse
from inglenook.workers.image.device import Device
from inglenook.workers.image.families import clip, ldm
from inglenook.workers.image.families.family import Text
from inglenook.workers.image.families.unet import LatentUNet
from inglenook.workers.image.weights import Checkpoint


def eight_heads(channels: int) -> int:
    """As many in every block, however wide."""
    del channels
    return 8


class StableDiffusion1(LatentUNet):
    name = "sd1"
    text_parts = ("text_encoder",)
    text_knows_size = False
    pipelines = frozenset(
        {
            "StableDiffusionPipeline",
            "StableDiffusionImg2ImgPipeline",
            "StableDiffusionInpaintPipeline",
            "LatentConsistencyModelPipeline",
            "LatentConsistencyModelImg2ImgPipeline",
        }
    )

    @classmethod
    def from_single(
        cls, path: Path, *, parts: Mapping[str, Path], variant: str, dtype: torch.dtype, device: Device
    ) -> Self:
        """CLIP ViT-L under `cond_stage_model.transformer`, one attention of eight heads in every block."""
        del parts  # these files hold all of a model
        file = Checkpoint(path)
        ldm.require_parts(file, cls.name, ("cond_stage_model.transformer.",))
        return cls(
            modules={
                "unet": ldm.read_unet(file, cls.name, dtype, heads=eight_heads),
                "vae": ldm.read_vae(file, cls.name, dtype),
                "text_encoder": clip.read_openai(file, "cond_stage_model.transformer.", cls.name, dtype),
            },
            tokenizers={"text_encoder": clip.tokenizer(pad="<|endoftext|>")},
            scheduler=ldm.scheduler_config(file, cls.name, variant),
            options={},
            variant=variant,
            dtype=dtype,
            device=device,
        )

    def encode_text(
        self,
        prompt: str,
        negative_prompt: str,
        *,
        guidance_scale: float | None,
        width: int,
        height: int,
        clip_skip: int | None = None,
        embeddings: Sequence[EmbeddingUse] = (),
    ) -> Text:
        del width, height  # these models are not told the size
        texts = [negative_prompt, prompt] if self.asks_twice(guidance_scale) else [prompt]
        vectors = self.vectors(embeddings)["text_encoder"]
        pieces = self.pieces("text_encoder", texts, vectors)
        embeds, _ = self.read_clip("text_encoder", pieces, vectors, layer=clip_skip, normed=True)
        return Text(embeds, guidance_scale, 0)
