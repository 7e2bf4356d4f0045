# SPDX-License-Identifier: Apache-2.0
"""FLUX.1: a transformer over packed latents, led by CLIP's pooled text and by the states of T5.

dev       is told the guidance scale and asked once; there is no negative prompt
schnell   knows no guidance; a few steps
fill      is shown the masked picture and the mask, to the pixel
kontext   follows an instruction about a picture, whose tokens stand behind those of the new one
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from PIL import Image

from inglenook.workers.image.device import Device
from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families import components, flux_files
from inglenook.workers.image.families.family import Inpaint, Posterior, Text, as_input
from inglenook.workers.image.families.flow import FlowTransformer, packed, require_width, unpacked
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.weights import Checkpoint, read_json

KONTEXT_SIZES: Final = (
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104),
    (1024, 1024),
    (1104, 944), (1184, 880), (1248, 832), (1328, 800), (1392, 752), (1456, 720), (1504, 688), (1568, 672),
)  # fmt: skip
"""(width, height) of what Kontext was shown in training; a reference is brought to the nearest."""

_T5_TOKENS, _T5_TOKENS_SCHNELL = 512, 256
_CLIP, _T5 = components.clip_l("text_encoder"), components.t5_xxl("text_encoder_2")


class Flux(FlowTransformer):
    """Raises `LoadUnsupported` when the transformer takes inputs that are not given here."""

    name = "flux"
    network_classes: ClassVar[Mapping[str, Any]] = {"FluxTransformer2DModel": FluxTransformer2DModel}
    text_parts = ("text_encoder", "text_encoder_2")
    pipelines = frozenset(
        {
            "FluxPipeline",
            "FluxImg2ImgPipeline",
            "FluxInpaintPipeline",
            "FluxFillPipeline",
            "FluxKontextPipeline",
            "FluxKontextInpaintPipeline",
        }
    )

    def __init__(self, **parts: Any) -> None:
        if str(parts["options"].get("_class_name")).startswith("FluxKontext"):
            parts["variant"] = "kontext"
        super().__init__(**parts)
        takes, own = int(self._network_config["in_channels"]), 4 * self._channels
        shown = 2 * own + 4 * self.pixels_per_latent**2
        if takes not in (own, shown):
            raise LoadUnsupported(
                f"The transformer takes tokens of {takes} numbers; it would get {own} (latents) or {shown} "
                "(latents, masked picture and mask).",
                hint="models that are led by depth or by lines (FLUX.1 Tools) are not drawn with here",
            )

        clip, t5 = (parts["modules"][part].config for part in self.text_parts)
        require_width("a pooled text", clip.hidden_size, self._network_config["pooled_projection_dim"])
        require_width("states of texts", t5.d_model, self._network_config["joint_attention_dim"])

    @classmethod
    def from_single(
        cls, path: Path, *, parts: Mapping[str, Path], variant: str, dtype: torch.dtype, device: Device
    ) -> Self:
        """The transformer, bare or among others; all that it lacks out of `parts`."""
        file = Checkpoint(path)
        transformer = flux_files.read_transformer(flux_files.find_transformer(file), dtype)
        clip = components.read_clip_l(components.required(_CLIP, file, parts), dtype)
        t5 = components.read_t5(components.required(_T5, file, parts), dtype, parts.get("tokenizer_2"))
        vae = components.read_vae(components.required(components.VAE, file, parts), cls.name, dtype)
        return cls(
            modules={
                "transformer": transformer,
                "vae": vae,
                _CLIP.part: clip.module,
                _T5.part: t5.module,
            },
            tokenizers={_CLIP.part: clip.tokenizer, _T5.part: t5.tokenizer},
            scheduler=_scheduler(guided=transformer.config["guidance_embeds"]),
            options={},
            variant=variant,
            dtype=dtype,
            device=device,
        )

    @property
    def sees_masked_picture(self) -> bool:
        return bool(self._network_config["in_channels"] != 4 * self._channels)

    @property
    def embeds_guidance(self) -> bool:
        return True

    @property
    def max_references(self) -> int:
        return 1 if self.variant == "kontext" else 0

    def encode_text(
        self, prompt: str, negative_prompt: str, *, guidance_scale: float | None, width: int, height: int
    ) -> Text:
        del negative_prompt, width, height  # these models are told what to draw, and nothing else
        ids, _ = self.tokens("text_encoder", prompt)
        pooled = self._parts.use("text_encoder")(ids).pooler_output
        ids, dropped = self.tokens("text_encoder_2", prompt, self._t5_tokens)
        embeds = self._parts.use("text_encoder_2")(ids)[0]
        return Text(
            embeds.to(self._dtype), guidance_scale, dropped, {"pooled_projections": pooled.to(self._dtype)}
        )

    def encode_instruction(
        self,
        prompt: str,
        negative_prompt: str,
        references: Sequence[np.ndarray],
        *,
        guidance_scale: float | None,
        width: int,
        height: int,
    ) -> Text:
        text = self.encode_text(
            prompt, negative_prompt, guidance_scale=guidance_scale, width=width, height=height
        )
        (reference,) = references
        latents = self.scale(self.posterior(as_input(_of_known_size(reference, self.multiple_px))).mean)
        shown = {"reference": packed(latents), "reference_ids": self._ids(latents, picture=1)[None]}
        return Text(text.embeds, text.guidance_scale, text.dropped_tokens, {**text.added, **shown})

    def posterior(self, pixels: torch.Tensor) -> Posterior:
        """Kontext was trained on the middle of what its encoder gives; the others on samples."""
        encoded = super().posterior(pixels)
        return Posterior(encoded.mean, None) if self.variant == "kontext" else encoded

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: Text, inpaint: Inpaint | None
    ) -> torch.Tensor:
        given, ids = packed(latents), self._ids(latents)
        own = given.shape[1]
        if inpaint is not None and inpaint.masked is not None:
            given = torch.cat([given, packed(inpaint.masked), self._mask_tokens(inpaint)], dim=2)
        if "reference" in text.added:
            given = torch.cat([given, text.added["reference"]], dim=1)
            ids = torch.cat([ids, text.added["reference_ids"][0]])
        guidance = None
        if self._network_config["guidance_embeds"]:
            guidance = torch.full((1,), text.guidance_scale or 0.0, device=latents.device)
        answer = self._parts.use("transformer")(
            hidden_states=given.to(self._dtype),
            timestep=timestep.expand(1) / 1000,
            guidance=guidance,
            pooled_projections=text.added["pooled_projections"],
            encoder_hidden_states=text.embeds,
            txt_ids=ids.new_zeros(text.embeds.shape[1], 3),
            img_ids=ids,
            return_dict=False,
        )[0]
        return unpacked(answer[:, :own].float(), *latents.shape[2:])

    @property
    def _t5_tokens(self) -> int:
        return _T5_TOKENS if self._network_config["guidance_embeds"] else _T5_TOKENS_SCHNELL

    def _ids(self, latents: torch.Tensor, picture: int = 0) -> torch.Tensor:
        """Where each token stands: (tokens, 3), which picture, row and column."""
        height, width = latents.shape[2] // 2, latents.shape[3] // 2
        places = [torch.arange(side, device=latents.device) for side in (height, width)]
        rows, columns = torch.meshgrid(*places, indexing="ij")
        ids = torch.stack([torch.full_like(rows, picture), rows, columns], dim=-1)
        return ids.reshape(-1, 3).to(self._dtype)

    def _mask_tokens(self, inpaint: Inpaint) -> torch.Tensor:
        """The mask as the model reads it: all its pixels, those of one latent as so many channels."""
        side = self.pixels_per_latent
        _, _, height, width = inpaint.pixels.shape
        squares = inpaint.pixels.reshape(1, height // side, side, width // side, side)
        return packed(squares.permute(0, 2, 4, 1, 3).reshape(1, side * side, height // side, width // side))


def _of_known_size(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """uint8 (height, width, 3), brought to the size of `KONTEXT_SIZES` whose shape is nearest."""
    height, width = (max(multiple, side // multiple * multiple) for side in pixels.shape[:2])
    _, *size = min((abs(width / height - w / h), w, h) for w, h in KONTEXT_SIZES)
    return np.asarray(Image.fromarray(pixels).resize((size[0], size[1]), Image.Resampling.LANCZOS))


def _scheduler(*, guided: bool) -> dict[str, Any]:
    """The levels of dev are shifted by the picture's size, those of schnell are not."""
    config = read_json(CONFIGS / "flux" / "scheduler" / "scheduler_config.json")
    return config if guided else {**config, "shift": 1.0, "use_dynamic_shifting": False}
