# SPDX-License-Identifier: Apache-2.0
"""LoRA files that are hostile, damaged, of another kind or for another model: each refused with a reason."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.workers.image import lora_files
from tests.unit.workers.image.bench import Bench, a_draw
from tests.unit.workers.image.lora_files import Tensors, written

from inglenook.wire.image import DrawFailed, Drawn, LoraUse
from inglenook.workers.image.lora.names import NETWORK, Name, looks_like, parsed

TO_Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.fixture
def sd1(benches: dict[str, Bench]) -> Bench:
    return benches["sd1"]


def refusal(one: Bench, path: Path, **more: Any) -> str:
    """The words of it; the worker draws on afterwards."""
    last = one.studio().execute(a_draw(steps=1, loras=(LoraUse(path=str(path), weight=1.0),), **more))
    assert isinstance(last, DrawFailed), last
    assert last.code == "draw.invalid"
    assert path.name in last.message
    assert isinstance(one.execute(steps=1), Drawn)
    return last.message


def changed(one: Bench, path: Path, change: Callable[[Tensors], Tensors | None]) -> Path:
    tensors = lora_files.read(lora_files.kohya(one.family, path))
    return written(change(tensors) or tensors, path)


def put(key: str, tensor: torch.Tensor) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({key: tensor})


DAMAGED: dict[str, tuple[Callable[[Tensors], Tensors | None], str]] = {
    "not a number": (
        put(f"{TO_Q}.lora_up.weight", torch.full((32, 4), float("nan"))),
        f"128 numbers of 128 in '{TO_Q}.lora_up.weight' are not finite",
    ),
    "without end": (
        put(f"{TO_Q}.lora_down.weight", torch.tensor([[1.0] * 31 + [float("inf")]] * 4)),
        "4 numbers of 128",
    ),
    "an alpha that is no number": (put(f"{TO_Q}.alpha", torch.tensor(float("nan"))), "alpha is nan"),
    "an alpha of many numbers": (put(f"{TO_Q}.alpha", torch.ones(3)), "alpha of shape [3]"),
    "rank 0": (
        lambda tensors: tensors.update(
            {f"{TO_Q}.lora_down.weight": torch.zeros(0, 32), f"{TO_Q}.lora_up.weight": torch.zeros(32, 0)}
        ),
        "has the rank 0",
    ),
    "a rank beyond reason": (
        lambda tensors: tensors.update(
            {
                f"{TO_Q}.lora_down.weight": torch.zeros(5000, 32),
                f"{TO_Q}.lora_up.weight": torch.zeros(32, 5000),
            }
        ),
        "has the rank 5000",
    ),
    "two ranks": (put(f"{TO_Q}.lora_up.weight", torch.zeros(32, 8)), "two ranks"),
    "one axis": (put(f"{TO_Q}.lora_up.weight", torch.zeros(32)), "shape [32]; two or four axes"),
    "three axes": (put(f"{TO_Q}.lora_up.weight", torch.zeros(32, 4, 1)), "shape [32, 4, 1]"),
    "another width": (
        put(f"{TO_Q}.lora_down.weight", torch.zeros(4, 48)),
        f"1 have other widths, such as '{TO_Q}.lora_down.weight' [4, 48] (the model's has [4, 32])",
    ),
    "half": (lambda tensors: {k: v for k, v in tensors.items() if "up" not in k}, "lacks its other half"),
    "whole numbers": (
        put(f"{TO_Q}.lora_down.weight", torch.ones(4, 32, dtype=torch.int8)), "as int8"
    ),
    "nothing": (lambda _: {"x.alpha": torch.tensor(1.0)}, "lacks its other half"),
    "unknown keys": (put("what.is.this", torch.zeros(1)), "1 key of no known form, such as 'what.is.this'"),
    "one module twice": (
        lambda tensors: tensors.update(
            {f"unet.{TO_Q.removeprefix('lora_unet_')}.lora.down.weight": torch.zeros(4, 32)}
        ),
        "names one module twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_refused_and_says_where(sd1: Bench, tmp_path: Path, damage: str) -> None:
    change, words = DAMAGED[damage]
    assert words in refusal(sd1, changed(sd1, tmp_path / "hostile.safetensors", change))


OTHER = {
    "hada_w1_a": "a LoHa (LyCORIS)",
    "lokr_w1": "a LoKr (LyCORIS)",
    "lora_mid.weight": "a LoRA in Tucker form (LyCORIS)",
    "dora_scale": "a DoRA",
    "oft_blocks": "an OFT adapter",
    "diff": "whole differences",
    "lora_B.bias": "a LoRA with biases",
}


@pytest.mark.parametrize("kind", OTHER)
def test_other_kinds_of_adapter_are_refused_by_their_name(sd1: Bench, tmp_path: Path, kind: str) -> None:
    path = changed(sd1, tmp_path / "other.safetensors", put(f"{TO_Q}.{kind}", torch.zeros(4, 4)))
    assert OTHER[kind] in refusal(sd1, path)


def test_a_file_cut_short_is_refused(sd1: Bench, tmp_path: Path) -> None:
    path = lora_files.kohya(sd1.family, tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    assert "not a whole safetensors file" in refusal(sd1, path)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\x00" * 40, b"PK\x03\x04" + b"x" * 60, b"\x80\x04\x95abcdefgh."]
)
def test_what_is_no_safetensors_file_is_refused(sd1: Bench, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "renamed.safetensors"
    path.write_bytes(data)
    assert "safetensors" in refusal(sd1, path)


def test_a_pickle_under_another_name_is_refused(sd1: Bench, tmp_path: Path) -> None:
    path = tmp_path / "renamed.safetensors"
    torch.save({"x": torch.zeros(1)}, path)
    assert "is a pickle" in refusal(sd1, path)


def test_no_file_is_refused(sd1: Bench, tmp_path: Path) -> None:
    assert "No such file" in refusal(sd1, tmp_path / "absent.safetensors")
    assert "cannot be read" in refusal(sd1, tmp_path)


def empty_tensors(path: Path, number: int) -> Path:
    """A sound file of that many tensors without a number in them."""
    entry = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
    words = json.dumps(entry)
    header = ("{" + ",".join(f'"t{n}.alpha":{words}' for n in range(number)) + "}").encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def test_a_million_tensors_are_refused_by_the_length_of_the_header(sd1: Bench, tmp_path: Path) -> None:
    assert "header has" in refusal(sd1, empty_tensors(tmp_path / "many.safetensors", 1_000_000))


def test_twenty_thousand_and_one_tensors_are_refused_by_their_number(sd1: Bench, tmp_path: Path) -> None:
    assert "holds 20001 tensors" in refusal(sd1, empty_tensors(tmp_path / "many.safetensors", 20_001))


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(sd1: Bench, tmp_path: Path, weight: float) -> None:
    path = lora_files.kohya(sd1.family, tmp_path / "style.safetensors")
    last = sd1.execute(loras=(LoraUse(path=str(path), weight=weight),))
    assert isinstance(last, DrawFailed)
    assert last.message.startswith("The weight of the LoRA style.safetensors is")


def test_metadata_that_is_no_json_is_refused(sd1: Bench, tmp_path: Path) -> None:
    good = lora_files.read(lora_files.peft(sd1.family, tmp_path / "style.safetensors"))
    path = written(good, tmp_path / "style.safetensors", {"lora_adapter_metadata": "{"})
    assert "metadata that cannot be read" in refusal(sd1, path)


# ── for another family ────────────────────────────────────────────────────────────────────────────────────


def test_one_for_another_family_is_refused_and_says_what_it_looks_like(
    benches: dict[str, Bench], tmp_path: Path
) -> None:
    path = lora_files.kohya(benches["sdxl"].family, tmp_path / "xl.safetensors")
    words = refusal(benches["sd1"], path)
    assert "does not fit this model (sd1); it looks like one for sdxl" in words
    assert "modules are not in the model, such as 'lora_te2_" in words


def test_one_of_the_same_names_and_other_widths_is_refused_with_both_shapes(
    benches: dict[str, Bench], tmp_path: Path
) -> None:
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    path = written(
        {f"{key}.lora_down.weight": torch.zeros(4, 768), f"{key}.lora_up.weight": torch.zeros(32, 4)},
        tmp_path / "one.safetensors",
    )
    words = refusal(benches["sd2"], path)
    assert "it looks like one for sd1" in words
    assert "[4, 768] (the model's has [4, 32])" in words


LOOKS = {
    "sd1": {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 768)
    },
    "sd2": {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (8, 1024)},
    "sdxl": {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 2048)},
    "flux": {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (8, 3072)},
    "sd3": {"transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight": (8, 1536)},
    "qwen-image": {"transformer_blocks.59.attn.to_q.lora_A.default.weight": (8, 3072)},
    None: {"lora_unet_mid_block_proj.lora_down.weight": (8, 320)},
}


@pytest.mark.parametrize("family", LOOKS)
def test_a_file_looks_like_what_its_names_and_widths_tell(family: str | None) -> None:
    assert looks_like(LOOKS[family]) == family


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
         Name(NETWORK, "mid_block_attentions_0_proj_in", "down")),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha",
         Name("text_encoder_2", "text_model_encoder_layers_0_mlp_fc1", "alpha")),
        ("unet.mid_block.attn1.processor.to_out_lora.up.weight",
         Name(NETWORK, "mid_block_attn1_to_out_0", "up")),
        ("text_encoder.text_model.q_proj.lora_linear_layer.down.weight",
         Name("text_encoder", "text_model_q_proj", "down")),
        ("diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight",
         Name(NETWORK, "double_blocks_0_img_attn_qkv", "down")),
        ("transformer_blocks.0.attn.to_q.lora_B.default.weight",
         Name(NETWORK, "transformer_blocks_0_attn_to_q", "up")),
        ("lora_A", None),
        ("unet.conv_in.weight", None),
    ],
)  # fmt: skip
def test_a_key_names_a_part_a_module_and_a_role(key: str, name: Name | None) -> None:
    assert parsed(key) == name
