# SPDX-License-Identifier: Apache-2.0
"""What a set of tensors is: decided by names and shapes, never by the file's name. Pure.

The families differ where they must: in the text encoders they carry, and in the width of the text that the
UNet attends to (768 for CLIP-L, 1024 for OpenCLIP-H, 2048 for CLIP-L with OpenCLIP-bigG).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inglenook.catalog.model import ModelKind

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor names to shapes, as a header gives them."""

TEXT_WIDTHS: Mapping[int, str] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Width of the text that the UNet's cross-attention reads in the released models, by family."""

LATENT_CHANNELS = 4
INPAINT_CHANNELS = 9
"""Latents, latents of the picture without the painted part, and the mask."""
_UNET = "model.diffusion_model."
_VAE = "first_stage_model."


@dataclass(frozen=True, slots=True)
class Identity:
    """`family` is a name from `wire.families` where it is one of ours, the common name of others, or None.

    `problem` says why the model cannot be used, or is None. `variant` is one of the family's.
    """

    kind: ModelKind
    family: str | None
    problem: str | None = None
    variant: str = ""


def identify_tensors(shapes: Shapes) -> Identity:
    """What a single file is. Looks at every name at most a few times; never raises."""
    if not shapes:
        return Identity(ModelKind.OTHER, None, "the file holds no tensors")
    for recognise in (_lora, _checkpoint, _transformer, _controlnet, _vae, _parts):
        identity = recognise(shapes)
        if identity is not None:
            return identity
    return Identity(ModelKind.OTHER, None, f"not a kind of model that is known here: {_examples(shapes)}")


def _examples(shapes: Shapes) -> str:
    names = sorted(shapes)[:3]
    return (
        "its tensors are "
        + ", ".join(name[:80] for name in names)
        + (" …" if len(shapes) > len(names) else "")
    )


# ── LoRA ──────────────────────────────────────────────────────────────────────────────────────────────────

_LORA = re.compile(
    r"\.lora_(down|up)\.weight$|[._]lora\.(down|up)\.weight$|\.lora_[AB](\.\w+)?(\.weight)?$"
    r"|\.hada_w[12]_[ab]$|\.lokr_w[12](_[ab])?$"
)
"""The spellings of kohya, diffusers, PEFT and LyCORIS."""
_TEXT_SIDE = re.compile(
    r"attn2[._](processor\.)?to_[kv]\b.*(lora_down|lora_A|lora\.down)|attn2\.processor\.to_[kv]_lora\.down"
)
"""The half of a LoRA that reads the text: its columns are the text's width."""


def _lora(shapes: Shapes) -> Identity | None:
    if not any(_LORA.search(name) for name in shapes):
        return None
    if any(re.search(r"double_blocks|single_transformer_blocks|single_blocks", name) for name in shapes):
        return Identity(ModelKind.LORA, "flux", _unsupported("flux"))
    widths = (shape[1] for name, shape in shapes.items() if len(shape) > 1 and _TEXT_SIDE.search(name))
    family = next((TEXT_WIDTHS[width] for width in widths if width in TEXT_WIDTHS), None)
    if family is None and any(name.startswith(("lora_te2_", "text_encoder_2.")) for name in shapes):
        family = "sdxl"
    return Identity(ModelKind.LORA, family)


# ── one file with everything, in the layout of the first Stable Diffusion ─────────────────────────────────

_TEXT_ENCODERS: tuple[tuple[str, str], ...] = (
    ("conditioner.embedders.", "sdxl"),
    ("cond_stage_model.transformer.", "sd1"),
    ("cond_stage_model.model.", "sd2"),
)

_TOKEN_TABLES: Mapping[str, tuple[str, ...]] = {
    "sd1": ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",),
    "sd2": ("cond_stage_model.model.token_embedding.weight",),
    "sdxl": (
        "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
        "conditioner.embedders.1.model.token_embedding.weight",
    ),
}
"""The tables of the text encoders, (tokens, width); SDXL's UNet reads the two side by side."""


def _checkpoint(shapes: Shapes) -> Identity | None:
    """A UNet under `model.diffusion_model.`; the text encoder that travels with it tells the family."""
    if not _any_startswith(shapes, f"{_UNET}input_blocks."):
        return None
    width = _text_width(shapes, f"{_UNET}")
    family = next((name for prefix, name in _TEXT_ENCODERS if _any_startswith(shapes, prefix)), None)
    if family is None:
        return Identity(ModelKind.OTHER, _family_of_width(width), _lacks("text encoder"))
    problem = (
        _wrong_width(family, shapes, width)
        or _odd_channels(shapes.get(f"{_UNET}input_blocks.0.0.weight"))
        or (None if _any_startswith(shapes, f"{_VAE}decoder.") else _lacks("VAE"))
    )
    return Identity(ModelKind.IMAGE, family, problem)


def _text_width(shapes: Shapes, prefix: str) -> int | None:
    """Columns of the first cross-attention's key matrix under `prefix`, or None where there is none."""
    for name, shape in shapes.items():
        if name.startswith(prefix) and name.endswith(".attn2.to_k.weight") and len(shape) == 2:
            return shape[1]
    return None


def _family_of_width(width: int | None) -> str | None:
    return None if width is None else TEXT_WIDTHS.get(width)


def _wrong_width(family: str, shapes: Shapes, width: int | None) -> str | None:
    """A UNet that reads text of another width than the text encoders in the file write cannot draw."""
    if width is None:
        return "its UNet has no cross-attention"
    if family == "sdxl" and not _any_startswith(shapes, "conditioner.embedders.0.transformer."):
        return "it is the SDXL refiner, which is not supported yet: use the base model"
    tables = [shapes.get(name) for name in _TOKEN_TABLES[family]]
    written = sum(table[1] for table in tables if table is not None and len(table) == 2)
    if None in tables or written == width:
        return None
    return f"its UNet reads text of width {width}, but its text encoders write {written}"


def _odd_channels(conv_in: tuple[int, ...] | None) -> str | None:
    """Why a UNet with this first convolution can neither draw nor inpaint, or None."""
    if conv_in is None or len(conv_in) != 4:
        return "its UNet has no first convolution"
    channels = conv_in[1]
    if channels in (LATENT_CHANNELS, INPAINT_CHANNELS):
        return None
    special = {8: "an instruction-editing model", 5: "a depth model"}.get(channels, "a special model")
    return f"it is {special} ({channels} input channels), which is not supported yet"


def _lacks(what: str) -> str:
    return (
        f"the file holds a UNet but no {what}; a single file must hold the UNet, the VAE and the text encoder"
    )


# ── other families, known by a tensor that no other has ───────────────────────────────────────────────────

_TRANSFORMERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("qwen-image", re.compile(r"(^|\.)transformer_blocks\.0\.img_mod\.1\.")),
    ("flux", re.compile(r"(^|\.)double_blocks\.0\.img_attn\.|(^|\.)single_transformer_blocks\.0\.attn\.")),
    ("sd3", re.compile(r"(^|\.)joint_blocks\.0\.|(^|\.)transformer_blocks\.0\.attn\.add_q_proj\.")),
    ("z-image", re.compile(r"(^|\.)noise_refiner\.0\.")),
    ("wan", re.compile(r"(^|\.)blocks\.0\.cross_attn\.norm_k\.")),
    ("pixart", re.compile(r"(^|\.)adaln_single\.emb\.")),
)
"""In order: the first that fits wins, and a later pattern may fit an earlier family as well."""


def _transformer(shapes: Shapes) -> Identity | None:
    for family, pattern in _TRANSFORMERS:
        if any(pattern.search(name) for name in shapes):
            return Identity(ModelKind.IMAGE, family, _unsupported(family))
    if "model.embed_tokens.weight" in shapes and _any_startswith(shapes, "model.layers.0."):
        return Identity(
            ModelKind.LANGUAGE, None, "language models are not served from safetensors; use its GGUF file"
        )
    return None


def _unsupported(family: str) -> str:
    return f"family {family} is not supported yet"


# ── pieces ────────────────────────────────────────────────────────────────────────────────────────────────


def _controlnet(shapes: Shapes) -> Identity | None:
    if _any_startswith(shapes, "control_model.") or _any_startswith(shapes, "controlnet_cond_embedding."):
        return Identity(ModelKind.OTHER, None, "ControlNets are not supported yet")
    return None


def _vae(shapes: Shapes) -> Identity | None:
    """Encoder and decoder of convolutions, in the first layout, in diffusers' or in the tiny one."""
    bare = {name.removeprefix(_VAE).removeprefix("vae."): shape for name, shape in shapes.items()}
    conv = bare.get("decoder.conv_in.weight")
    if conv is not None and "encoder.conv_in.weight" in bare:
        if len(conv) == 4 and conv[1] == LATENT_CHANNELS:
            return Identity(ModelKind.VAE, None)
        channels = conv[1] if len(conv) > 1 else 0
        return Identity(ModelKind.VAE, None, f"a VAE with {channels} latent channels is not supported yet")
    if (
        len(bare.get("encoder.layers.0.weight", ())) == 4
        and len(bare.get("decoder.layers.0.weight", ())) == 4
    ):
        return Identity(ModelKind.VAE, None)
    return None


def _parts(shapes: Shapes) -> Identity | None:
    """One component of a pipeline, or an embedding, that cannot draw by itself."""
    if _any_startswith(shapes, "down_blocks.") and "conv_in.weight" in shapes:
        return Identity(
            ModelKind.OTHER, _family_of_width(_text_width(shapes, "")), _lacks("text encoder and no VAE")
        )
    if (
        "text_model.embeddings.token_embedding.weight" in shapes
        or "embeddings.token_embedding.weight" in shapes
    ):
        return Identity(ModelKind.OTHER, None, "it is a text encoder alone")
    if "emb_params" in shapes or {"clip_l", "clip_g"} & shapes.keys():
        return Identity(ModelKind.OTHER, None, "textual inversion embeddings are not supported yet")
    return None


def _any_startswith(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


# ── a diffusers folder ────────────────────────────────────────────────────────────────────────────────────

PIPELINES: Mapping[str, str] = {
    "StableDiffusionPipeline": "StableDiffusion",
    "StableDiffusionImg2ImgPipeline": "StableDiffusion",
    "StableDiffusionInpaintPipeline": "StableDiffusion",
    "LatentConsistencyModelPipeline": "StableDiffusion",
    "StableDiffusionXLPipeline": "StableDiffusionXL",
    "StableDiffusionXLImg2ImgPipeline": "StableDiffusionXL",
    "StableDiffusionXLInpaintPipeline": "StableDiffusionXL",
}
_OTHER_PIPELINES: tuple[tuple[str, str], ...] = (
    ("Flux", "flux"),
    ("StableDiffusion3", "sd3"),
    ("QwenImage", "qwen-image"),
    ("ZImage", "z-image"),
    ("Wan", "wan"),
    ("PixArt", "pixart"),
)

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "StableDiffusion": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "StableDiffusionXL": (
        "unet",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "tokenizer",
        "tokenizer_2",
        "scheduler",
    ),
}


def identify_pipeline(
    index: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]], unet: Shapes
) -> Identity:
    """What a diffusers folder is.

    Args:
        index: its `model_index.json`.
        configs: the `config.json` of each component, by component, as far as there are any.
        unet: the UNet's tensors. They decide; what index and config say must agree with them.
    """
    name = index.get("_class_name")
    pipeline = PIPELINES.get(name) if isinstance(name, str) else None
    if pipeline is None:
        return _other_pipeline(name)
    config = configs.get("unet", {})
    family = _unet_family(config)
    checks: tuple[Callable[[], str | None], ...] = (
        lambda: _missing_component(pipeline, index),
        lambda: _index_contradicts(pipeline, family),
        lambda: _config_contradicts(config, unet),
        lambda: _odd_channels(unet.get("conv_in.weight")),
    )
    return Identity(ModelKind.IMAGE, family, next((text for check in checks if (text := check())), None))


def _other_pipeline(name: object) -> Identity:
    if not isinstance(name, str):
        return Identity(ModelKind.OTHER, None, "model_index.json names no _class_name")
    family = next((family for start, family in _OTHER_PIPELINES if name.startswith(start)), None)
    if family is not None:
        return Identity(ModelKind.IMAGE, family, _unsupported(family))
    return Identity(ModelKind.OTHER, None, f"pipeline {name[:80]} is not supported yet")


def _unet_family(config: Mapping[str, Any]) -> str:
    """SDXL's UNet is told its picture's size besides the text; SD 2's reads wider text than SD 1's.

    A small model with a text width of its own is told by how it projects, which changed with SD 2 as well.
    """
    if config.get("addition_embed_type") == "text_time":
        return "sdxl"
    width = config.get("cross_attention_dim")
    if width in (768, 1024):
        return TEXT_WIDTHS[width]
    return "sd2" if config.get("use_linear_projection") is True else "sd1"


def _missing_component(pipeline: str, index: Mapping[str, Any]) -> str | None:
    for component in COMPONENTS[pipeline]:
        entry = index.get(component)
        if not isinstance(entry, list) or not entry or entry[0] is None:
            refiner = component == "text_encoder" and pipeline == "StableDiffusionXL"
            more = "; it may be the SDXL refiner, which is not supported yet" if refiner else ""
            return f"model_index.json names no {component}{more}"
    return None


def _index_contradicts(pipeline: str, family: str) -> str | None:
    if (pipeline == "StableDiffusionXL") == (family == "sdxl"):
        return None
    return f"model_index.json says {pipeline}, but unet/config.json describes a UNet of family {family}"


def _config_contradicts(config: Mapping[str, Any], unet: Shapes) -> str | None:
    """Where `unet/config.json` and the UNet's tensors disagree, a load would fail late; say it now."""
    declared, found = config.get("cross_attention_dim"), _text_width(unet, "")
    if isinstance(declared, int) and found is not None and declared != found:
        return f"unet/config.json says cross_attention_dim {declared}, but the weights have {found}"
    conv, channels = unet.get("conv_in.weight"), config.get("block_out_channels")
    if conv and isinstance(channels, list) and channels and channels[0] != conv[0]:
        return (
            f"unet/config.json says block_out_channels {channels[0]} …, but the weights begin with {conv[0]}"
        )
    return None
