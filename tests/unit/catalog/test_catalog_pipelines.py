# SPDX-License-Identifier: Apache-2.0
"""Diffusers folders: index, configurations and tensors together."""

from typing import Any

import pytest
from tests.model_files import (
    SD_UNET,
    TINY_UNET,
    clip_shapes,
    flux_shapes,
    qwen_shapes,
    sd3_shapes,
    t5_shapes,
    vae_shapes,
)

from inglenook.catalog.identity import Identity
from inglenook.catalog.model import ModelKind
from inglenook.catalog.pipelines import identify_pipeline

Shapes = dict[str, tuple[int, ...]]


def index(class_name: object, *components: str) -> dict[str, Any]:
    return {"_class_name": class_name, **{name: ["library", "Class"] for name in components}}


SD_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
INDEX = index("StableDiffusionPipeline", *SD_PARTS)
XL_INDEX = index("StableDiffusionXLPipeline", *SD_PARTS, "text_encoder_2", "tokenizer_2")
XL_UNET = TINY_UNET | {"addition_embed_type": "text_time"}
TWO = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
ONE = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")


@pytest.mark.parametrize(
    ("document", "unet", "family"),
    [
        (INDEX, TINY_UNET | {"cross_attention_dim": 768}, "sd1"),
        (INDEX, TINY_UNET | {"cross_attention_dim": 1024}, "sd2"),
        (INDEX, TINY_UNET | {"use_linear_projection": True}, "sd2"),
        (INDEX, TINY_UNET | {"cross_attention_dim": 192, "addition_embed_type": "text"}, "sd1"),
        (XL_INDEX, XL_UNET | {"cross_attention_dim": 2048}, "sdxl"),
        (INDEX | {"_class_name": "StableDiffusionInpaintPipeline"}, TINY_UNET, "sd1"),
    ],
)
def test_a_folder_with_a_unet_is_of_the_family_that_its_unet_is(
    document: dict[str, Any], unet: dict[str, Any], family: str
) -> None:
    identity = identify_pipeline(document, {"unet": unet}, {"unet": {"conv_in.weight": (32, 4, 3, 3)}})
    assert (identity.kind, identity.family, identity.problem) == (ModelKind.IMAGE, family, None)


@pytest.mark.parametrize(
    ("document", "unet", "says"),
    [
        (INDEX, XL_UNET, "describes a UNet of family sdxl"),
        (XL_INDEX, TINY_UNET, "describes a UNet of family sd1"),
        (INDEX | {"vae": [None, None]}, TINY_UNET, "names no vae"),
        (XL_INDEX | {"text_encoder": [None, None]}, XL_UNET, "refiner"),
        (INDEX, TINY_UNET | {"cross_attention_dim": 768}, "cross_attention_dim 768, but the weights have 32"),
        (INDEX, TINY_UNET | {"block_out_channels": [64, 64]}, "but the weights begin with 32"),
    ],
)
def test_an_index_that_contradicts_the_rest_is_a_problem(
    document: dict[str, Any], unet: dict[str, Any], says: str
) -> None:
    assert says in str(identify_pipeline(document, {"unet": unet}, {"unet": SD_UNET}).problem)


EULER = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
ANCESTRAL = EULER | {"_class_name": "EulerAncestralDiscreteScheduler"}


@pytest.mark.parametrize(
    ("document", "unet", "scheduler", "conv", "variant"),
    [
        (INDEX, {}, {}, 9, "inpaint"),
        (INDEX, {"time_cond_proj_dim": 256}, {}, 4, "lcm"),
        (INDEX | {"_class_name": "LatentConsistencyModelPipeline"}, {}, {}, 4, "lcm"),
        (INDEX, {"use_linear_projection": True, "sample_size": 64}, EULER, 4, "turbo"),
        (INDEX, {"use_linear_projection": True, "sample_size": 64}, {}, 4, ""),
        (INDEX, {"sample_size": 64}, EULER, 4, ""),  # sd1 has no such variant
        (XL_INDEX, {"sample_size": 64}, ANCESTRAL, 4, "turbo"),
        (XL_INDEX, {"sample_size": 64}, ANCESTRAL | {"timestep_spacing": "leading"}, 4, ""),
        (XL_INDEX, {"sample_size": 128}, EULER, 4, "lightning"),
        (XL_INDEX, {"sample_size": 128}, EULER | {"prediction_type": "v_prediction"}, 4, ""),
        (XL_INDEX, {"sample_size": 128}, EULER | {"rescale_betas_zero_snr": True}, 4, ""),
        (XL_INDEX, {"sample_size": 128}, EULER | {"timestep_spacing": "leading"}, 4, ""),
    ],
)
def test_the_variant_of_a_folder_with_a_unet(
    document: dict[str, Any], unet: dict[str, Any], scheduler: dict[str, Any], conv: int, variant: str
) -> None:
    config = (XL_UNET if "XL" in document["_class_name"] else TINY_UNET) | unet
    identity = identify_pipeline(
        document, {"unet": config, "scheduler": scheduler}, {"unet": {"conv_in.weight": (32, conv, 3, 3)}}
    )
    assert (identity.variant, identity.problem) == (variant, None)


def flux(
    class_name: str = "FluxPipeline", config: dict[str, Any] | None = None, **tensors: Shapes
) -> Identity:
    parts = {
        "transformer": flux_shapes(diffusers=True),
        "vae": vae_shapes(),
        "text_encoder": clip_shapes(),
        "text_encoder_2": t5_shapes(),
    }
    return identify_pipeline(index(class_name, *TWO), {"transformer": config or {}}, parts | tensors)


@pytest.mark.parametrize(
    ("class_name", "transformer", "variant"),
    [
        ("FluxPipeline", flux_shapes(diffusers=True), ""),
        ("FluxImg2ImgPipeline", flux_shapes(diffusers=True, guided=False), "schnell"),
        ("FluxFillPipeline", flux_shapes(diffusers=True, columns=384), "fill"),
        ("FluxKontextPipeline", flux_shapes(diffusers=True), "kontext"),
    ],
)
def test_the_variants_of_flux(class_name: str, transformer: Shapes, variant: str) -> None:
    identity = flux(class_name, transformer=transformer)
    assert (identity.family, identity.variant, identity.problem) == ("flux", variant, None)
    assert identity.widths == {"transformer": 3, "vae": 16, "text_encoder": 768, "text_encoder_2": 4096}


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (flux("FluxFillPipeline"), "says FluxFillPipeline"),
        (flux(transformer=flux_shapes(diffusers=True, columns=384)), "that of FLUX.1 Fill"),
        (flux(transformer=flux_shapes(diffusers=True, columns=128)), "control model"),
        (flux(config={"guidance_embeds": False}), "guidance_embeds false, but the weights have one"),
        (flux(transformer=sd3_shapes(diffusers=True)), "a transformer of family sd3"),
        (flux(transformer={}), "no transformer of that family"),
        (
            flux(text_encoder_2=t5_shapes(2048)),
            "reads text of width 4096, but its text_encoder_2 writes 2048",
        ),
        (flux(vae=vae_shapes(4)), "draws 16 latent channels, but its VAE has 4"),
        (flux("Flux2Pipeline"), "family flux2 is not supported yet"),
        (flux("FluxControlPipeline"), "control picture is not supported yet"),
    ],
)
def test_a_flux_folder_that_contradicts_itself_is_a_problem(identity: Identity, says: str) -> None:
    assert says in str(identity.problem)


def test_stable_diffusion_3_may_come_without_t5() -> None:
    document = index("StableDiffusion3Pipeline", *TWO) | {"text_encoder_3": [None, None]}
    identity = identify_pipeline(document, {}, {"transformer": sd3_shapes(diffusers=True)})
    assert (identity.family, identity.problem) == ("sd3", None)


@pytest.mark.parametrize(
    ("class_name", "config", "variant"),
    [
        ("QwenImagePipeline", {}, ""),
        ("QwenImageEditPipeline", {}, "edit"),
        ("QwenImageEditPipeline", {"zero_cond_t": True}, "edit-plus"),
        ("QwenImageEditPlusPipeline", {}, "edit-plus"),
    ],
)
def test_the_variants_of_qwen_image(class_name: str, config: dict[str, Any], variant: str) -> None:
    identity = identify_pipeline(
        index(class_name, *ONE), {"transformer": config}, {"transformer": qwen_shapes()}
    )
    assert (identity.family, identity.variant, identity.problem) == ("qwen-image", variant, None)


@pytest.mark.parametrize(
    ("name", "family", "says"),
    [
        ("ZImagePipeline", "z-image", "family z-image is not supported yet"),
        ("QwenImageLayeredPipeline", "qwen-image-layered", "not supported yet"),
        ("WhatPipeline", None, "WhatPipeline is not supported yet"),
        (None, None, "names no _class_name"),
        (["StableDiffusionPipeline"], None, "names no _class_name"),
    ],
)
def test_another_pipeline_is_named(name: object, family: str | None, says: str) -> None:
    identity = identify_pipeline({"_class_name": name}, {}, {})
    assert identity.family == family
    assert says in str(identity.problem)
