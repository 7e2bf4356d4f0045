# SPDX-License-Identifier: Apache-2.0
"""What the families have in common whose model is a UNet over the latents of a VAE, led by CLIP texts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import UNet2DConditionModel

from inglenook.wire.image import EmbeddingUse, SavingLevel
from inglenook.workers.image.embeddings import read_embeddings
from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families import clip_prompt
from inglenook.workers.image.families.family import Inpaint, Text
from inglenook.workers.image.families.latent import LatentModel


class LatentUNet(LatentModel):
    """Raises `LoadUnsupported` when the UNet takes inputs that are not given here."""

    network = "unet"
    network_classes: ClassVar[Mapping[str, Any]] = {"UNet2DConditionModel": UNet2DConditionModel}

    reads_clip = True

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        takes, own = int(self._network_config["in_channels"]), self._channels
        if takes not in (own, 2 * own + 1):
            raise LoadUnsupported(
                f"The UNet takes {takes} channels; it would get "
                f"{own} (latents) or {2 * own + 1} (latents, mask and masked picture).",
                hint="depth, upscaling and instruction models are not drawn with here",
            )

    def spare(self, saving: SavingLevel) -> None:
        """Besides, from level 1: slices of attention where it is not one kernel."""
        if saving >= 1 and not self.device.fuses_attention:
            self._parts.modules["unet"].set_attention_slice("auto")
        super().spare(saving)

    @property
    def sees_masked_picture(self) -> bool:
        return bool(self._network_config["in_channels"] != self._channels)

    def vectors(self, embeddings: Sequence[EmbeddingUse]) -> Mapping[str, clip_prompt.Vectors]:
        """Those of the textual inversions, by text encoder. Raises `DrawInvalid` when a file does not fit."""
        widths = {part: int(self._parts.modules[part].config.hidden_size) for part in self.text_parts}
        return read_embeddings(embeddings, widths)

    def pieces(
        self, part: str, texts: Sequence[str], vectors: clip_prompt.Vectors
    ) -> list[list[clip_prompt.Piece]]:
        """Each text in pieces of 75 tokens, all of them in equally many."""
        places = {word: len(own) for word, own in vectors.items()}
        found = [clip_prompt.pieces(self._tokenizers[part], text, places) for text in texts]
        return clip_prompt.evened(found, max(map(len, found)))

    def read_clip(
        self,
        part: str,
        prompts: Sequence[Sequence[clip_prompt.Piece]],
        vectors: clip_prompt.Vectors,
        *,
        layer: int | None,
        normed: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States and pooled texts in the model's precision; see `clip_prompt.encode`."""
        states, pooled = clip_prompt.encode(
            self._parts.use(part),
            self._tokenizers[part],
            prompts,
            vectors,
            layer=layer,
            normed=normed,
            device=self.device.torch,
        )
        return states.to(self._dtype), pooled.to(self._dtype)

    @property
    def embeds_guidance(self) -> bool:
        """True for latent consistency models, into which the guidance was distilled."""
        return self._network_config.get("time_cond_proj_dim") is not None

    @property
    def spreads_steps(self) -> bool:
        return self.embeds_guidance

    def asks_twice(self, guidance_scale: float | None) -> bool:
        """Whether the negative prompt is read: never by a model that is told the scale."""
        return guidance_scale is not None and not self.embeds_guidance

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: Text, inpaint: Inpaint | None
    ) -> torch.Tensor:
        given = latents.to(self._dtype)
        if inpaint is not None and inpaint.masked is not None:
            given = torch.cat([given, inpaint.mask.to(self._dtype), inpaint.masked.to(self._dtype)], dim=1)

        told = self._told_guidance(text.guidance_scale)

        def ask(embeds: torch.Tensor, added: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return self._parts.use("unet")(
                given.repeat(len(embeds), 1, 1, 1),
                timestep,
                encoder_hidden_states=embeds,
                timestep_cond=told,
                added_cond_kwargs=dict(added) if added else None,
                return_dict=False,
            )[0]

        return self.guided(text, ask)

    def _told_guidance(self, guidance_scale: float | None) -> torch.Tensor | None:
        """The scale as a latent consistency model reads it: (1, width) of sines, then cosines.

        These models count from 0 for no guidance: `cond + w * (cond - uncond)`.
        """
        if not self.embeds_guidance or guidance_scale is None:
            return None
        half = int(self._network_config["time_cond_proj_dim"]) // 2
        frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10_000.0) / (half - 1)))
        angles = (guidance_scale - 1) * 1000.0 * frequencies[None]
        told = torch.cat([angles.sin(), angles.cos()], dim=1)
        return told.to(self.device.torch, self._dtype)
