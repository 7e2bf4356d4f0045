# SPDX-License-Identifier: Apache-2.0
"""Which weight of a file in the layout of the first latent diffusion models is which of diffusers. Pure."""

import re
from collections.abc import Mapping, Sequence

RESIDUAL: Mapping[str, str] = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
TOP: Mapping[str, str] = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "time_embed.cond_proj": "time_embedding.cond_proj",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def unet_places(layers: Sequence[int], down: Sequence[bool], up: Sequence[bool]) -> dict[str, str]:
    """Blocks by their number → where diffusers keeps them.

    Args:
        layers: residual blocks at each resolution, downwards. down, up: whether attention follows each.
    """
    places = {"middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0"}
    places["middle_block.2"] = "mid_block.resnets.1"
    number, levels = 1, len(layers)
    for level in range(levels):
        for layer in range(layers[level]):
            places[f"input_blocks.{number}.0"] = f"down_blocks.{level}.resnets.{layer}"
            if down[level]:
                places[f"input_blocks.{number}.1"] = f"down_blocks.{level}.attentions.{layer}"
            number += 1
        if level < levels - 1:
            places[f"input_blocks.{number}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            number += 1
    number = 0
    for level in range(levels):
        for layer in range(layers[levels - 1 - level] + 1):
            places[f"output_blocks.{number}.0"] = f"up_blocks.{level}.resnets.{layer}"
            if up[level]:
                places[f"output_blocks.{number}.1"] = f"up_blocks.{level}.attentions.{layer}"
            number += 1
        if level < levels - 1:
            place = f"output_blocks.{number - 1}.{1 + up[level]}.conv"
            places[place] = f"up_blocks.{level}.upsamplers.0.conv"
    return places


def unet_name(key: str, places: Mapping[str, str]) -> str | None:
    """The name in diffusers of a weight, without the network's prefix; None for one that is not known."""
    for old, new in TOP.items():
        if key.startswith(f"{old}."):
            return new + key[len(old) :]
    for parts in (4, 3, 2):
        place = ".".join(key.split(".")[:parts])
        if place in places:
            return _inside(places[place], key[len(place) + 1 :])
    match = re.match(r"(input_blocks|output_blocks|middle_block)((?:\.\d+)+)", key)
    place = match[0] if match else ""
    while place and place not in places:
        place = place.rpartition(".")[0]
    return _inside(places[place], key[len(place) + 1 :]) if place else None


def _inside(place: str, rest: str) -> str:
    if ".resnets." in place:
        for old, new in RESIDUAL.items():
            if rest.startswith(f"{old}."):
                return f"{place}.{new}{rest[len(old) :]}"
    return f"{place}.{rest}"


_VAE_RESIDUAL = {"nin_shortcut": "conv_shortcut"}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def vae_name(key: str, levels: int) -> str | None:
    """The same for a VAE. Args: levels: resolutions; the decoder counts them from the largest."""
    half, _, rest = key.partition(".")
    if half in ("quant_conv", "post_quant_conv"):
        return key
    if half not in ("encoder", "decoder"):
        return None
    if rest.startswith("norm_out."):
        return f"{half}.conv_{rest}"
    if rest.startswith(("conv_in.", "conv_out.")):
        return key
    middle = re.match(r"mid\.(block|attn)_([12])\.(.+)", rest)
    if middle:
        number = int(middle[2]) - 1
        if middle[1] == "attn":
            name, _, kind = middle[3].rpartition(".")
            return f"{half}.mid_block.attentions.0.{_VAE_ATTENTION.get(name, name)}.{kind}"
        return f"{half}.mid_block.resnets.{number}.{_vae_residual(middle[3])}"
    block = re.match(r"(down|up)\.(\d+)\.(?:block\.(\d+)\.(.+)|(?:down|up)sample\.(conv\..+))", rest)
    if block is None:
        return None
    level = int(block[2]) if block[1] == "down" else levels - 1 - int(block[2])
    place = f"{half}.{block[1]}_blocks.{level}"
    if block[5]:
        return f"{place}.{block[1]}samplers.0.{block[5]}"
    return f"{place}.resnets.{block[3]}.{_vae_residual(block[4])}"


def _vae_residual(rest: str) -> str:
    name, _, kind = rest.rpartition(".")
    return f"{_VAE_RESIDUAL.get(name, name)}.{kind}"


OPENCLIP_TOP: Mapping[str, str] = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_OPENCLIP_LAYER: Mapping[str, str] = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def openclip_name(key: str) -> str | None:
    """The name in transformers; None for a joint matrix and for what is not read."""
    if key in OPENCLIP_TOP:
        return OPENCLIP_TOP[key]
    layer = re.match(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)$", key)
    if layer is None or layer[2] not in _OPENCLIP_LAYER:
        return None
    return f"encoder.layers.{layer[1]}.{_OPENCLIP_LAYER[layer[2]]}.{layer[3]}"


def openclip_joint(key: str) -> tuple[str, str] | None:
    """Of a matrix that is query, key and value in one: the layer's attention, and `weight` or `bias`."""
    found = re.match(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)$", key)
    return None if found is None else (f"encoder.layers.{found[1]}.self_attn", found[2])
