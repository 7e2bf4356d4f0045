# SPDX-License-Identifier: Apache-2.0
"""A VAE on its own: a folder of diffusers, or one file in the names of the first latent diffusion models or
of diffusers, with or without a prefix; a tiny autoencoder too."""

from pathlib import Path

import torch
from diffusers import AutoencoderTiny

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families import components
from inglenook.workers.image.families import folder as parts_of
from inglenook.workers.image.families.held import Held, empty, filled, held_in
from inglenook.workers.image.weights import Checkpoint, check_folder

_PREFIXES = ("first_stage_model.", "vae.", "")
_MARK = "decoder.conv_in.weight"
_TINY_MARK = "decoder.layers.0.weight"


def read(place: Path, family: str, dtype: torch.dtype) -> torch.nn.Module:
    """Args:
    place: a file, a folder of a VAE, or a folder of a whole model that has one in `vae`.
    family: whose scale a file without a configuration has.

    Raises `LoadCorrupt`, `LoadUnsupported`.
    """
    if place.is_dir():
        part = place / "vae" if (place / "vae").is_dir() else place
        check_folder(part.parent, (part.name,))
        return parts_of.read_part(part.parent, part.name, parts_of.VAE_CLASSES, dtype)
    file = Checkpoint(place)
    whole = held_in(file, _PREFIXES, _MARK)
    if whole is not None:
        return components.read_vae(whole, family, dtype)
    tiny = held_in(file, _PREFIXES, _TINY_MARK)
    if tiny is not None:
        return _tiny(tiny, dtype)
    raise LoadUnsupported(
        f"{place.name} holds no VAE that is known here: no tensor is called {_MARK!r} or {_TINY_MARK!r}, "
        f"with or without {' or '.join(repr(prefix) for prefix in _PREFIXES if prefix)} before it."
    )


def _tiny(held: Held, dtype: torch.dtype) -> torch.nn.Module:
    """The tiny autoencoder works on scaled latents of any family; its widths are the same at every level."""
    width, channels = held.shape(_TINY_MARK)[:2]
    config = {
        "latent_channels": channels,
        "encoder_block_out_channels": (width,) * 4,
        "decoder_block_out_channels": (width,) * 4,
    }
    model = empty(AutoencoderTiny.from_config, config, "vae")
    return filled(model, held.tensors(dtype), "vae", held.file.path.name)
