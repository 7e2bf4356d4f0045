# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion XL: two text encoders side by side, and the picture's size as an input of the UNet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch

from inglenook.wire.image import EmbeddingUse
from inglenook.workers.image.device import Device
from inglenook.workers.image.families import clip, clip_prompt, ldm
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
        vectors = self.vectors(embeddings)
        texts = [negative_prompt, prompt] if self.asks_twice(guidance_scale) else [prompt]
        laid_out = {part: self.pieces(part, texts, vectors[part]) for part in self.text_parts}
        longest = max(len(pieces[0]) for pieces in laid_out.values())
        laid_out = {part: clip_prompt.evened(pieces, longest) for part, pieces in laid_out.items()}
        each = [
            self._read({part: pieces[i] for part, pieces in laid_out.items()}, vectors, clip_skip)
            for i in range(len(texts))
        ]
        if len(texts) == 2 and not negative_prompt and self._zeros_for_nothing:
            each[0] = (torch.zeros_like(each[1][0]), torch.zeros_like(each[1][1]))
        embeds, pooled = (torch.cat(parts) for parts in zip(*each, strict=True))
        sizes = embeds.new_tensor(
            [[height, width, 0, 0, height, width]] * len(texts)
        )  # original, crop, target
        return Text(embeds, guidance_scale, 0, {"text_embeds": pooled, "time_ids": sizes})

    @property
    def _zeros_for_nothing(self) -> bool:
        """Most of these models were trained with zeros for no text at all; `model_index.json` says so."""
        return bool(self._options.get("force_zeros_for_empty_prompt", True))

    def _read(
        self,
        pieces: Mapping[str, Sequence[clip_prompt.Piece]],
        vectors: Mapping[str, clip_prompt.Vectors],
        clip_skip: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States of both encoders, before the last layer unless `clip_skip` says another, side by side; and
        the pooled text of the second."""
        layer = 2 if clip_skip is None else clip_skip
        read = [
            self.read_clip(part, [pieces[part]], vectors[part], layer=layer, normed=False)
            for part in self.text_parts
        ]
        return torch.cat([states for states, _ in read], dim=-1), read[-1][1]
