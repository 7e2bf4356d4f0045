# SPDX-License-Identifier: Apache-2.0
"""Text encoders and VAEs that stand alone."""

import pytest
from tests.model_files import clip_shapes, qwen_vl_shapes, t5_shapes, vae_shapes, wan_vae_shapes

from inglenook.catalog.identify import identify_tensors
from inglenook.catalog.model import ModelKind

Shapes = dict[str, tuple[int, ...]]

OPENCLIP: Shapes = {"token_embedding.weight": (2, 1280), "transformer.resblocks.0.ln_1.weight": (1280,)}
UMT5 = t5_shapes() | {"encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight": (2, 2)}


@pytest.mark.parametrize(
    ("shapes", "role", "width"),
    [
        (clip_shapes(), "clip_l", 768),
        (clip_shapes(1280), "clip_g", 1280),
        (clip_shapes(1024), "clip_h", 1024),
        (clip_shapes(40), "clip", 40),
        ({"embeddings.token_embedding.weight": (2, 768)}, "clip_l", 768),
        (OPENCLIP, "clip_g", 1280),
        (t5_shapes(), "t5", 4096),
        (UMT5, "umt5", 4096),
        (qwen_vl_shapes(), "qwen2.5-vl", 3584),
        (
            {
                "model.language_model.embed_tokens.weight": (2, 3584),
                "model.visual.blocks.0.mlp.gate_proj.weight": (2, 2),
            },
            "qwen2.5-vl",
            3584,
        ),
    ],
)
def test_a_text_encoder_is_told_by_names_and_widths(shapes: Shapes, role: str, width: int) -> None:
    identity = identify_tensors(shapes)
    assert (identity.kind, identity.role, identity.problem) == (ModelKind.TEXT_ENCODER, role, None)
    assert identity.widths == {role: width}


def test_a_language_model_without_eyes_is_no_text_encoder() -> None:
    shapes = {name: shape for name, shape in qwen_vl_shapes().items() if not name.startswith("visual.")}
    assert identify_tensors(shapes).kind is ModelKind.LANGUAGE


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
@pytest.mark.parametrize(("channels", "fits"), [(4, ("sd1", "sd2", "sdxl")), (16, ("flux", "sd3"))])
def test_a_vae_fits_the_families_that_have_its_channels(
    prefix: str, channels: int, fits: tuple[str, ...]
) -> None:
    identity = identify_tensors(vae_shapes(channels, prefix))
    assert (identity.kind, identity.fits, identity.family) == (ModelKind.VAE, fits, None)
    assert identity.problem is None


@pytest.mark.parametrize(
    ("channels", "scale", "fits"),
    [
        (4, 0.18215, ("sd1", "sd2")),
        (4, 0.13025, ("sdxl",)),
        (4, 0.5, ("sd1", "sd2", "sdxl")),
        (16, 0.3611, ("flux",)),
        (16, 1.5305, ("sd3",)),
        (16, 0.18215, ("flux", "sd3")),  # a scale that no VAE of these channels has
        (16, "big", ("flux", "sd3")),
    ],
)
def test_the_scale_in_a_vaes_configuration_tells_the_family(
    channels: int, scale: object, fits: tuple[str, ...]
) -> None:
    identity = identify_tensors(vae_shapes(channels), config={"scaling_factor": scale})
    assert identity.fits == fits
    assert identity.family == (fits[0] if len(fits) == 1 else None)


def test_metadata_tell_the_family_of_a_vae_only_among_those_that_fit() -> None:
    sdxl = {"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"}
    assert identify_tensors(vae_shapes(4), sdxl).family == "sdxl"
    assert identify_tensors(vae_shapes(16), sdxl).fits == ("flux", "sd3")


@pytest.mark.parametrize(
    "shapes",
    [
        wan_vae_shapes(),
        {"encoder.conv_in.weight": (2, 3, 3, 3, 3), "decoder.conv_in.weight": (2, 16, 3, 3, 3)},
    ],
)
def test_a_vae_of_three_dimensions_is_qwen_images(shapes: Shapes) -> None:
    identity = identify_tensors(shapes)
    assert (identity.kind, identity.family, identity.role) == (ModelKind.VAE, "qwen-image", "vae_3d")


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (vae_shapes(32), "32 latent channels"),
        (wan_vae_shapes(48), "48 latent channels"),
        ({"encoder.layers.0.weight": (8, 3, 3, 3), "decoder.layers.0.weight": (8, 4, 3, 3)}, "tiny VAE"),
    ],
)
def test_a_vae_that_cannot_be_used_says_why(shapes: Shapes, says: str) -> None:
    identity = identify_tensors(shapes)
    assert identity.kind is ModelKind.VAE
    assert says in str(identity.problem)


def test_half_a_vae_is_none() -> None:
    assert identify_tensors({"decoder.conv_in.weight": (2, 4, 3, 3)}).kind is ModelKind.OTHER
