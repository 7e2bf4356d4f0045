# SPDX-License-Identifier: Apache-2.0
"""How trainers name the tensors of a LoRA, and what a file looks like by its names and shapes. Pure.

    lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight      kohya; `.alpha` beside it
    lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight        kohya, a text encoder
    unet.down_blocks.0.attentions.0.proj_in.lora_A.weight              diffusers and PEFT
    transformer.transformer_blocks.0.attn.to_q.lora_B.weight           diffusers, a transformer
    diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight         the names of the first release
    unet.mid_block.attentions.0.proj_in.lora.down.weight               diffusers before PEFT
    unet….attn1.processor.to_q_lora.down.weight                        diffusers, its first form

All of them name a module and one of three roles. Modules are compared with every dot as an underscore, so
that one table (`targets`) serves all of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

NETWORK = "network"
"""The part of a key that changes the denoising network, whatever the family calls it."""

Role = Literal["down", "up", "alpha"]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Name:
    """Attributes:
    part: `NETWORK`, or a text encoder: `text_encoder`, `text_encoder_2`, `text_encoder_3`.
    module: of that part, dots written as underscores.
    """

    part: str
    module: str
    role: Role


_ROLES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"(?:\.lora_down|\.lora_A|\.lora\.down|\.lora_linear_layer\.down|_lora\.down)"
                r"(?:\.\w+)?\.weight$"), "down"),
    (re.compile(r"(?:\.lora_up|\.lora_B|\.lora\.up|\.lora_linear_layer\.up|_lora\.up)"
                r"(?:\.\w+)?\.weight$"), "up"),
    (re.compile(r"\.alpha$"), "alpha"),
)  # fmt: skip

_PREFIXES: tuple[tuple[str, str], ...] = (
    ("lora_unet_", NETWORK),
    ("lora_transformer_", NETWORK),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te3_", "text_encoder_3"),
    ("lora_te_", "text_encoder"),
    ("base_model.model.", NETWORK),
    ("model.diffusion_model.", NETWORK),
    ("diffusion_model.", NETWORK),
    ("transformer.", NETWORK),
    ("unet.", NETWORK),
    ("text_encoder_3.", "text_encoder_3"),
    ("text_encoder_2.", "text_encoder_2"),
    ("text_encoder.", "text_encoder"),
    ("text_encoders.clip_l.transformer.", "text_encoder"),
    ("text_encoders.clip_g.transformer.", "text_encoder_2"),
    ("text_encoders.t5xxl.transformer.", "text_encoder_3"),
)

_OTHER_KINDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.hada_w[12]|\.hada_t[12]"), "a LoHa (LyCORIS)"),
    (re.compile(r"\.lokr_w[12]|\.lokr_t2"), "a LoKr (LyCORIS)"),
    (re.compile(r"\.lora_mid\."), "a LoRA in Tucker form (LyCORIS)"),
    (re.compile(r"\.oft_|\.boft_|\.oft_blocks"), "an OFT adapter"),
    (re.compile(r"\.dora_scale$|\.lora_magnitude_vector"), "a DoRA"),
    (re.compile(r"\.(a1|a2|b1|b2|bm)\.weight$"), "a GLoRA (LyCORIS)"),
    (re.compile(r"\.on_input$"), "an IA3 adapter (LyCORIS)"),
    (re.compile(r"\.diff(_b)?$|\.set_weight$"), "whole differences of weights beside a LoRA"),
    (re.compile(r"\.lora_(B|up)(\.\w+)?\.bias$"), "a LoRA with biases"),
    (re.compile(r"^lora_controlnet$"), "a Control-LoRA"),
    (re.compile(r"^(bundle_emb|emb_params)\b"), "a LoRA with embeddings of its own"),
)


def other_kind(keys: Iterable[str]) -> str | None:
    """What a file is that holds something else than down, up and alpha; None where nothing says so."""
    for key in keys:
        for pattern, what in _OTHER_KINDS:
            if pattern.search(key):
                return what
    return None


def parsed(key: str) -> Name | None:
    """None for a key that is of no form that is known here."""
    for pattern, role in _ROLES:
        stem, found = pattern.subn("", key)
        if found:
            part, module = _split(stem)
            return Name(part, module.replace(".", "_"), role)
    return None


def _split(stem: str) -> tuple[str, str]:
    for prefix, part in _PREFIXES:
        if stem.startswith(prefix):
            return part, _without_processor(stem.removeprefix(prefix))
    return NETWORK, _without_processor(stem)


def _without_processor(module: str) -> str:
    """The first form of diffusers named the attention's processor, and its output without a number."""
    if ".processor." not in module:
        return module
    module = module.replace(".processor.", ".")
    return f"{module}.0" if module.endswith("to_out") else module


_TEXT_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_READS_TEXT = re.compile(r"attn2[._](processor[._])?to_[kv]\b.*down|attn2[._]to_[kv]\.lora_A")
_FLUX = re.compile(r"(double|single)_blocks[._]|single_transformer_blocks[._]")
_QWEN = re.compile(r"transformer_blocks[._]\d+[._](img|txt)_(mlp|mod)")
_SD3 = re.compile(r"joint_blocks[._]")
_JOINT = re.compile(r"transformer_blocks[._]\d+[._]attn[._](add_[qkv]_proj|to_[qkv])\.\w+")
_JOINT_BLOCK = re.compile(r"transformer_blocks[._](\d+)[._]")
_SD3_WIDTHS = (1536, 2432)
_SD3_BLOCKS = 38
"""At most, in Stable Diffusion 3.5 large; Qwen-Image has 60 blocks of the same names."""


def looks_like(shapes: Shapes) -> str | None:
    """The family that the LoRA was probably trained for; None where nothing tells."""
    for pattern, family in ((_FLUX, "flux"), (_QWEN, "qwen-image"), (_SD3, "sd3")):
        if any(pattern.search(key) for key in shapes):
            return family
    for key, shape in shapes.items():
        if _READS_TEXT.search(key) and len(shape) >= 2 and shape[1] in _TEXT_WIDTH:
            return _TEXT_WIDTH[shape[1]]
    if any(_JOINT.search(key) for key in shapes):
        return _joint(shapes)
    if any(key.startswith(("lora_te2_", "text_encoder_2.")) for key in shapes):
        return "sdxl"
    return None


def _joint(shapes: Shapes) -> str:
    """Only attention was trained: the number of blocks and their width are left to tell by."""
    blocks = [int(found.group(1)) for key in shapes if (found := _JOINT_BLOCK.search(key))]
    if any(len(shape) == 2 and shape[1] in _SD3_WIDTHS for shape in shapes.values()):
        return "sd3"
    return "qwen-image" if max(blocks, default=0) >= _SD3_BLOCKS else "flux"
