# SPDX-License-Identifier: Apache-2.0
"""Transformers in one file: family, variant, and what they lack."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model_files import (
    clip_shapes,
    flux_shapes,
    qwen_shapes,
    qwen_vl_shapes,
    sd3_shapes,
    t5_shapes,
    vae_shapes,
    wan_vae_shapes,
)

from inglenook.catalog.identify import identify_tensors
from inglenook.catalog.model import ModelKind
from inglenook.wire.families import FAMILIES

Shapes = dict[str, tuple[int, ...]]
PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "transformer.")


def lacks(shapes: Shapes) -> dict[str, tuple[str, int | None]]:
    identity = identify_tensors(shapes)
    return {need.slot: (need.role, need.width) for need in identity.needs if need.required}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("diffusers", [False, True])
def test_flux_is_recognised_in_every_layout_and_says_what_it_lacks(prefix: str, diffusers: bool) -> None:
    shapes = flux_shapes(prefix, diffusers=diffusers)
    identity = identify_tensors(shapes)
    assert (identity.kind, identity.family, identity.problem) == (ModelKind.IMAGE, "flux", None)
    assert lacks(shapes) == {
        "text_encoder": ("clip_l", 768),
        "text_encoder_2": ("t5", 4096),
        "vae": ("vae", 16),
    }


@pytest.mark.parametrize("diffusers", [False, True])
@pytest.mark.parametrize(
    ("columns", "guided", "variant", "says"),
    [
        (64, True, "", None),
        (64, False, "schnell", None),
        (384, True, "fill", None),
        (128, True, "", "control model"),
        (96, True, "", "special model"),
    ],
)
def test_what_goes_into_flux_tells_its_variant(
    diffusers: bool, columns: int, guided: bool, variant: str, says: str | None
) -> None:
    identity = identify_tensors(flux_shapes(columns=columns, guided=guided, diffusers=diffusers))
    assert identity.variant == variant
    assert (identity.problem is None) if says is None else (says in str(identity.problem))


def test_kontext_is_told_by_metadata_but_fill_only_by_shapes() -> None:
    told = {"modelspec.architecture": "flux-1-kontext-dev"}
    assert identify_tensors(flux_shapes(), told).variant == "kontext"
    assert identify_tensors(flux_shapes(columns=384), told).variant == "fill"
    assert identify_tensors(flux_shapes(), {"modelspec.architecture": "flux-1-fill"}).variant == ""


def test_a_file_with_everything_lacks_nothing_and_counts_each_component() -> None:
    shapes = (
        flux_shapes("model.diffusion_model.")
        | clip_shapes(prefix="text_encoders.clip_l.transformer.")
        | t5_shapes(prefix="text_encoders.t5xxl.transformer.")
        | vae_shapes(prefix="vae.")
    )
    assert lacks(shapes) == {}
    places = dict(identify_tensors(shapes).places)
    assert set(places.values()) == {"transformer", "text_encoder", "text_encoder_2", "vae"}


def test_a_text_encoder_of_another_width_in_the_file_does_not_count() -> None:
    shapes = flux_shapes("model.diffusion_model.") | t5_shapes(
        2048, prefix="text_encoders.t5xxl.transformer."
    )
    assert lacks(shapes)["text_encoder_2"] == ("t5", 4096)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("diffusers", [False, True])
def test_stable_diffusion_3_can_do_without_t5(prefix: str, diffusers: bool) -> None:
    shapes = sd3_shapes(prefix, diffusers=diffusers)
    assert identify_tensors(shapes).family == "sd3"
    assert lacks(shapes) == {
        "text_encoder": ("clip_l", 768),
        "text_encoder_2": ("clip_g", 1280),
        "vae": ("vae", 16),
    }
    assert "text_encoder_3" in {need.slot for need in identify_tensors(shapes).needs}


def test_the_first_release_of_stable_diffusion_3_brings_its_vae() -> None:
    shapes = sd3_shapes("model.diffusion_model.") | vae_shapes(prefix="first_stage_model.")
    assert "vae" not in lacks(shapes)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_qwen_image_is_not_taken_for_stable_diffusion_3_although_both_project_text(prefix: str) -> None:
    shapes = qwen_shapes(prefix)
    assert identify_tensors(shapes).family == "qwen-image"
    assert lacks(shapes) == {"text_encoder": ("qwen2.5-vl", 3584), "vae": ("vae_3d", 16)}


@pytest.mark.parametrize(
    ("metadata", "mark", "variant"),
    [
        ({}, False, ""),
        ({"modelspec.architecture": "qwen-image-edit"}, False, "edit"),
        ({"modelspec.architecture": "qwen-image-edit-2509"}, False, "edit-plus"),
        ({"modelspec.architecture": "Qwen-Image-Edit-Plus"}, False, "edit-plus"),
        ({}, True, "edit-plus"),
    ],
)
def test_qwen_image_edit_is_told_by_metadata_or_by_its_mark(
    metadata: dict[str, str], mark: bool, variant: str
) -> None:
    prefix = "model.diffusion_model."
    shapes = qwen_shapes(prefix) | ({f"{prefix}__index_timestep_zero__": (0,)} if mark else {})
    assert identify_tensors(shapes, metadata).variant == variant


def test_qwen_image_with_everything_lacks_nothing() -> None:
    shapes = (
        qwen_shapes("model.diffusion_model.")
        | qwen_vl_shapes(prefix="text_encoders.qwen25_7b.transformer.")
        | wan_vae_shapes(prefix="vae.")
    )
    assert lacks(shapes) == {}


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("flux2", "double_stream_modulation_img.lin.weight"),
        ("flux2", "model.diffusion_model.single_stream_modulation.lin.weight"),
        ("chroma", "distilled_guidance_layer.in_proj.bias"),
        ("hunyuan-video", "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias"),
        ("qwen-image-layered", "time_text_embed.addition_t_embedding.weight"),
        ("z-image", "noise_refiner.0.attention.qkv.weight"),
        ("wan", "blocks.0.cross_attn.norm_k.weight"),
        ("pixart", "adaln_single.emb.timestep_embedder.linear_1.weight"),
    ],
)
def test_a_family_that_is_not_ours_is_named_whatever_it_shares_with_ours(family: str, name: str) -> None:
    identity = identify_tensors(flux_shapes() | {name: (8, 8)})
    assert (identity.kind, identity.family) == (ModelKind.IMAGE, family)
    assert identity.problem == f"family {family} is not supported yet"


@pytest.mark.parametrize("shapes", [flux_shapes(), sd3_shapes(), qwen_shapes()])
def test_a_transformer_in_pieces_is_not_whole(shapes: Shapes) -> None:
    mark = next(name for name in shapes if "block" in name)
    assert "not whole" in str(identify_tensors({mark: shapes[mark]}).problem)


def test_float8_with_scales_is_read_and_four_bits_are_not() -> None:
    scales = {"double_blocks.0.img_attn.qkv.scale_weight": (), "scaled_fp8": (2,)}
    assert identify_tensors(flux_shapes() | scales).problem is None
    packed = {"double_blocks.0.img_attn.qkv.wscales": (2,)}
    assert "packed into 4 bits" in str(identify_tensors(flux_shapes() | packed).problem)


def test_a_small_model_finds_encoders_of_its_own_widths_in_its_file() -> None:
    small = {
        "img_in.weight": (3, 64),
        "txt_in.weight": (3, 96),
        "vector_in.in_layer.weight": (3, 48),
        "double_blocks.0.img_attn.qkv.weight": (9, 3),
        "final_layer.linear.weight": (64, 3),
    }
    shapes: Shapes = {f"model.diffusion_model.{name}": shape for name, shape in small.items()}
    shapes |= clip_shapes(48, "text_encoders.clip_l.transformer.") | t5_shapes(96, "text_encoder_2.")
    assert lacks(shapes) == {"vae": ("vae", 16)}


FRAGMENTS = st.sampled_from(
    [
        "model.diffusion_model", "transformer", "input_blocks", "0", "7", "double_blocks", "single_blocks",
        "transformer_blocks", "img_mod", "joint_blocks", "x_block", "attn", "attn2", "to_k", "qkv", "weight",
        "img_in", "txt_in", "final_layer", "linear", "proj_out", "context_embedder", "first_stage_model",
        "vae", "decoder", "encoder",
        "conv_in", "text_model", "embeddings", "token_embedding", "shared", "block",
        "layer", "SelfAttention", "q", "lora_down", "lora_up", "lora_A", "alpha", "lora_te1", "x_embedder",
        "proj", "emb_params", "clip_l", "clip_g", "visual", "\n", "",
    ]
)  # fmt: skip
NAMES = st.lists(FRAGMENTS, min_size=1, max_size=7).flatmap(
    lambda words: st.sampled_from([".".join(words), "_".join(words)])
)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 4, 64, 384, 768, 3072]), max_size=5).map(tuple)


@settings(max_examples=150, deadline=None)
@given(
    noise=st.dictionaries(NAMES, SHAPES, max_size=8),
    real=st.sampled_from([{}, flux_shapes(), sd3_shapes(), qwen_shapes("model.diffusion_model.")]),
    wrong=SHAPES,
)
def test_no_set_of_names_and_shapes_raises_and_every_answer_can_be_shown(
    noise: Shapes, real: Shapes, wrong: tuple[int, ...]
) -> None:
    """One tensor of a real file has another shape, and others stand beside it."""
    spoiled = dict(real)
    for name in list(spoiled)[:1]:
        spoiled[name] = wrong
    identity = identify_tensors(spoiled | noise)
    assert identity.problem is None or 0 < len(identity.problem) < 500
    if identity.family in FAMILIES:
        assert identity.variant in FAMILIES[identity.family].variants
