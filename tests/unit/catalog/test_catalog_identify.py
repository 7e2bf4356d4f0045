# SPDX-License-Identifier: Apache-2.0
"""What a set of tensors is, by names and shapes."""

import pytest
from tests.model_files import SD_UNET, UNET_KEY, ldm_shapes

from inglenook.catalog.identify import identify_tensors
from inglenook.catalog.model import ModelKind


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_is_of_the_family_whose_text_encoder_it_carries(family: str) -> None:
    identity = identify_tensors(ldm_shapes(family))
    assert (identity.kind, identity.family, identity.problem) == (ModelKind.IMAGE, family, None)


def test_an_inpainting_file_is_usable_and_an_editing_one_is_not() -> None:
    inpaint = identify_tensors(ldm_shapes("sd1", channels=9))
    assert (inpaint.problem, inpaint.variant, inpaint.shaped) == (None, "inpaint", True)
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
        (SD_UNET, "no text encoder and no VAE"),
    ],
)
def test_what_cannot_draw_says_what_it_is(shapes: dict[str, tuple[int, ...]], says: str) -> None:
    identity = identify_tensors(shapes)
    assert identity.kind is ModelKind.OTHER
    assert says in str(identity.problem)


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        ({"emb_params": (4, 768)}, "sd1"),
        ({"emb_params": (1024,)}, "sd2"),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "sdxl"),
        ({"<fox>": (768,)}, "sd1"),
        ({"emb_params": (4, 32)}, None),
    ],
)
def test_an_embedding_is_of_the_family_whose_text_is_as_wide(
    shapes: dict[str, tuple[int, ...]], family: str | None
) -> None:
    identity = identify_tensors(shapes)
    assert (identity.kind, identity.family, identity.problem) == (ModelKind.EMBEDDING, family, None)


def test_a_large_lone_table_is_no_embedding() -> None:
    assert identify_tensors({"table": (49408, 768)}).kind is ModelKind.OTHER


@pytest.mark.parametrize(
    ("family", "architecture", "variant"),
    [
        ("sdxl", "stable-diffusion-xl-turbo-v1", "turbo"),
        ("sdxl", "stable-diffusion-xl-v1-lightning", "lightning"),
        ("sdxl", "stable-diffusion-xl-v1-base", ""),
        ("sd1", "stable-diffusion-v1-turbo", ""),  # no such variant
        ("sd2", "stable-diffusion-v2-turbo", "turbo"),
    ],
)
def test_metadata_tell_a_variant_that_shapes_cannot(family: str, architecture: str, variant: str) -> None:
    told = {"modelspec.architecture": architecture, "modelspec.title": "lightning turbo kontext"}
    assert identify_tensors(ldm_shapes(family), told).variant == variant


def test_a_table_for_the_guidance_makes_a_latent_consistency_model() -> None:
    table = {"model.diffusion_model.time_embed.cond_proj.weight": (4, 256)}
    assert identify_tensors(ldm_shapes("sdxl") | table).variant == "lcm"


def test_four_bit_weights_are_refused() -> None:
    packed = {"model.diffusion_model.x.weight.quant_state.bitsandbytes__nf4": (9,)}
    assert "packed into 4 bits" in str(identify_tensors(ldm_shapes("sdxl") | packed).problem)
