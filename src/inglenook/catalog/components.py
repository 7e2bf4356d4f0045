# SPDX-License-Identifier: Apache-2.0
"""Text encoders and VAEs by names and shapes, alone, in a folder or inside a larger file. Pure."""

from collections.abc import Mapping
from typing import Any

from inglenook.catalog.evidence import told_family
from inglenook.catalog.identity import Identity, Shapes, any_startswith, below
from inglenook.catalog.model import ModelKind

CLIP_ROLES: Mapping[int, str] = {768: "clip_l", 1024: "clip_h", 1280: "clip_g"}
"""Width of the token table → which CLIP it is; the trained ones have no other widths in common use."""

TITLES: Mapping[str, str] = {
    "clip": "a CLIP text encoder",
    "clip_l": "the CLIP-L text encoder",
    "clip_h": "the OpenCLIP-H text encoder",
    "clip_g": "the CLIP-G (OpenCLIP bigG) text encoder",
    "t5": "the T5 text encoder",
    "umt5": "the UMT5 text encoder",
    "qwen2.5-vl": "the Qwen2.5-VL text encoder",
    "vae": "the VAE",
    "vae_3d": "the VAE of Qwen-Image",
}
"""A part's role as a person reads it."""

_KL_FAMILIES: Mapping[int, tuple[str, ...]] = {4: ("sd1", "sd2", "sdxl"), 16: ("flux", "sd3")}
"""Latent channels of a VAE with two dimensions → the families that may use it. SD 1 and SDXL, FLUX and SD 3,
have VAEs of the same shapes and other weights."""
_SCALES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.18215, ("sd1", "sd2")),
    (0.13025, ("sdxl",)),
    (0.3611, ("flux",)),
    (1.5305, ("sd3",)),
)
"""`scaling_factor` of a VAE's configuration, which each family has its own of."""
_QWEN_CHANNELS = 16
_PREFIXES = ("", "first_stage_model.", "vae.")


def fills(role: str, wanted: str) -> bool:
    """Whether a part of that role may do what is wanted, if its width fits: a CLIP of a width of its own may
    be any of the two."""
    return role == wanted or (role == "clip" and wanted in ("clip_l", "clip_g"))


def text_encoder(shapes: Shapes) -> tuple[str, int] | None:
    """Role and width (columns of what it writes) of a text encoder, or None for anything else.

    A CLIP of a width that no released one has is of the role `clip`.
    """
    for prefix in ("text_model.", ""):  # as transformers writes it; OpenCLIP
        table = shapes.get(f"{prefix}embeddings.token_embedding.weight")
        if table is not None and len(table) == 2:
            return CLIP_ROLES.get(table[1], "clip"), table[1]
    table = shapes.get("token_embedding.weight")
    if table is not None and len(table) == 2 and any_startswith(shapes, "transformer.resblocks."):
        return CLIP_ROLES.get(table[1], "clip"), table[1]
    return _t5(shapes) or _qwen(shapes)


def _t5(shapes: Shapes) -> tuple[str, int] | None:
    """T5 has one table of relative positions, in its first block; UMT5 has one in each."""
    query = shapes.get("encoder.block.0.layer.0.SelfAttention.q.weight")
    if query is None or len(query) != 2:
        return None
    umt5 = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight" in shapes
    return "umt5" if umt5 else "t5", query[1]


def _qwen(shapes: Shapes) -> tuple[str, int] | None:
    """The language model with its eyes, whose perceptrons are gated since 2.5 and without norms until 3."""
    table = next(
        (
            shape
            for name in ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight",
                         "language_model.embed_tokens.weight")
            if (shape := shapes.get(name)) is not None
        ),
        None,
    )  # fmt: skip
    gated = any(name.endswith("visual.blocks.0.mlp.gate_proj.weight") for name in shapes)
    if table is None or len(table) != 2 or not gated:
        return None
    return "qwen2.5-vl", table[1]


def vae(shapes: Shapes) -> tuple[str, int] | None:
    """Role and latent channels of a whole VAE, encoder and decoder, under bare names; None for the rest."""
    conv = shapes.get("decoder.conv_in.weight")
    if conv is not None and "encoder.conv_in.weight" in shapes and len(conv) in (4, 5):
        return "vae" if len(conv) == 4 else "vae_3d", conv[1]
    conv = shapes.get("decoder.conv1.weight")  # as Wan's own code calls them
    if conv is not None and len(conv) == 5 and "decoder.middle.0.residual.0.gamma" in shapes:
        return "vae_3d", conv[1]
    return None


def identify_text_encoder(shapes: Shapes) -> Identity | None:
    found = text_encoder(shapes)
    if found is None:
        return None
    role, width = found
    return Identity(ModelKind.TEXT_ENCODER, None, role=role, widths={role: width}, places=(("", role),))


def identify_vae(shapes: Shapes, metadata: Mapping[str, str], config: Mapping[str, Any]) -> Identity | None:
    """A VAE alone.

    Args:
        config: its `config.json`, or empty where there is none.
    """
    for prefix in _PREFIXES:
        bare = below(shapes, prefix)
        found = vae(bare)
        if found is not None:
            return _whole_vae(*found, metadata, config)
        if all(len(bare.get(f"{half}.layers.0.weight", ())) == 4 for half in ("encoder", "decoder")):
            return Identity(ModelKind.VAE, None, "it is a tiny VAE (TAESD), which is not supported yet")
    return None


def _whole_vae(role: str, channels: int, metadata: Mapping[str, str], config: Mapping[str, Any]) -> Identity:
    fits = vae_families(role, channels, config)
    told = told_family(metadata)
    if told in fits:
        fits = (told,)
    problem = None if fits else f"a VAE with {channels} latent channels is not supported yet"
    return Identity(
        ModelKind.VAE,
        fits[0] if len(fits) == 1 else None,
        problem,
        fits=fits,
        role=role,
        widths={role: channels},
        places=(("", "vae"),),
    )


def vae_families(role: str, channels: int, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The families that a VAE can serve, in order; more than one where nothing tells them apart."""
    if role == "vae_3d":
        return ("qwen-image",) if channels == _QWEN_CHANNELS else ()
    able = _KL_FAMILIES.get(channels, ())
    scale = config.get("scaling_factor")
    if isinstance(scale, int | float):
        for known, families in _SCALES:
            if abs(scale - known) < 1e-4 and set(families) <= set(able):
                return families
    return able
