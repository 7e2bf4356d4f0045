# SPDX-License-Identifier: Apache-2.0
"""A model that was converted for MLX: what its manifest and its headers say. See `inglenook.wire.mlx`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.identity import Identity, Shapes, Weights
from inglenook.catalog.model import ImageDefaults, ModelKind
from inglenook.wire import mlx
from inglenook.wire.families import FAMILIES
from inglenook.wire.mlx import MANIFEST, Manifest, read_manifest

MAX_MANIFEST_BYTES = 1024 * 1024
AGAIN = "convert it again: inglenook models convert MODEL --to mlx --force"
_PARTS = {
    "sd1": ("unet", "vae", "text_encoder"),
    "sd2": ("unet", "vae", "text_encoder"),
    "sdxl": ("unet", "vae", "text_encoder", "text_encoder_2"),
}
_CHANNELS = {"": 4, "inpaint": 9}


def manifest_of(folder: Path) -> Manifest:
    """The manifest, every file that it lists there and of the size that it says.

    Raises:
        CorruptModel: it is not, or is no manifest of ours.
    """
    try:
        with (folder / MANIFEST).open("rb") as file:
            manifest = read_manifest(file.read(MAX_MANIFEST_BYTES))
    except ValueError as error:
        raise CorruptModel(f"{MANIFEST} cannot be understood: {error}.", hint=AGAIN) from None
    for name, facts in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
        except FileNotFoundError:
            raise CorruptModel(f"{name} is missing.", hint=AGAIN) from None
        if size != facts.size_bytes:
            raise CorruptModel(f"{name} has {size} bytes; the manifest says {facts.size_bytes}.", hint=AGAIN)
    absent = [part for part in _PARTS[manifest.family] if f"{part}.safetensors" not in manifest.files]
    if absent:
        raise CorruptModel(f"its manifest lists no {absent[0]}.safetensors.", hint=AGAIN)
    return manifest


def parts_of(manifest: Manifest) -> tuple[str, ...]:
    return _PARTS[manifest.family]


def identify_converted(manifest: Manifest, shapes: Mapping[str, Shapes]) -> Identity:
    """Pure. Args: shapes: by part."""
    problem = None
    variants = FAMILIES[manifest.family].variants
    if manifest.variant not in variants:
        problem = f"the family {manifest.family} has no variant {manifest.variant!r}"
    conv_in = shapes.get("unet", {}).get("conv_in.weight", ())
    channels = conv_in[-1] if len(conv_in) == 4 else 0
    wanted = _CHANNELS.get(manifest.variant, _CHANNELS[""])
    if problem is None and channels != wanted:
        problem = f"its UNet takes {channels} channels; {wanted} are needed for what its manifest says it is"
    return Identity(
        ModelKind.IMAGE,
        manifest.family,
        problem,
        variant=manifest.variant,
        shaped=manifest.variant == "inpaint",
    )


def described(weights: Weights, manifest: Manifest) -> Weights:
    """With what the manifest says of the model that it was made of."""
    return replace(
        weights, title=manifest.title, licence=manifest.licence or "", description=manifest.description
    )


def for_mlx(image: ImageDefaults) -> ImageDefaults:
    """With the schedulers that the MLX engine has of those that follow this model."""
    known = (*mlx.SCHEDULERS, *mlx.FLOW_SCHEDULERS)
    flow = "flow_match_euler" in image.schedulers
    here = mlx.FLOW_SCHEDULERS if flow else mlx.SCHEDULERS
    return replace(image, schedulers=tuple(one for one in image.schedulers if one in known and one in here))
