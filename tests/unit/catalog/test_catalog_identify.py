# SPDX-License-Identifier: Apache-2.0
"""What a set of tensors is, by names and shapes."""

from typing import Any

import pytest
from tests.model_files import SD_UNET, TINY_UNET, UNET_KEY, ldm_shapes

from inglenook.catalog.identify import identify_pipeline, identify_tensors
from inglenook.catalog.model import ModelKind

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    **{name: ["library", "Class"] for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")},
}
XL_INDEX = INDEX | {
    "_class_name": "StableDiffusionXLPipeline",
    "text_encoder_2": ["library", "Class"],
    "tokenizer_2": ["library", "Class"],
}
XL_UNET = TINY_UNET | {"addition_embed_type": "text_time"}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_is_of_the_family_whose_text_encoder_it_carries(family: str) -> None:
    identity = identify_tensors(ldm_shapes(family))
    assert (identity.kind, identity.family, identity.problem) == (ModelKind.IMAGE, family, None)


def test_an_inpainting_file_is_usable_and_an_editing_one_is_not() -> None:
    assert identify_tensors(ldm_shapes("sd1", channels=9)).problem is None
    problem = identify_tensors(ldm_shapes("sd1", channels=8)).problem
    assert problem is not None
    assert "instruction-editing" in problem


@pytest.mark.parametrize(
    ("part", "missing"), [("first_stage_model.", "VAE"), ("cond_stage_model.", "text encoder")]
)
def test_a_file_without_all_its_parts_says_which_one_is_missing(part: str, missing: str) -> None:
    shapes = {name: shape for name, shape in ldm_shapes("sd1").items() if not name.startswith(part)}
    problem = identify_tensors(shapes).problem
    assert problem is not None
    assert missing in problem


@pytest.mark.parametrize(
    ("family", "tables"),
    [
        ("sd1", {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (9, 768)}),
        ("sd2", {"cond_stage_model.model.token_embedding.weight": (9, 1024)}),
        (
            "sdxl",
            {
                "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": (9, 768),
                "conditioner.embedders.1.model.token_embedding.weight": (9, 1280),
            },
        ),
    ],
)
def test_a_unet_must_read_text_of_the_width_that_its_encoders_write(
    family: str, tables: dict[str, tuple[int, ...]]
) -> None:
    shapes = ldm_shapes(family) | tables
    assert identify_tensors(shapes).problem is None
    name = f"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.{UNET_KEY}"
    assert "reads text of width 999" in str(identify_tensors(shapes | {name: (4, 999)}).problem)
    del shapes[name]
    assert "no cross-attention" in str(identify_tensors(shapes).problem)


def test_a_small_model_of_its_own_widths_is_usable() -> None:
    shapes = ldm_shapes("sd1") | {
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (9, 32),
        f"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.{UNET_KEY}": (4, 32),
    }
    assert identify_tensors(shapes).problem is None


def test_the_sdxl_refiner_is_called_so() -> None:
    shapes = {
        name: shape for name, shape in ldm_shapes("sdxl").items() if not name.startswith("conditioner.")
    }
    shapes["conditioner.embedders.0.model.token_embedding.weight"] = (9, 1280)
    assert "refiner" in str(identify_tensors(shapes).problem)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("flux", "double_blocks.0.img_attn.qkv.weight"),
        ("flux", "model.diffusion_model.double_blocks.0.img_attn.qkv.weight"),
        ("flux", "single_transformer_blocks.0.attn.to_q.weight"),
        ("sd3", "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"),
        ("qwen-image", "transformer_blocks.0.img_mod.1.weight"),
        ("z-image", "noise_refiner.0.attention.qkv.weight"),
        ("pixart", "adaln_single.emb.timestep_embedder.linear_1.weight"),
    ],
)
def test_a_family_that_is_not_ours_is_named(family: str, name: str) -> None:
    identity = identify_tensors({name: (8, 8)})
    assert (identity.kind, identity.family) == (ModelKind.IMAGE, family)
    assert identity.problem == f"family {family} is not supported yet"


def test_qwens_transformer_is_not_taken_for_sd3s_although_both_project_text() -> None:
    shapes = {
        "transformer_blocks.0.img_mod.1.weight": (8, 8),
        "transformer_blocks.0.attn.add_q_proj.weight": (8, 8),
    }
    assert identify_tensors(shapes).family == "qwen-image"
    del shapes["transformer_blocks.0.img_mod.1.weight"]
    assert identify_tensors(shapes).family == "sd3"


@pytest.mark.parametrize(
    ("family", "shapes"),
    [
        (
            "sd1",
            {
                "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (
                    4,
                    768,
                )
            },
        ),
        ("sd2", {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (4, 1024)}),
        (
            "sdxl",
            {"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v.lora.down.weight": (4, 2048)},
        ),
        (
            "sd1",
            {
                "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight": (
                    4,
                    768,
                )
            },
        ),
        ("sdxl", {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 1280)}),
        ("flux", {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (4, 3072)}),
        (None, {"lora_te_text_model_encoder_layers_0_mlp_fc1.hada_w1_a": (4, 768)}),
    ],
)
def test_a_lora_is_recognised_in_every_spelling(
    family: str | None, shapes: dict[str, tuple[int, ...]]
) -> None:
    identity = identify_tensors(shapes)
    assert (identity.kind, identity.family) == (ModelKind.LORA, family)


def test_a_lora_is_no_checkpoint_although_it_names_a_unet() -> None:
    shapes = ldm_shapes("sd1") | {"lora_unet_x_attn2_to_k.lora_down.weight": (4, 768)}
    assert identify_tensors(shapes).kind is ModelKind.LORA


@pytest.mark.parametrize(
    "shapes",
    [
        {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 4, 3, 3)},
        {
            "first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3),
            "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
        },
        {"encoder.layers.0.weight": (8, 3, 3, 3), "decoder.layers.0.weight": (8, 4, 3, 3)},
    ],
)
def test_a_vae_is_recognised_in_every_layout(shapes: dict[str, tuple[int, ...]]) -> None:
    identity = identify_tensors(shapes)
    assert (identity.kind, identity.problem) == (ModelKind.VAE, None)


def test_a_vae_of_sixteen_channels_is_not_ours() -> None:
    shapes = {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 16, 3, 3)}
    assert "16 latent channels" in str(identify_tensors(shapes).problem)


def test_a_text_translator_with_encoder_and_decoder_is_no_vae() -> None:
    shapes = {"encoder.layers.0.weight": (8, 8), "decoder.layers.0.weight": (8, 8)}
    assert identify_tensors(shapes).kind is ModelKind.OTHER


def test_a_language_model_is_recognised() -> None:
    shapes = {"model.embed_tokens.weight": (99, 8), "model.layers.0.self_attn.q_proj.weight": (8, 8)}
    assert identify_tensors(shapes).kind is ModelKind.LANGUAGE


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({}, "no tensors"),
        ({"mystery": (1,)}, "mystery"),
        ({"control_model.input_blocks.0.0.weight": (1,)}, "ControlNet"),
        ({"emb_params": (4, 768)}, "textual inversion"),
        (SD_UNET, "no text encoder and no VAE"),
        ({"text_model.embeddings.token_embedding.weight": (9, 9)}, "text encoder alone"),
    ],
)
def test_what_cannot_draw_says_what_it_is(shapes: dict[str, tuple[int, ...]], says: str) -> None:
    identity = identify_tensors(shapes)
    assert identity.kind is ModelKind.OTHER
    assert says in str(identity.problem)


@pytest.mark.parametrize(
    ("index", "unet", "family"),
    [
        (INDEX, TINY_UNET | {"cross_attention_dim": 768}, "sd1"),
        (INDEX, TINY_UNET | {"cross_attention_dim": 1024}, "sd2"),
        (INDEX, TINY_UNET | {"use_linear_projection": True}, "sd2"),
        (INDEX, TINY_UNET | {"cross_attention_dim": 192, "addition_embed_type": "text"}, "sd1"),
        (XL_INDEX, XL_UNET | {"cross_attention_dim": 2048}, "sdxl"),
        (INDEX | {"_class_name": "StableDiffusionInpaintPipeline"}, TINY_UNET, "sd1"),
    ],
)
def test_a_folder_is_of_the_family_that_its_unet_is(
    index: dict[str, Any], unet: dict[str, Any], family: str
) -> None:
    shapes = {"conv_in.weight": (32, 4, 3, 3)}
    identity = identify_pipeline(index, {"unet": unet}, shapes)
    assert (identity.kind, identity.family, identity.problem) == (ModelKind.IMAGE, family, None)


@pytest.mark.parametrize(
    ("index", "unet", "says"),
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
    index: dict[str, Any], unet: dict[str, Any], says: str
) -> None:
    assert says in str(identify_pipeline(index, {"unet": unet}, SD_UNET).problem)


@pytest.mark.parametrize(
    ("name", "family", "says"),
    [
        ("FluxPipeline", "flux", "family flux is not supported yet"),
        ("StableDiffusion3Pipeline", "sd3", "family sd3 is not supported yet"),
        ("QwenImageEditPipeline", "qwen-image", "family qwen-image is not supported yet"),
        ("WhatPipeline", None, "WhatPipeline is not supported yet"),
        (None, None, "names no _class_name"),
        (["StableDiffusionPipeline"], None, "names no _class_name"),
    ],
)
def test_another_pipeline_is_named(name: object, family: str | None, says: str) -> None:
    identity = identify_pipeline({"_class_name": name}, {}, {})
    assert identity.family == family
    assert says in str(identity.problem)
