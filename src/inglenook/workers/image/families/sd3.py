# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion 3 and 3.5: a transformer led by two CLIP text encoders side by side, and T5 behind them.

T5 is large and may be absent: its states are then zeros, as the models were trained to bear.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import SD3Transformer2DModel

from inglenook.workers.image.device import Device
from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families import components, sd3_files
from inglenook.workers.image.families.family import Inpaint, Text
from inglenook.workers.image.families.flow import FlowTransformer, require_width
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.weights import Checkpoint, read_json

_CLIP_PARTS = ("text_encoder", "text_encoder_2")
_T5 = "text_encoder_3"
_CLIP_L, _CLIP_G = components.clip_l("text_encoder"), components.clip_g("text_encoder_2")
_T5_TOKENS = 256


class StableDiffusion3(FlowTransformer):
    """Raises `LoadUnsupported` when the transformer takes inputs that are not given here."""

    name = "sd3"
    network_classes: ClassVar[Mapping[str, Any]] = {"SD3Transformer2DModel": SD3Transformer2DModel}
    text_parts = (*_CLIP_PARTS, _T5)
    optional_text_parts = frozenset({_T5})
    pipelines = frozenset(
        {"StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"}
    )
    last_level_by_steps = False
    max_shift = 1.16

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        if self._network_config["in_channels"] != self._channels:
            raise LoadUnsupported(
                f"The transformer takes {self._network_config['in_channels']} channels; it would get "
                f"{self._channels} (latents)."
            )

        encoders = [parts["modules"][part].config for part in _CLIP_PARTS]
        pooled = encoders[0].hidden_size + encoders[1].projection_dim
        require_width("pooled texts", pooled, self._network_config["pooled_projection_dim"])
        if _T5 in parts["modules"]:
            t5 = parts["modules"][_T5].config
            require_width("states of texts", t5.d_model, self._network_config["joint_attention_dim"])

    @classmethod
    def from_single(
        cls, path: Path, *, parts: Mapping[str, Path], variant: str, dtype: torch.dtype, device: Device
    ) -> Self:
        """The transformer, bare or among others; all that it lacks out of `parts`. T5 may be nowhere."""
        file = Checkpoint(path)
        transformer = sd3_files.read_transformer(sd3_files.find_transformer(file), dtype)
        first = components.read_clip_l(components.required(_CLIP_L, file, parts), dtype)
        second = components.read_clip_g(components.required(_CLIP_G, file, parts), dtype)
        encoders = {_CLIP_L.part: first, _CLIP_G.part: second}
        third = components.found(components.t5_xxl(_T5), file, parts)
        if third is not None:
            encoders[_T5] = components.read_t5(third, dtype, parts.get("tokenizer_3"))
        vae = components.read_vae(components.required(components.VAE, file, parts), cls.name, dtype)
        return cls(
            modules={
                "transformer": transformer,
                "vae": vae,
                **{part: encoder.module for part, encoder in encoders.items()},
            },
            tokenizers={part: encoder.tokenizer for part, encoder in encoders.items()},
            scheduler=read_json(CONFIGS / cls.name / "scheduler" / "scheduler_config.json"),
            options={},
            variant=variant,
            dtype=dtype,
            device=device,
        )

    def encode_text(
        self, prompt: str, negative_prompt: str, *, guidance_scale: float | None, width: int, height: int
    ) -> Text:
        del width, height  # these models are not told the size
        texts = [prompt] if guidance_scale is None else [negative_prompt, prompt]
        read = [self._read(text) for text in texts]
        return Text(
            torch.cat([embeds for embeds, _, _ in read]),
            guidance_scale,
            max(dropped for _, _, dropped in read),
            {"pooled_projections": torch.cat([pooled for _, pooled, _ in read])},
        )

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: Text, inpaint: Inpaint | None
    ) -> torch.Tensor:
        del inpaint  # the loop puts the rest of the picture back
        given = latents.to(self._dtype)

        def ask(embeds: torch.Tensor, added: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return self._parts.use("transformer")(
                hidden_states=given.repeat(len(embeds), 1, 1, 1),
                timestep=timestep.expand(len(embeds)),
                encoder_hidden_states=embeds,
                pooled_projections=added["pooled_projections"],
                return_dict=False,
            )[0]

        return self.guided(text, ask)

    def _read(self, text: str) -> tuple[torch.Tensor, torch.Tensor, int]:
        """States of all encoders, one after the other; the pooled text; how many tokens the longest lost.

        CLIP's two stand side by side, and zeros fill them up to the width of T5.
        """
        states, pooled, dropped = [], [], 0
        for part in _CLIP_PARTS:
            ids, clip_dropped = self.tokens(part, text)
            answer = self._parts.use(part)(ids, output_hidden_states=True)
            states.append(answer.hidden_states[-2])
            pooled.append(answer.text_embeds if hasattr(answer, "text_embeds") else answer.pooler_output)
        t5, t5_dropped = self._read_t5(text)
        # T5 reads more than CLIP does; what it has read is not lost.
        dropped = clip_dropped if t5_dropped is None else t5_dropped
        clip = torch.cat(states, dim=-1).to(self._dtype)
        clip = torch.nn.functional.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
        return torch.cat([clip, t5], dim=1), torch.cat(pooled, dim=-1).to(self._dtype), dropped

    def _read_t5(self, text: str) -> tuple[torch.Tensor, int | None]:
        """States (1, tokens, width), and how many tokens were cut; zeros and None without T5."""
        if _T5 not in self._parts.modules:
            width = self._network_config["joint_attention_dim"]
            return torch.zeros(1, _T5_TOKENS, width, device=self.device.torch, dtype=self._dtype), None
        ids, dropped = self.tokens(_T5, text, _T5_TOKENS)
        return self._parts.use(_T5)(ids)[0].to(self._dtype), dropped
