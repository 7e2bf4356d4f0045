# SPDX-License-Identifier: Apache-2.0
"""The parts of Qwen-Image out of single files, each of them alone or all in one.

The transformer has the names of diffusers, the text encoder those of transformers (as they were when it was
published, or as they are now), the VAE those of diffusers or of Wan, from whom it comes. Sizes are read from
shapes; the rest comes from `configs/qwen-image/`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families import folder as parts_of
from inglenook.workers.image.families.held import Held, empty, filled, held_in
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.weights import Checkpoint, fitting, read_json

FAMILY: Final = "qwen-image"
_ENCODER_CLASS: Final = "Qwen2_5_VLForConditionalGeneration"
_ZERO_FOR_REFERENCES: Final = "__index_timestep_zero__"
"""An empty tensor of this name marks models that take references for finished pictures, whatever the step."""

_TRANSFORMER_AT = ("model.diffusion_model.", "diffusion_model.", "transformer.", "")
_ENCODER_AT = (
    "text_encoders.qwen25_7b.transformer.",
    "text_encoders.qwen25_7b.",
    "text_encoder.",
    "cond_stage_model.",
    "",
)
_VAE_AT = ("vae.", "first_stage_model.", "")
_HEAD = 128
"""Channels of one head of attention in the language model; its positions are laid out for so many."""

_EYE_HEAD = 80


class PictureVae(AutoencoderKLQwenImage):
    """The VAE is one of films; here a picture is a film of one frame, and the frames' axis stays inside."""

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        """float (n, 3, height, width) → a distribution over (n, channels, height, width) of latents."""
        film = super().encode(x[:, :, None]).latent_dist.parameters
        picture = DiagonalGaussianDistribution(film[:, :, 0])
        return AutoencoderKLOutput(latent_dist=picture) if return_dict else (picture,)

    def decode(self, z: torch.Tensor, return_dict: bool = True) -> Any:
        film = super().decode(z[:, :, None], return_dict=False)[0]
        return DecoderOutput(sample=film[:, :, 0]) if return_dict else (film[:, :, 0],)


VAE_CLASSES: Final[Mapping[str, Any]] = {"AutoencoderKLQwenImage": PictureVae}


def find_transformer(file: Checkpoint) -> Held | None:
    return held_in(file, _TRANSFORMER_AT, "transformer_blocks.0.img_mod.1.weight")


def find_encoder(file: Checkpoint) -> Held | None:
    return held_in(file, _ENCODER_AT, *(f"{old}embed_tokens.weight" for old in _LANGUAGE_AT))


def find_vae(file: Checkpoint) -> Held | None:
    return held_in(file, _VAE_AT, "decoder.conv_in.weight", "decoder.middle.0.residual.0.gamma")


def read_transformer(held: Held, dtype: torch.dtype) -> torch.nn.Module:
    """Raises `LoadCorrupt`, `LoadUnsupported`."""
    model = empty(
        QwenImageTransformer2DModel.from_config,
        {**read_json(CONFIGS / FAMILY / "transformer" / "config.json"), **_transformer_settings(held)},
        "transformer",
    )
    tensors = held.tensors(dtype)
    tensors.pop(_ZERO_FOR_REFERENCES, None)
    return filled(model, tensors, "transformer", held.file.path.name)


def read_encoder(place: Path | Held, dtype: torch.dtype, *, picture_token: int) -> torch.nn.Module:
    """Qwen2.5-VL, from a folder of this component, or out of a file.

    Args:
        picture_token: the tokenizer's number for a patch of a picture; a file does not say it.
    """
    if isinstance(place, Path):
        return parts_of.read_text_encoder(place.parent, place.name, _ENCODER_CLASS, dtype)
    settings = {**_encoder_settings(place), "image_token_id": picture_token}
    known = settings["text_config"]["vocab_size"]
    if known <= picture_token:
        raise LoadUnsupported(
            f"The text encoder in {place.file.path.name} knows {known} tokens; the tokenizer goes to "
            f"{picture_token} and beyond.",
            hint="put the tokenizer that belongs to it into a folder named tokenizer beside it",
        )
    tensors = _named_as_now(place.tensors(dtype))
    model = empty(Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig(**settings), "text_encoder")
    # The answers of the language model are not read, and some files leave the head away.
    tensors.setdefault("lm_head.weight", tensors["model.language_model.embed_tokens.weight"])
    return filled(model, tensors, "text_encoder", place.file.path.name)


def read_vae(place: Path | Held, dtype: torch.dtype) -> torch.nn.Module:
    """From a folder of this component, or out of a file in the names of diffusers or of Wan."""
    if isinstance(place, Path):
        return parts_of.read_part(place.parent, place.name, VAE_CLASSES, dtype)
    original = not place.has("decoder.conv_in.weight")
    config = read_json(CONFIGS / FAMILY / "vae" / "config.json")
    config["base_dim"] = place.shape("encoder.conv1.weight" if original else "encoder.conv_in.weight")[0]
    latents = place.shape("conv2.weight" if original else "post_quant_conv.weight")[0]
    if latents != config["z_dim"]:
        raise LoadUnsupported(
            f"The VAE in {place.file.path.name} has {latents} channels of latents; "
            f"those of Qwen-Image have {config['z_dim']}."
        )
    model = empty(PictureVae.from_config, config, "vae")
    tensors = place.tensors(dtype)
    if original:
        with fitting("vae"):
            tensors = convert_wan_vae_to_diffusers(tensors)
    return filled(model, tensors, "vae", place.file.path.name)


def _transformer_settings(held: Held) -> dict[str, Any]:
    inner, channels = held.shape("img_in.weight")
    head = held.shape("transformer_blocks.0.attn.norm_q.weight")[0]
    config = read_json(CONFIGS / FAMILY / "transformer" / "config.json")
    if head != config["attention_head_dim"] or held.has("time_text_embed.addition_t_embedding.weight"):
        raise LoadUnsupported(
            f"The transformer in {held.file.path.name} is built like Qwen-Image's, but with "
            f"heads of {head} channels (Qwen-Image: {config['attention_head_dim']}) or with a further input."
        )
    return {
        "in_channels": channels,
        "out_channels": held.shape("proj_out.weight")[0] // config["patch_size"] ** 2,
        "num_layers": held.count(r"transformer_blocks\.(\d+)\."),
        "num_attention_heads": inner // head,
        "joint_attention_dim": held.shape("txt_in.weight")[1],
        "zero_cond_t": held.has(_ZERO_FOR_REFERENCES),
    }


_LANGUAGE_AT = ("model.", "model.language_model.", "language_model.model.")
_EYES_AT = ("visual.", "model.visual.")


def _encoder_settings(held: Held) -> dict[str, Any]:
    """Qwen2.5-VL's configuration, with the sizes of the file."""
    config = read_json(CONFIGS / FAMILY / "text_encoder" / "config.json")
    language = next(name for name in _LANGUAGE_AT if held.has(f"{name}embed_tokens.weight"))
    sight = next((name for name in _EYES_AT if held.has(f"{name}patch_embed.proj.weight")), None)
    if sight is None:
        raise LoadUnsupported(
            f"{held.file.path.name} holds a language model without eyes; Qwen-Image reads with Qwen2.5-VL."
        )
    first, layer, block = (
        f"{language}layers.0.",
        rf"{re.escape(language)}layers\.(\d+)\.",
        f"{sight}blocks.0.",
    )
    vocabulary, width = held.shape(f"{language}embed_tokens.weight")
    config["text_config"] |= {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": held.shape(f"{first}mlp.gate_proj.weight")[0],
        "num_hidden_layers": held.count(layer),
        "num_attention_heads": held.shape(f"{first}self_attn.q_proj.weight")[0] // _HEAD,
        "num_key_value_heads": held.shape(f"{first}self_attn.k_proj.weight")[0] // _HEAD,
    }
    depth = held.count(rf"{re.escape(sight)}blocks\.(\d+)\.")
    eye = held.shape(f"{block}norm1.weight")[0]
    config["vision_config"] |= {
        "depth": depth,
        "hidden_size": eye,
        "intermediate_size": held.shape(f"{block}mlp.gate_proj.weight")[0],
        "num_heads": max(1, eye // _EYE_HEAD),
        "out_hidden_size": width,
    }
    return config


def _named_as_now(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Qwen2.5-VL's tensors under the names that transformers gives them now."""
    named = {}
    for key, tensor in tensors.items():
        name = key.replace("language_model.model.", "model.", 1) if key.startswith("language_model.") else key
        if name.startswith("visual."):
            name = f"model.{name}"
        elif name.startswith("model.") and not name.startswith(("model.visual.", "model.language_model.")):
            name = f"model.language_model.{name.removeprefix('model.')}"
        named[name] = tensor
    return named
