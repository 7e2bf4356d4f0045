# SPDX-License-Identifier: Apache-2.0
"""Random models of every family, written as diffusers folders: those of the tests, with a wider network.

The tests' own are too small to measure: their steps take a few milliseconds. Here a step takes some tens,
which is still hard on whatever stands around the network; real models have a thousand times more to compute.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests import tiny_models, tiny_qwen, tiny_transformers

SMALL_AREA_PX = 64 * 64
"""References of the models that edit are brought to it, on both sides. Their own size, of a million pixels,
would take half a minute with any network."""

_SMALL_SIZES = ((48, 96), (64, 64), (96, 48))


@dataclass(frozen=True)
class Model:
    """Attributes:
    title: as the tables name it.
    family, variant: as in `wire/families.py`.
    build: diffusers' own pipeline over the tests' parts.
    wider: what the configuration of the network says differently.
    guidance: the scale, as we name it.
    theirs: what diffusers' call takes for the same picture besides size, steps, seed and prompt.
    edits: whether it is given a reference picture.
    """

    title: str
    family: str
    variant: str
    build: Callable[[], Any]
    wider: Mapping[str, Any]
    guidance: float
    theirs: Mapping[str, Any] = field(default_factory=dict)
    edits: bool = False

    @property
    def network(self) -> str:
        return "unet" if self.family in tiny_models.FAMILIES else "transformer"

    def pipeline(self) -> Any:
        """Diffusers' pipeline over random weights, the network widened."""
        import torch

        pipeline = self.build()
        narrow = getattr(pipeline, self.network)
        torch.manual_seed(1)
        network = type(narrow).from_config({**narrow.config, **self.wider}).eval()
        pipeline.register_modules(**{self.network: network})
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def write(self, folder: Path) -> Path:
        self.pipeline().save_pretrained(folder, safe_serialization=True)
        return folder


def _flux(variant: str) -> Callable[[], Any]:
    def build() -> Any:
        from diffusers import FluxKontextPipeline, FluxPipeline

        kind = FluxKontextPipeline if variant == "kontext" else FluxPipeline
        return kind(**tiny_transformers.flux_parts(variant))

    return build


def _sd3() -> Any:
    from diffusers import StableDiffusion3Pipeline

    return StableDiffusion3Pipeline(**tiny_transformers.sd3_parts())


def _unet(family: str, few_steps: str = "") -> Callable[[], Any]:
    return lambda: tiny_models.build(family, few_steps=few_steps).pipeline()


_UNET = {"block_out_channels": (128, 256), "layers_per_block": 2}
_SD3 = {"num_layers": 4, "num_attention_heads": 4, "caption_projection_dim": 256, "pos_embed_max_size": 96}
_FLUX = {"num_layers": 3, "num_single_layers": 3, "num_attention_heads": 8}
_QWEN = {"num_layers": 3, "num_attention_heads": 2}
_SHORT: Mapping[str, Any] = {"max_sequence_length": 512}

MODELS: Mapping[str, Model] = {
    model.title: model
    for model in (
        Model("SD 1", "sd1", "", _unet("sd1"), _UNET, 5.0, {"guidance_scale": 5.0}),
        Model("SD 2", "sd2", "", _unet("sd2"), {**_UNET, "attention_head_dim": (2, 4)}, 5.0,
              {"guidance_scale": 5.0}),
        Model("SDXL", "sdxl", "", _unet("sdxl"), {**_UNET, "attention_head_dim": (2, 4)}, 5.0,
              {"guidance_scale": 5.0}),
        Model("LCM of SD 1", "sd1", "lcm", _unet("sd1", "lcm"), _UNET, 8.0, {"guidance_scale": 8.0}),
        Model("SD 3", "sd3", "", _sd3, _SD3, 5.0, {"guidance_scale": 5.0}),
        Model("FLUX dev", "flux", "", _flux(""), _FLUX, 3.5, {"guidance_scale": 3.5, **_SHORT}),
        Model("FLUX schnell", "flux", "schnell", _flux("schnell"), _FLUX, 0.0,
              {"guidance_scale": 0.0, "max_sequence_length": 256}),
        Model("FLUX Kontext, edit", "flux", "kontext", _flux("kontext"), _FLUX, 2.5,
              {"guidance_scale": 2.5, **_SHORT}, edits=True),
        Model("Qwen-Image", "qwen-image", "", tiny_qwen.build, _QWEN, 4.0,
              {"true_cfg_scale": 4.0, "negative_prompt": ""}),
        Model("Qwen-Image-Edit", "qwen-image", "edit", lambda: tiny_qwen.build("edit"), _QWEN, 4.0,
              {"true_cfg_scale": 4.0, "negative_prompt": ""}, edits=True),
    )
}  # fmt: skip


@contextmanager
def small_references(family: Any, pipeline: Any) -> Iterator[None]:
    """Bring the pictures that are edited to `SMALL_AREA_PX` on both sides.

    Besides, diffusers 0.42 does not tell the text encoder of transformers 5 which tokens of Qwen's are
    pictures (their issue 14194); here it is told, as ours is, so that both draw the same.
    """
    from diffusers.pipelines.flux import pipeline_flux_kontext
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit

    from inglenook.workers.image.families import flux

    with ExitStack() as stack:
        if family.name == "flux":
            stack.enter_context(patch.object(flux, "KONTEXT_SIZES", _SMALL_SIZES))
            stack.enter_context(
                patch.object(pipeline_flux_kontext, "PREFERRED_KONTEXT_RESOLUTIONS", _SMALL_SIZES)
            )
        if family.name == "qwen-image":
            family.seen_px = family.drawn_px = SMALL_AREA_PX
            given = pipeline_qwenimage_edit.calculate_dimensions
            stack.enter_context(
                patch.object(
                    pipeline_qwenimage_edit,
                    "calculate_dimensions",
                    lambda _area, ratio: given(SMALL_AREA_PX, ratio),
                )
            )
            stack.enter_context(patch.object(pipeline.text_encoder, "forward", _told(pipeline.text_encoder)))
        yield


def _told(encoder: Any) -> Callable[..., Any]:
    forward = encoder.forward

    def told(*, input_ids: Any, **rest: Any) -> Any:
        kinds = (input_ids == encoder.config.image_token_id).int()
        return forward(input_ids=input_ids, mm_token_type_ids=kinds, **rest)

    return told
