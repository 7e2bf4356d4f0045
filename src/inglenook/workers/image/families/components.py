# SPDX-License-Identifier: Apache-2.0
"""Text encoders and VAEs of models that come in pieces: inside the model's own file, in a file of their own,
or as a folder of diffusers.

FLUX and Stable Diffusion 3 share CLIP's ViT-L and T5; their files often hold the transformer alone. What a
file lacks is looked up in `parts`, which the server fills from the models folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families import clip, t5
from inglenook.workers.image.families import folder as parts_of
from inglenook.workers.image.families.held import Held, empty, filled, held_in
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.weights import Checkpoint, check_folder, fitting, read_json

Source = Held | Path
"""A component within a file, or a folder of diffusers that is this component."""


@dataclass(frozen=True)
class Component:
    """What to look for.

    Attributes:
        part: its name in a pipeline of diffusers, and in `parts`.
        title: as a person knows it.
        inside: the prefixes under which all-in-one files keep it.
        marks: tensors of which one is there, without prefix.
    """

    part: str
    title: str
    inside: tuple[str, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Encoder:
    """A text encoder and the tokenizer that goes with it."""

    module: torch.nn.Module
    tokenizer: Any


_CLIP_MARKS = ("text_model.embeddings.token_embedding.weight", "embeddings.token_embedding.weight")
_T5_MARKS = ("encoder.block.0.layer.0.SelfAttention.q.weight",)
_VAE_MARKS = ("decoder.conv_in.weight",)


def clip_l(part: str) -> Component:
    inside = ("text_encoders.clip_l.transformer.", "text_encoders.clip_l.", f"{part}.")
    return Component(part, "CLIP ViT-L", inside, _CLIP_MARKS)


def clip_g(part: str) -> Component:
    inside = ("text_encoders.clip_g.transformer.", "text_encoders.clip_g.", f"{part}.")
    return Component(part, "CLIP ViT-bigG", inside, (*_CLIP_MARKS, "token_embedding.weight"))


def t5_xxl(part: str) -> Component:
    inside = ("text_encoders.t5xxl.transformer.", "text_encoders.t5xxl.", f"{part}.")
    return Component(part, "T5 XXL", inside, _T5_MARKS)


VAE = Component("vae", "VAE of 16 channels", ("vae.", "first_stage_model."), _VAE_MARKS)


def found(component: Component, file: Checkpoint, parts: Mapping[str, Path]) -> Source | None:
    """Where the component is; None when it is nowhere.

    Raises `LoadUnsupported` when what `parts` names is something else.
    """
    if component.part not in parts:
        return held_in(file, component.inside, *component.marks)
    place = parts[component.part]
    if place.is_dir():
        check_folder(place.parent, (place.name,))
        return place
    held = held_in(Checkpoint(place), (*component.inside, ""), *component.marks)
    if held is None:
        raise LoadUnsupported(
            f"{place.name} was given as the {component.part} of {file.path.name}, but it holds no "
            f"{component.title}."
        )
    return held


def required(component: Component, file: Checkpoint, parts: Mapping[str, Path]) -> Source:
    """As `found`. Raises `LoadUnsupported` when the component is nowhere."""
    source = found(component, file, parts)
    if source is None:
        raise LoadUnsupported(
            f"{file.path.name} holds no {component.part} ({component.title}), and none was found beside it.",
            hint="put it into the models folder, as a .safetensors file or as a folder of diffusers",
        )
    return source


def read_clip_l(source: Source, dtype: torch.dtype) -> Encoder:
    """CLIP ViT-L. Its projection, which many files hold, is left out: the pooled text is read before it."""
    if isinstance(source, Path):
        return _of_folder(source, "CLIPTextModel", dtype)
    tensors = _bare(source.tensors(dtype))
    tensors.pop("text_projection.weight", None)
    module = clip.of_tensors(tensors, "sd1", "text_encoder", dtype, projected=False)
    return Encoder(module, clip.tokenizer(pad=clip.END))


def read_clip_g(source: Source, dtype: torch.dtype) -> Encoder:
    """CLIP ViT-bigG with its projection, in the names of transformers or of OpenCLIP."""
    if isinstance(source, Path):
        return _of_folder(source, "CLIPTextModelWithProjection", dtype)
    if source.has("token_embedding.weight"):
        module = clip.read_openclip(source.file, source.prefix, "sdxl", dtype, part="text_encoder_2")
    else:
        tensors = _bare(source.tensors(dtype))
        module = clip.of_tensors(tensors, "sdxl", "text_encoder_2", dtype, projected=True)
    return Encoder(module, clip.tokenizer(pad="!"))


def read_t5(source: Source, dtype: torch.dtype, tokenizer: Path | None = None) -> Encoder:
    """Args:
    tokenizer: a folder with the tokenizer of an encoder whose vocabulary is not T5's own.
    """
    if isinstance(source, Path):
        return _of_folder(source, "T5EncoderModel", dtype)
    module = t5.read(source, dtype)
    return Encoder(module, t5.tokenizer_for(module, tokenizer))


def read_vae(source: Source, family: str, dtype: torch.dtype) -> torch.nn.Module:
    """A VAE in the names of the first latent diffusion models or of diffusers.

    Args:
        family: whose scale and shift it has; the file does not tell.
    """
    told = read_json(CONFIGS / family / "vae" / "config.json")
    if isinstance(source, Path):
        module = parts_of.read_part(source.parent, source.name, parts_of.VAE_CLASSES, dtype)
        _require_channels(module.config["latent_channels"], told["latent_channels"], source.name)
        return module
    original = source.has("encoder.down.0.block.0.conv1.weight")
    config = {**told, **_vae_settings(source, original)}
    _require_channels(config["latent_channels"], told["latent_channels"], source.file.path.name)
    tensors = source.tensors(dtype)
    if original:
        with fitting("vae"):
            tensors = convert_ldm_vae_checkpoint(tensors, config)
    model = empty(AutoencoderKL.from_config, config, "vae")
    return filled(model, tensors, "vae", source.file.path.name)


def _vae_settings(held: Held, original: bool) -> dict[str, Any]:
    blocks, layers = ("down", "block") if original else ("down_blocks", "resnets")
    levels = held.count(rf"encoder\.{blocks}\.(\d+)\.")
    widths = [held.shape(f"encoder.{blocks}.{level}.{layers}.0.conv1.weight")[0] for level in range(levels)]
    return {
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": held.count(rf"encoder\.{blocks}\.0\.{layers}\.(\d+)\."),
        "latent_channels": held.shape("decoder.conv_in.weight")[1],
        "use_quant_conv": held.has("quant_conv.weight"),
        "use_post_quant_conv": held.has("post_quant_conv.weight"),
    }


def _require_channels(found: int, wanted: int, source: str) -> None:
    if found != wanted:
        raise LoadUnsupported(
            f"The VAE in {source} has {found} channels of latents; this model's has {wanted}.",
            hint="it belongs to another family of models",
        )


def _of_folder(place: Path, class_name: str, dtype: torch.dtype) -> Encoder:
    """Its tokenizer is the folder of the same number beside it; ours where there is none."""
    module = parts_of.read_text_encoder(place.parent, place.name, class_name, dtype)
    if (place.parent / place.name.replace("text_encoder", "tokenizer")).is_dir():
        return Encoder(module, parts_of.read_tokenizer(place.parent, place.name, class_name))
    if class_name == "T5EncoderModel":
        return Encoder(module, t5.tokenizer_for(module, None))
    # OpenAI's own models fill up with the end mark, those of OpenCLIP with `!`.
    wide = module.config.hidden_size > _WIDTH_OF_CLIP_L
    return Encoder(module, clip.tokenizer(pad="!" if wide else clip.END))


_WIDTH_OF_CLIP_L = 768


def _bare(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """CLIP's tensors without the `text_model.` that some files put before them, and without unread ones."""
    unread = ("embeddings.position_ids", "logit_scale")
    bare = {key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}
    return {key: tensor for key, tensor in bare.items() if key not in unread}
