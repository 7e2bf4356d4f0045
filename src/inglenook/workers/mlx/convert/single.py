# SPDX-License-Identifier: Apache-2.0
"""The parts of one `.safetensors` file in the layout of the first latent diffusion models.

Such a file holds tensors and no configuration. What the shapes say is read from them; the rest comes from the
image worker's `configs/<family>/`, as there.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inglenook.workers.image.errors import CONVERT_HINT, LoadCorrupt, LoadUnsupported
from inglenook.workers.image.families.clip_words import END, START, vocabulary
from inglenook.workers.image.families.ldm_scheduler import CONFIGS, GUIDANCE, UNET, scheduler_config
from inglenook.workers.mlx.build import network
from inglenook.workers.mlx.convert import ldm_names
from inglenook.workers.mlx.convert.source import Model, Part, Weight, Weights, wanted_of
from inglenook.workers.mlx.networks.layers import array_tree

VAE = "first_stage_model."
_TEXTS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "sd1": (("text_encoder", "cond_stage_model.transformer.", "openai"),),
    "sd2": (("text_encoder", "cond_stage_model.model.", "openclip"),),
    "sdxl": (
        ("text_encoder", "conditioner.embedders.0.transformer.", "openai"),
        ("text_encoder_2", "conditioner.embedders.1.model.", "openclip"),
    ),
}
_PADS = {"sd1": (END,), "sd2": ("!",), "sdxl": (END, "!")}
_PICKLES = (b"PK\x03\x04", b"\x80")
_SD2_LAYERS_LEFT_OUT = 1
"""Stable Diffusion 2 reads the states before the last layer."""


def read_single(path: Path, family: str, variant: str) -> Model:
    """Raises `LoadCorrupt`, `LoadUnsupported`."""
    _refuse_pickle(path)
    file = Weights(path)
    for prefix, what in ((UNET, "UNet"), (VAE, "VAE"), *((one[1], "text encoder") for one in _TEXTS[family])):
        if not file.has(prefix):
            raise LoadUnsupported(
                f"{path.name} holds no {what} of the family {family}: no tensor begins with {prefix!r}.",
                hint="a checkpoint with all parts is needed, or a diffusers folder",
            )
    texts = [_text(file, family, *one) for one in _TEXTS[family]]
    words, merges = vocabulary()
    plain = {"vocabulary": words, "merges": merges, "start": START, "end": END, "length": 77}
    return Model(
        parts=(_unet(file, family), _vae(file, family), *texts),
        tokenizers={
            name.replace("text_encoder", "tokenizer"): {**plain, "pad": pad}
            for (name, _, _), pad in zip(_TEXTS[family], _PADS[family], strict=True)
        },
        scheduler=scheduler_config(file, family, variant),
    )


def _refuse_pickle(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise LoadCorrupt(f"{path.name} cannot be read: {error.strerror}.") from error
    if head.startswith(_PICKLES[0]) or (head[:1] == _PICKLES[1] and head[8:9] != b"{"):
        raise LoadUnsupported(f"{path.name} is a pickle, not a safetensors file.", hint=CONVERT_HINT)


def _told(family: str, part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CONFIGS / family / part / "config.json").read_text("utf-8"))
    return found


def _count(file: Weights, pattern: str) -> int:
    """One more than the highest number that `pattern` finds at the start of a tensor's name."""
    compiled = re.compile(pattern)
    found = (compiled.match(key) for key in file.shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _unet(file: Weights, family: str) -> Part:
    config = {**_told(family, "unet"), **_unet_settings(file, family)}
    built = network("unet", config)
    plan = built.plan
    places = ldm_names.unet_places(plan.layers, plan.down, plan.up)
    found = {}
    for key in file.shapes:
        if key.startswith(UNET):
            name = ldm_names.unet_name(key.removeprefix(UNET), places)
            if name is not None:
                linear = plan.linear and ".attentions." in name
                found[name] = file.weight(key, linear=linear)
    return Part("unet", config, wanted_of("unet", array_tree(built), found))


def _unet_settings(file: Weights, family: str) -> dict[str, Any]:
    levels = _levels(file)
    widths = [file.shape(f"{UNET}input_blocks.{blocks[0]}.0.in_layers.2.weight")[0] for blocks in levels]
    deep = r"{}{}\.1\.transformer_blocks\.(\d+)\."
    depths = [_count(file, deep.format(re.escape(UNET), rf"input_blocks\.{b[0]}")) for b in levels]
    middle = _count(file, deep.format(re.escape(UNET), "middle_block"))
    if (depths[-1] or middle) != middle:
        raise LoadUnsupported(
            f"The UNet in {file.path.name} has {middle} layers of attention in the middle, "
            f"{depths[-1]} above.",
            hint="such distilled models are converted from a diffusers folder only",
        )
    reading = next((b[0] for b, depth in zip(levels, depths, strict=True) if depth), None)
    if reading is None:
        raise LoadUnsupported(f"The UNet in {file.path.name} has no block that reads a text.")
    first = f"{UNET}input_blocks.{reading}.1."
    told = {} if GUIDANCE not in file.shapes else {"time_cond_proj_dim": file.shape(GUIDANCE)[1]}
    return {
        "in_channels": file.shape(f"{UNET}input_blocks.0.0.weight")[1],
        "out_channels": file.shape(f"{UNET}out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": [len(blocks) for blocks in levels],
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [max(1, depth) for depth in depths[:-1]] + [max(1, middle)],
        "cross_attention_dim": file.shape(f"{first}transformer_blocks.0.attn2.to_k.weight")[1],
        "attention_head_dim": [8 if family == "sd1" else max(1, width // 64) for width in widths],
        "use_linear_projection": len(file.shape(f"{first}proj_in.weight")) == 2,
        **_trained_on(file),
        **told,
        **_sizes(file, family),
    }


def _trained_on(file: Weights) -> dict[str, int]:
    """The side of the pictures that it was trained on, in latents, where its metadata say."""
    told = re.fullmatch(r"(\d{3,4})x(\d{3,4})", file.metadata.get("modelspec.resolution", ""))
    return {"sample_size": int(told[1]) // 8} if told and told[1] == told[2] else {}


def _sizes(file: Weights, family: str) -> dict[str, Any]:
    if family == "sdxl":
        added = file.shape(f"{UNET}label_emb.0.0.weight")[1]
        pooled = file.shape("conditioner.embedders.1.model.text_projection")[1]
        return {
            "projection_class_embeddings_input_dim": added,
            "addition_time_embed_dim": (added - pooled) // 6,
        }
    if file.has(f"{UNET}label_emb."):
        raise LoadUnsupported(
            f"The UNet in {file.path.name} takes a further input that the family {family} has not."
        )
    return {}


def _levels(file: Weights) -> list[list[int]]:
    """Numbers of the input blocks that hold residual layers, one list a resolution."""
    levels: list[list[int]] = [[]]
    for block in range(1, _count(file, rf"{re.escape(UNET)}input_blocks\.(\d+)\.")):
        if f"{UNET}input_blocks.{block}.0.op.weight" in file.shapes:
            levels.append([])
        else:
            levels[-1].append(block)
    if not all(levels):
        raise LoadUnsupported(
            f"The UNet in {file.path.name} is not built in resolutions with residual layers."
        )
    return levels


def _vae(file: Weights, family: str) -> Part:
    levels = _count(file, rf"{re.escape(VAE)}encoder\.down\.(\d+)\.")
    widths = [file.shape(f"{VAE}encoder.down.{level}.block.0.conv2.weight")[0] for level in range(levels)]
    config = {
        **_told(family, "vae"),
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": _count(file, rf"{re.escape(VAE)}encoder\.down\.0\.block\.(\d+)\."),
        "latent_channels": file.shape(f"{VAE}decoder.conv_in.weight")[1],
    }
    found = {}
    for key in file.shapes:
        name = ldm_names.vae_name(key.removeprefix(VAE), levels) if key.startswith(VAE) else None
        if name is not None:
            found[name] = file.weight(key, linear=".attentions.0.to_" in name)
    names = array_tree(network("vae", config))
    return Part("vae", config, wanted_of("vae", names, found), full=bool(config.get("force_upcast")))


def _text(file: Weights, family: str, part: str, prefix: str, kind: str) -> Part:
    left_out = _SD2_LAYERS_LEFT_OUT if family == "sd2" else 0
    found = _openai(file, prefix) if kind == "openai" else _openclip(file, prefix)
    projected = part == "text_encoder_2"
    config = {**_told(family, part), **_text_settings(file, found, left_out), "projected": projected}
    return Part(part, config, wanted_of(part, array_tree(network(part, config)), found))


def _openai(file: Weights, prefix: str) -> dict[str, Weight]:
    keys = (key for key in file.shapes if key.startswith(prefix))
    return {key.removeprefix(prefix).removeprefix("text_model."): file.weight(key) for key in keys}


def _openclip(file: Weights, prefix: str) -> dict[str, Weight]:
    found: dict[str, Weight] = {}
    for key in (key for key in file.shapes if key.startswith(prefix)):
        own = key.removeprefix(prefix)
        name, joint = ldm_names.openclip_name(own), ldm_names.openclip_joint(own)
        if name is not None:
            found[name] = file.weight(key)
        elif joint is not None:
            found |= _taken_apart(file, key, *joint)
        elif own == "text_projection":
            found["text_projection.weight"] = _transposed(file, key)
    return found


def _taken_apart(file: Weights, key: str, place: str, kind: str) -> dict[str, Weight]:
    """Query, key and value, which lie in one matrix."""
    rows, *rest = file.shapes[key]
    third = rows // 3

    def rows_of(number: int) -> Weight:
        return Weight((third, *rest), lambda: file.read(key)[number * third : (number + 1) * third])

    return {f"{place}.{name}.{kind}": rows_of(n) for n, name in enumerate(("q_proj", "k_proj", "v_proj"))}


def _transposed(file: Weights, key: str) -> Weight:
    rows, columns = file.shapes[key]
    return Weight((columns, rows), lambda: file.read(key).T)


def _text_settings(file: Weights, found: Mapping[str, Weight], left_out: int) -> dict[str, Any]:
    try:
        rows, width = found["embeddings.token_embedding.weight"].shape
        positions = found["embeddings.position_embedding.weight"].shape[0]
        inner = found["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise LoadCorrupt(
            f"The text encoder in {file.path.name} lacks the tensor {error.args[0]!r}."
        ) from None
    if rows != len(vocabulary()[0]):
        raise LoadUnsupported(
            f"The text encoder knows {rows} tokens; CLIP's vocabulary has {len(vocabulary()[0])}.",
            hint="a diffusers folder brings its own tokenizer",
        )
    layers = 1 + max(int(n) for key in found for n in re.findall(r"^encoder\.layers\.(\d+)\.", key))
    settings = {
        "vocab_size": rows,
        "hidden_size": width,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "num_hidden_layers": layers - left_out,
        "num_attention_heads": max(1, width // 64),
    }
    if "text_projection.weight" in found:
        settings["projection_dim"] = found["text_projection.weight"].shape[0]
    return settings
