# SPDX-License-Identifier: Apache-2.0
"""LoRA files: the family, what they touch, and what is refused."""

import time

import pytest

from inglenook.catalog.identify import identify_tensors
from inglenook.catalog.identity import Identity
from inglenook.catalog.model import ModelKind

Shapes = dict[str, tuple[int, ...]]
SPELLINGS = {
    "kohya": (".lora_down.weight", ".lora_up.weight"),
    "diffusers": (".lora.down.weight", ".lora.up.weight"),
    "peft": (".lora_A.weight", ".lora_B.weight"),
    "named peft": (".lora_A.default.weight", ".lora_B.default.weight"),
    "layer": (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    "processor": ("_lora.down.weight", "_lora.up.weight"),
}


def pairs(*layers: tuple[str, int, int], spelling: str = "kohya", rank: int = 4) -> Shapes:
    """Layers as (name, columns, rows)."""
    down, up = SPELLINGS[spelling]
    shapes: Shapes = {}
    for name, columns, rows in layers:
        shapes |= {name + down: (rank, columns), name + up: (rows, rank)}
    return shapes


def recognised(*layers: tuple[str, int, int], spelling: str = "kohya", **metadata: str) -> Identity:
    identity = identify_tensors(pairs(*layers, spelling=spelling), metadata)
    assert identity.kind is ModelKind.LORA
    return identity


KOHYA_UNET = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
UNET = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
OLD_UNET = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k"
SGM_UNET = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl")])
@pytest.mark.parametrize(
    ("layer", "spelling"),
    [
        (KOHYA_UNET, "kohya"),
        (SGM_UNET, "kohya"),
        (UNET, "diffusers"),
        (UNET, "peft"),
        (f"base_model.model.{UNET.removeprefix('unet.')}", "named peft"),
        (UNET, "layer"),
        (OLD_UNET, "processor"),
    ],
)
def test_a_unet_lora_is_told_by_the_text_that_it_reads_in_every_spelling(
    layer: str, spelling: str, width: int, family: str
) -> None:
    identity = recognised((layer, width, 320), spelling=spelling)
    assert (identity.family, identity.problem, identity.fits) == (family, None, (family,))
    assert identity.lora is not None
    assert (identity.lora.rank, identity.lora.touches, identity.lora.pairs) == (4, ("unet",), 1)


def test_a_lora_that_leaves_the_text_alone_is_told_by_the_depth_of_its_blocks_or_not_at_all() -> None:
    deep = "lora_unet_down_blocks_2_attentions_0_transformer_blocks_7_attn1_to_q"
    flat = "lora_unet_down_blocks_2_attentions_0_transformer_blocks_0_attn1_to_q"
    assert recognised((deep, 1280, 1280)).family == "sdxl"
    assert recognised((flat, 1280, 1280)).family is None
    assert recognised((flat, 1280, 1280), ss_base_model_version="sd_v1").family == "sd1"


def test_shapes_outweigh_what_metadata_claim() -> None:
    assert recognised((KOHYA_UNET, 2048, 320), ss_base_model_version="sd_v1").family == "sdxl"


@pytest.mark.parametrize(
    ("layer", "spelling"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv", "kohya"),
        ("lora_unet_single_blocks_7_linear2", "kohya"),
        ("lora_transformer_single_transformer_blocks_3_attn_to_q", "kohya"),
        ("transformer.single_transformer_blocks.3.attn.to_q", "peft"),
        ("transformer.single_transformer_blocks.3.attn.to_q", "diffusers"),
        ("diffusion_model.double_blocks.0.txt_attn.proj", "peft"),
        ("base_model.model.single_transformer_blocks.3.proj_out", "peft"),
    ],
)
def test_flux_is_recognised_in_every_spelling(layer: str, spelling: str) -> None:
    identity = recognised((layer, 3072, 3072), spelling=spelling)
    assert (identity.family, identity.problem) == ("flux", None)
    assert identity.lora is not None
    assert identity.lora.touches == ("transformer",)


@pytest.mark.parametrize(
    ("layer", "columns", "rows", "family"),
    [
        ("lora_unet_single_blocks_0_linear1", 3072, 7 * 3072, "flux"),
        ("lora_unet_single_blocks_0_linear1", 3072, 9 * 3072, "flux2"),
        ("diffusion_model.double_blocks.0.img_mlp.0", 32, 6 * 32, "flux2"),
        ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", 32, 96, "flux2"),
        ("lora_unet_double_blocks_0_img_mlp_fc1", 3072, 12288, "hunyuan-video"),
        ("diffusion_model.blocks.0.self_attn.q", 1536, 1536, "wan"),
        ("diffusion_model.layers.0.attention.qkv", 3840, 3840, "z-image"),
    ],
)
def test_kin_of_flux_and_others_are_named_and_refused(
    layer: str, columns: int, rows: int, family: str
) -> None:
    identity = recognised((layer, columns, rows))
    assert identity.family == family
    assert identity.problem == (None if family == "flux" else f"family {family} is not supported yet")


@pytest.mark.parametrize(
    ("layers", "fits"),
    [
        ([("transformer.transformer_blocks.3.img_mod.1", 3072, 18432)], ("qwen-image",)),
        ([("lora_unet_transformer_blocks_3_txt_mlp_net_2", 12288, 3072)], ("qwen-image",)),
        ([("transformer_blocks.41.attn.add_k_proj", 3072, 3072)], ("qwen-image",)),
        ([("transformer.transformer_blocks.3.attn.add_k_proj", 1536, 1536)], ("sd3",)),
        ([("transformer.transformer_blocks.37.attn.to_q", 2432, 2432)], ("sd3",)),
        ([("lora_unet_joint_blocks_0_x_block_attn_qkv", 1536, 4608)], ("sd3",)),
        ([("transformer.transformer_blocks.3.attn2.to_q", 1536, 1536)], ("sd3",)),
        (
            [
                ("transformer.transformer_blocks.3.attn.to_q", 3072, 3072),
                ("transformer.transformer_blocks.3.ff.net.2", 12288, 3072),
            ],
            ("flux",),
        ),
        ([("transformer.transformer_blocks.3.attn.to_q", 3072, 3072)], ("flux", "qwen-image")),
        ([("transformer.transformer_blocks.0.attn.to_q", 16, 16)], ("flux", "sd3", "qwen-image")),
        ([("transformer.transformer_blocks.0.ff.net.2", 64, 16)], ("flux", "sd3")),
    ],
)
def test_blocks_that_three_families_name_alike_are_told_by_width_number_and_neighbours(
    layers: list[tuple[str, int, int]], fits: tuple[str, ...]
) -> None:
    identity = recognised(*layers, spelling="peft")
    assert (identity.fits, identity.problem) == (fits, None)
    assert identity.family == (fits[0] if len(fits) == 1 else None)


@pytest.mark.parametrize(
    ("layers", "family", "touches"),
    [
        ([("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 768, 768)], "sd1", ("text_encoder",)),
        ([("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 1024, 1024)], "sd2", ("text_encoder",)),
        ([("lora_te2_text_model_encoder_layers_0_mlp_fc1", 1280, 5120)], "sdxl", ("text_encoder_2",)),
        ([("text_encoder.text_model.encoder.layers.0.mlp.fc1", 768, 3072)], None, ("text_encoder",)),
        (
            [
                (KOHYA_UNET, 2048, 640),
                ("lora_te1_text_model_encoder_layers_0_mlp_fc1", 768, 3072),
                ("lora_te2_text_model_encoder_layers_0_mlp_fc1", 1280, 5120),
            ],
            "sdxl",
            ("unet", "text_encoder", "text_encoder_2"),
        ),
        (
            [
                ("lora_unet_double_blocks_0_img_attn_qkv", 3072, 9216),
                ("lora_te1_text_model_encoder_layers_0_mlp_fc1", 768, 3072),
            ],
            "flux",
            ("transformer", "text_encoder"),
        ),
    ],
)
def test_what_a_lora_touches_is_told(
    layers: list[tuple[str, int, int]], family: str | None, touches: tuple[str, ...]
) -> None:
    identity = recognised(*layers)
    assert identity.family == family
    assert identity.lora is not None
    assert identity.lora.touches == touches


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lora_unet_x.hada_w1_a", "a LoHa"),
        ("lora_unet_x.lokr_w1", "a LoKr"),
        ("lora_unet_x.lokr_w2_b", "a LoKr"),
        ("lora_unet_x.oft_blocks", "an OFT"),
        ("lora_unet_x.on_input", "an IA3"),
    ],
)
def test_another_adapter_is_called_what_it_is(name: str, what: str) -> None:
    identity = identify_tensors({name: (4, 4)})
    assert identity.kind is ModelKind.LORA
    assert what in str(identity.problem)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({f"{KOHYA_UNET}.lora_down.weight": (4, 768)}, "one half of two"),
        ({f"{KOHYA_UNET}.lora_up.weight": (320, 4)}, "one half of two"),
        (
            {f"{KOHYA_UNET}.lora_down.weight": (4, 768), f"{KOHYA_UNET}.lora_up.weight": (320, 8)},
            "halves that do not fit",
        ),
        (
            {f"{KOHYA_UNET}.lora_down.weight": (4,), f"{KOHYA_UNET}.lora_up.weight": (320, 4)},
            "halves that do not fit",
        ),
        (
            {f"{KOHYA_UNET}.lora_down.weight": (0, 768), f"{KOHYA_UNET}.lora_up.weight": (320, 0)},
            "rank 0",
        ),
        (
            {f"{KOHYA_UNET}.lora_down.weight": (90000, 1), f"{KOHYA_UNET}.lora_up.weight": (1, 90000)},
            "rank 90000",
        ),
        ({f"{'x' * 5000}.lora_down.weight": (4, 768)}, "x" * 20),
    ],
)
def test_a_lora_whose_halves_cannot_be_multiplied_is_refused_in_few_words(shapes: Shapes, says: str) -> None:
    identity = identify_tensors(shapes)
    assert identity.kind is ModelKind.LORA
    assert says in str(identity.problem)
    assert len(str(identity.problem)) < 400


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (f"{KOHYA_UNET}.dora_scale", "is a DoRA"),
        (f"{KOHYA_UNET}.lora_mid.weight", "Tucker form"),
        (f"{KOHYA_UNET}.diff_b", "whole differences"),
        (f"{KOHYA_UNET}.lora_up.bias", "has biases"),
        ("bundle_emb.fox.string_to_param.*", "holds embeddings"),
        ("lora_controlnet", "Control-LoRA"),
    ],
)
def test_a_lora_with_more_than_its_halves_is_refused_rather_than_drawn_in_part(name: str, says: str) -> None:
    identity = identify_tensors(pairs((KOHYA_UNET, 768, 320)) | {name: (1,)})
    assert (identity.kind, identity.family) == (ModelKind.LORA, "sd1")
    assert says in str(identity.problem)


def test_a_lora_of_more_tensors_than_any_model_has_layers_is_refused() -> None:
    shapes = pairs(*((f"lora_unet_mid_block_{number}", 8, 8) for number in range(10_001)))
    assert "20002 tensors" in str(identify_tensors(shapes).problem)


def test_convolutions_of_a_lora_have_four_sides() -> None:
    layer = "lora_unet_down_blocks_0_resnets_0_conv1"
    shapes = {f"{layer}.lora_down.weight": (4, 320, 3, 3), f"{layer}.lora_up.weight": (320, 4, 1, 1)}
    assert identify_tensors(shapes).problem is None


def test_a_lora_is_told_in_time_in_proportion_to_its_tensors() -> None:
    """Were one name held against the others, four times as many would take sixteen times as long."""

    def seconds(count: int) -> float:
        shapes = pairs(*((f"lora_unet_mid_block_{'a' * 40}_{i}", 8, 8) for i in range(count)))
        began = time.process_time()
        identify_tensors(shapes)
        return time.process_time() - began

    small = min(seconds(2_000) for _ in range(3))
    assert min(seconds(8_000) for _ in range(3)) < 10 * small + 0.2
