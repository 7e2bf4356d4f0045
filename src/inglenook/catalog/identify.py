# SPDX-License-Identifier: Apache-2.0
"""What a single file is: decided by names, shapes and metadata, never by the file's name. Pure.

The families of Stable Diffusion differ where they must: in the text encoders they carry, and in the width of
the text that the UNet attends to (768 for CLIP-L, 1024 for OpenCLIP-H, 2048 for CLIP-L with OpenCLIP-bigG).
LoRAs are told in `lora.py`, transformers in `networks.py`, text encoders and VAEs in `components.py`,
diffusers folders in `pipelines.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from inglenook.catalog.components import identify_text_encoder, identify_vae
from inglenook.catalog.evidence import told_variant
from inglenook.catalog.identity import Identity, Shapes, any_startswith
from inglenook.catalog.lora import identify_lora
from inglenook.catalog.model import ModelKind
from inglenook.catalog.networks import identify_transformer, packed

TEXT_WIDTHS: Mapping[int, str] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Width of the text that the UNet's cross-attention reads in the released models, by family."""

LATENT_CHANNELS = 4
INPAINT_CHANNELS = 9
"""Latents, latents of the picture without the painted part, and the mask."""
_UNET = "model.diffusion_model."
_VAE = "first_stage_model."


def identify_tensors(
    shapes: Shapes, metadata: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
) -> Identity:
    """What a single file, or a folder with `config.json` and weights, is. Looks at every name at most a few
    dozen times; never raises.

    Args:
        metadata: text by key, from the file's header. config: the folder's `config.json`.
    """
    told, known = metadata or {}, config or {}
    if not shapes:
        return Identity(ModelKind.OTHER, None, "the file holds no tensors")
    recognisers: tuple[Callable[[], Identity | None], ...] = (
        lambda: identify_lora(shapes, told),
        lambda: _checkpoint(shapes, told),
        lambda: identify_transformer(shapes, told),
        lambda: _controlnet(shapes),
        lambda: identify_vae(shapes, told, known),
        lambda: identify_text_encoder(shapes),
        lambda: _language(shapes),
        lambda: _embedding(shapes),
        lambda: _bare_unet(shapes),
    )
    for recognise in recognisers:
        identity = recognise()
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

_PLACES = (
    (_UNET, "unet"),
    (_VAE, "vae"),
    ("conditioner.embedders.1.", "text_encoder_2"),
    ("conditioner.embedders.", "text_encoder"),
    ("cond_stage_model.", "text_encoder"),
    ("model_ema.", "ema"),
)


def _checkpoint(shapes: Shapes, metadata: Mapping[str, str]) -> Identity | None:
    """A UNet under `model.diffusion_model.`; the text encoder that travels with it tells the family."""
    if not any_startswith(shapes, f"{_UNET}input_blocks."):
        return None
    width = text_width(shapes, f"{_UNET}")
    family = next((name for prefix, name in _TEXT_ENCODERS if any_startswith(shapes, prefix)), None)
    if family is None:
        return Identity(ModelKind.OTHER, _family_of_width(width), _lacks("text encoder"), places=_PLACES)
    conv_in = shapes.get(f"{_UNET}input_blocks.0.0.weight")
    problem = (
        packed(shapes)
        or _wrong_width(family, shapes, width)
        or odd_channels(conv_in)
        or (None if any_startswith(shapes, f"{_VAE}decoder.") else _lacks("VAE"))
    )
    shaped = shaped_variant(family, shapes, conv_in)
    return Identity(
        ModelKind.IMAGE,
        family,
        problem,
        variant=shaped or told_variant(family, metadata),
        shaped=shaped != "",
        places=_PLACES,
    )


def shaped_variant(family: str, shapes: Shapes, conv_in: tuple[int, ...] | None) -> str:
    """`inpaint` or `lcm` where the UNet's shapes say so, else ""."""
    if conv_in is not None and len(conv_in) == 4 and conv_in[1] == INPAINT_CHANNELS:
        return "inpaint"
    if any(
        name.endswith(("time_embed.cond_proj.weight", "time_embedding.cond_proj.weight")) for name in shapes
    ):
        return "lcm" if family != "sd2" else ""
    return ""


def text_width(shapes: Shapes, prefix: str) -> int | None:
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
    if family == "sdxl" and not any_startswith(shapes, "conditioner.embedders.0.transformer."):
        return "it is the SDXL refiner, which is not supported yet: use the base model"
    tables = [shapes.get(name) for name in _TOKEN_TABLES[family]]
    written = sum(table[1] for table in tables if table is not None and len(table) == 2)
    if None in tables or written == width:
        return None
    return f"its UNet reads text of width {width}, but its text encoders write {written}"


def odd_channels(conv_in: tuple[int, ...] | None) -> str | None:
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


# ── the rest ──────────────────────────────────────────────────────────────────────────────────────────────


def _controlnet(shapes: Shapes) -> Identity | None:
    if any_startswith(shapes, "control_model.") or any_startswith(shapes, "controlnet_cond_embedding."):
        return Identity(ModelKind.OTHER, None, "ControlNets are not supported yet")
    return None


def _language(shapes: Shapes) -> Identity | None:
    if "model.embed_tokens.weight" in shapes and any_startswith(shapes, "model.layers.0."):
        return Identity(
            ModelKind.LANGUAGE, None, "language models are not served from safetensors; use its GGUF file"
        )
    return None


def _embedding(shapes: Shapes) -> Identity | None:
    """A textual inversion: a few rows as wide as the text encoder that reads them."""
    if {"clip_l", "clip_g"} <= shapes.keys():
        return Identity(ModelKind.EMBEDDING, "sdxl", fits=("sdxl",))
    rows = shapes.get("emb_params", next(iter(shapes.values())) if len(shapes) == 1 else None)
    if rows is None or len(rows) not in (1, 2) or not _few_rows(rows):
        return None
    family = {768: "sd1", 1024: "sd2"}.get(rows[-1])
    if family is not None:
        return Identity(ModelKind.EMBEDDING, family, fits=(family,))
    if "emb_params" in shapes or any(name.startswith("<") and name.endswith(">") for name in shapes):
        return Identity(ModelKind.EMBEDDING, None)  # of a small model with a width of its own
    return None


MAX_EMBEDDING_ROWS = 256


def _few_rows(rows: tuple[int, ...]) -> bool:
    return len(rows) == 1 or 0 < rows[0] <= MAX_EMBEDDING_ROWS


def _bare_unet(shapes: Shapes) -> Identity | None:
    """A UNet alone, which cannot draw by itself."""
    if any_startswith(shapes, "down_blocks.") and "conv_in.weight" in shapes:
        family = _family_of_width(text_width(shapes, ""))
        return Identity(ModelKind.OTHER, family, _lacks("text encoder and no VAE"))
    return None
