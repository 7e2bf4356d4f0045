# SPDX-License-Identifier: Apache-2.0
"""Transformers that draw: FLUX, Stable Diffusion 3 and Qwen-Image, in one file or in a folder; the others are
named, so that a person knows what they have. Pure.

A single file holds its transformer bare or under a prefix, in the names of its first release or in those of
diffusers, with text encoders and VAE beside it (`text_encoders.clip_l.transformer.…`, `vae.…`) or without.
What it lacks becomes `Identity.needs`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from inglenook.catalog import components
from inglenook.catalog.evidence import told_variant
from inglenook.catalog.identity import Identity, Shapes, any_startswith, anywhere, below, unsupported
from inglenook.catalog.model import ModelKind, Need

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "")
_VAE_PREFIXES = ("vae.", "first_stage_model.")
_CLIP_L, _CLIP_G = 768, 1280

_OTHERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("flux2", re.compile(r"(^|\.)(single|double)_stream_modulation", re.MULTILINE)),
    ("flux3", re.compile(r"(^|\.)early_stream_modulations\.", re.MULTILINE)),
    ("chroma", re.compile(r"(^|\.)distilled_guidance_layer\.", re.MULTILINE)),
    ("hunyuan-video", re.compile(r"(^|\.)txt_in\.individual_token_refiner\.", re.MULTILINE)),
    ("qwen-image-layered", re.compile(r"(^|\.)time_text_embed\.addition_t_embedding\.", re.MULTILINE)),
    ("qwen-image-2.1", re.compile(r"(^|\.)txt_in\.text_norm\.", re.MULTILINE)),
    ("z-image", re.compile(r"(^|\.)noise_refiner\.0\.", re.MULTILINE)),
    ("lumina2", re.compile(r"(^|\.)cap_embedder\.0\.", re.MULTILINE)),
    ("wan", re.compile(r"(^|\.)blocks\.0\.cross_attn\.norm_k\.|(^|\.)head\.modulation$", re.MULTILINE)),
    ("sana", re.compile(r"(^|\.)blocks\.0\.cross_attn\.q_linear\.", re.MULTILINE)),
    ("auraflow", re.compile(r"(^|\.)double_layers\.0\.attn\.", re.MULTILINE)),
    ("hidream", re.compile(r"(^|\.)double_stream_blocks\.0\.block\.", re.MULTILINE)),
    ("ltx-video", re.compile(r"(^|\.)patchify_proj\.weight$", re.MULTILINE)),
    ("cosmos", re.compile(r"(^|\.)net\.x_embedder\.proj\.1\.weight$", re.MULTILINE)),
    ("pixart", re.compile(r"(^|\.)adaln_single\.emb\.", re.MULTILINE)),
)
"""Families that are not ours, each by a tensor that ours do not have; the first that fits."""

_PACKED = re.compile(
    r"\.(qweight|wscales|absmax|weight_packed|weight_scale_2)$|\.quant_state\.", re.MULTILINE
)
"""Beside weights of four bits, several of which share a byte. Float8, with or without scales, is read."""


@dataclass(frozen=True, slots=True)
class Network:
    """A transformer as its shapes describe it.

    Attributes:
        width: columns of the stream through it.
        text: slot → (role, width) of the text encoders that it was made for; None where it does not tell.
        vae: (role, latent channels) of its VAE.
        optional: slots that it can do without.
        guided: FLUX.1's has a table for the guidance.
    """

    family: str
    width: int
    text: Mapping[str, tuple[str, int | None]]
    vae: tuple[str, int]
    variant: str = ""
    shaped: bool = False
    problem: str | None = None
    optional: frozenset[str] = frozenset()
    guided: bool = True


def network(shapes: Shapes) -> Network | None:
    """The transformer whose tensors have these bare names, or None."""
    recognisers: tuple[Callable[[Shapes], Network | None], ...] = (_qwen, _flux, _sd3)
    return next((found for recognise in recognisers if (found := recognise(shapes)) is not None), None)


def identify_transformer(shapes: Shapes, metadata: Mapping[str, str]) -> Identity | None:
    """A single file with a transformer that draws, ours or not; None for anything else."""
    for family, pattern in _OTHERS:
        if anywhere(pattern, shapes):
            return Identity(ModelKind.IMAGE, family, unsupported(family))
    for prefix in PREFIXES:
        found = network(below(shapes, prefix))
        if found is not None:
            return _single(found, prefix, shapes, metadata)
    return None


def _single(found: Network, prefix: str, shapes: Shapes, metadata: Mapping[str, str]) -> Identity:
    places = [(prefix, "transformer")] if prefix else []
    needs = []
    for slot, (role, width) in found.text.items():
        place = _text_place(slot, role, width, shapes)
        if place is None:
            needs.append(Need(slot, role, width, required=slot not in found.optional))
        else:
            places.append((place, slot))
    for place in _VAE_PREFIXES:
        if components.vae(below(shapes, place)) == found.vae:
            places.append((place, "vae"))
            break
    else:
        needs.append(Need("vae", *found.vae))
    needs += [Need(slot, "tokenizer", required=False) for slot in TOKENIZERS[found.family]]
    return Identity(
        ModelKind.IMAGE,
        found.family,
        found.problem or packed(shapes),
        variant=found.variant or told_variant(found.family, metadata),
        shaped=found.shaped,
        widths={"transformer": found.width},
        needs=tuple(needs),
        places=(*places, *(() if prefix else (("", "transformer"),))),
    )


TOKENIZERS: Mapping[str, tuple[str, ...]] = {
    "flux": ("tokenizer_2",),
    "sd3": ("tokenizer_3",),
    "qwen-image": ("tokenizer",),
}
"""Tokenizers that a single file cannot hold; CLIP's is known without a file."""

_IN_FILE: Mapping[str, str] = {
    "clip_l": "clip_l",
    "clip_g": "clip_g",
    "t5": "t5xxl",
    "qwen2.5-vl": "qwen25_7b",
}


def _text_place(slot: str, role: str, width: int | None, shapes: Shapes) -> str | None:
    """Where the file itself holds that text encoder."""
    for place in (f"text_encoders.{_IN_FILE[role]}.", f"{slot}."):
        for inner in ("transformer.", ""):
            found = components.text_encoder(below(shapes, place + inner))
            if found is not None and components.fills(found[0], role) and width in (None, found[1]):
                return place
    return None


def packed(names: Shapes) -> str | None:
    """Why weights that share bytes cannot be read, or None."""
    if anywhere(_PACKED, names):
        return (
            "its weights are packed into 4 bits, which is not supported yet\nhint: get the bf16 or fp8 file"
        )
    return None


def _columns(shapes: Shapes, *names: str) -> int | None:
    """Columns of the first matrix of these names that is there."""
    shape = _matrix(shapes, *names)
    return None if shape is None else shape[1]


def _matrix(shapes: Shapes, *names: str) -> tuple[int, ...] | None:
    return next((shapes[name] for name in names if len(shapes.get(name, ())) in (2, 4)), None)


# ── FLUX.1 ────────────────────────────────────────────────────────────────────────────────────────────────


def _flux(shapes: Shapes) -> Network | None:
    marks = ("double_blocks.0.img_attn.", "single_blocks.0.linear1.", "single_transformer_blocks.0.attn.")
    if not any(any_startswith(shapes, mark) for mark in marks):
        return None
    into = _matrix(shapes, "img_in.weight", "x_embedder.weight")
    out = _matrix(shapes, "final_layer.linear.weight", "proj_out.weight")
    pooled = _columns(shapes, "vector_in.in_layer.weight", "time_text_embed.text_embedder.linear_1.weight")
    text = _columns(shapes, "txt_in.weight", "context_embedder.weight")
    if into is None or out is None or pooled is None or text is None:
        problem = "its transformer is not whole: the first or the last layer of FLUX.1 is missing"
        return Network("flux", 0, {}, ("vae", 16), problem=problem)
    channels = out[0] // 4
    guided = any(name.startswith(("guidance_in.", "time_text_embed.guidance_embedder.")) for name in shapes)
    plain = Network(
        "flux",
        into[0],
        {"text_encoder": ("clip_l", pooled), "text_encoder_2": ("t5", text)},
        ("vae", channels),
        variant="" if guided else "schnell",
        guided=guided,
    )
    extra = into[1] - out[0]
    if extra == 0:
        return plain
    if extra > out[0]:  # the masked picture's latents, and the mask itself pixel by pixel
        return replace(plain, variant="fill", shaped=True)
    what = "a control model (canny or depth)" if extra == out[0] else "a special model"
    return replace(plain, problem=f"it is {what} with {into[1]} input columns, which is not supported yet")


# ── Stable Diffusion 3 ────────────────────────────────────────────────────────────────────────────────────


def _sd3(shapes: Shapes) -> Network | None:
    marks = ("joint_blocks.0.", "transformer_blocks.0.attn.add_q_proj.")
    if not any(any_startswith(shapes, mark) for mark in marks):
        return None
    patches = _matrix(shapes, "x_embedder.proj.weight", "pos_embed.proj.weight")
    pooled = _columns(shapes, "y_embedder.mlp.0.weight", "time_text_embed.text_embedder.linear_1.weight")
    text = _columns(shapes, "context_embedder.weight")
    if patches is None or len(patches) != 4 or pooled is None or text is None:
        problem = "its transformer is not whole: the first layers of Stable Diffusion 3 are missing"
        return Network("sd3", 0, {}, ("vae", 16), problem=problem)
    real = pooled == _CLIP_L + _CLIP_G
    return Network(
        "sd3",
        patches[0],
        {
            "text_encoder": ("clip_l", _CLIP_L if real else None),
            "text_encoder_2": ("clip_g", _CLIP_G if real else None),
            "text_encoder_3": ("t5", text),
        },
        ("vae", patches[1]),
        optional=frozenset({"text_encoder_3"}),
    )


# ── Qwen-Image ────────────────────────────────────────────────────────────────────────────────────────────


def _qwen(shapes: Shapes) -> Network | None:
    if not any_startswith(shapes, "transformer_blocks.0.img_mod.1."):
        return None
    into, out = _matrix(shapes, "img_in.weight"), _matrix(shapes, "proj_out.weight")
    text = _columns(shapes, "txt_in.weight")
    if into is None or out is None or text is None:
        broken = "its transformer is not whole: the first or the last layer of Qwen-Image is missing"
        return Network("qwen-image", 0, {}, ("vae_3d", 16), problem=broken)
    second = "__index_timestep_zero__" in shapes  # ComfyUI's mark for the second Qwen-Image-Edit
    problem = None
    if into[1] != out[0]:
        problem = f"it is a special model with {into[1]} input columns, which is not supported yet"
    return Network(
        "qwen-image",
        into[0],
        {"text_encoder": ("qwen2.5-vl", text)},
        ("vae_3d", out[0] // 4),
        variant="edit-plus" if second else "",
        problem=problem,
    )
