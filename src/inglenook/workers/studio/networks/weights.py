# SPDX-License-Identifier: Apache-2.0
"""First weights that somebody has trained: from a file, a package, or the hub, whence the server has
fetched them; always said which. Nothing is fetched here.

A file is safetensors, or torch's own format read with `weights_only=True`: nothing in a file is ever run.
"""

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from inglenook.wire.studio.backbones import BackboneFacts
from inglenook.wire.studio.spec import ModelSpec
from inglenook.wire.studio.weights import (
    SUFFIXES,
    TORCHVISION,
    address_of,
    fetched_files,
    packaged_weights,
    weight_files,
)
from inglenook.workers.studio.errors import NoWeights, why_unread

HEADS = ("fc.", "classifier.", "head.", "head_dist.", "_fc.", "mask_token", "conv_head_classifier.")
"""What a file may have that a network without its head has not."""


@dataclass(frozen=True, slots=True)
class Origin:
    """`said`: where the first weights are from, for people. `missing`: why they are random although trained
    ones would have been taken; empty otherwise."""

    said: str
    pretrained: bool
    missing: str = ""


LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

RANDOM = Origin("random", False)


def load_first_weights(
    backbone: nn.Module, facts: BackboneFacts, spec: ModelSpec, *, models: Sequence[Path]
) -> Origin:
    """Put trained weights into `backbone`, as `spec.weights` says. With `pretrained` `auto` it stays random
    where none are at hand, and `missing` says where was looked; a file that was named must be there.

    Raises:
        NoWeights: there are none and they were asked for, or those that are there do not fit.
    """
    if not spec.pretrained:
        return RANDOM
    tried = []
    if spec.weights not in {"hub", "package"}:
        for path in weight_files(facts, spec.weights, models):
            tensors = read_tensors(path)
            put_in(backbone, facts, tensors, path.name)
            return Origin(f"file {path.name} (sha256 {_sha256(path)[:16]})", True)
        where = ", ".join(str(folder) for folder in models) or "no folder"
        tried.append(
            f"no file {facts.name}{{{','.join(SUFFIXES)}}} in {where}"
            if spec.weights == "auto"
            else spec.weights
        )
    if spec.weights in {"package", "auto"}:
        packed = _in_package(facts)
        if packed is not None:
            put_in(backbone, facts, _of_lite0(read_tensors(packed), backbone), packed.name)
            return Origin(f"package {facts.package} (sha256 {_sha256(packed)[:16]}, {facts.licence})", True)
        tried.append(f"no package {facts.package}" if facts.package else "no package carries them")
    if spec.weights in {"hub", "auto"}:
        for path in fetched_files(facts, models):
            put_in(backbone, facts, read_tensors(path), path.name)
            return Origin(f"hub {facts.hub or TORCHVISION} (sha256 {_sha256(path)[:16]})", True)
        address = address_of(facts)
        tried.append(f"nothing was fetched from {address}" if address else "nobody offers any")
    if spec.pretrained == "auto" and spec.weights in {"auto", "hub", "package"}:
        return Origin(
            RANDOM.said, False, f"No trained weights for {facts.title} are at hand ({'; '.join(tried)})"
        )
    raise NoWeights(
        f"Trained weights for {facts.title} were asked for and not found: {'; '.join(tried)}.",
        hint=f"put {facts.name}.safetensors into the models folder, let the server fetch them"
        " (studio.weights_hub), or train from scratch (model.pretrained: false; auto takes what is there)",
    )


def put_in(backbone: nn.Module, facts: BackboneFacts, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Every value of the backbone comes from `tensors`; what belongs to a head is left out. Raises
    `NoWeights`."""
    own = backbone.state_dict()
    given = {_plain(key): value for key, value in tensors.items()}
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    strange = [key for key in given if key not in own and not key.startswith(HEADS)]
    if missing or strange:
        example = (missing or strange)[0]
        raise NoWeights(
            f"{name} does not hold the weights of {facts.title}: {len(missing)} are missing and"
            f" {len(strange)} are not of it, e.g. {example}."
        )
    shaped = {key: _resized(backbone, key, given[key], own[key]) for key in own if key in given}
    wrong = [key for key, value in shaped.items() if value.shape != own[key].shape]
    if wrong:
        key = wrong[0]
        raise NoWeights(
            f"{name}: {key} is {tuple(shaped[key].shape)}, and {facts.title} has {tuple(own[key].shape)}."
        )
    backbone.load_state_dict(shaped, strict=False)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file. Raises `NoWeights` when it cannot be read, or holds anything but tensors."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise NoWeights(f"{path.name} cannot be read as weights: {why_unread(error)}.") from error
    for inner in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(inner), dict):
            found = found[inner]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise NoWeights(f"{path.name} holds something else than tensors by name.")
    return found


def _in_package(facts: BackboneFacts) -> Path | None:
    """The file of weights in an installed package, which is not imported. Raises `NoWeights` when it is
    another file than the one that was looked at when this was written."""
    path = packaged_weights(facts)
    if path is not None and _sha256(path) != LITE0_SHA256:
        raise NoWeights(f"{path.name} of {facts.package} is another file than the one that is known.")
    return path


def _of_lite0(tensors: Mapping[str, torch.Tensor], backbone: nn.Module) -> dict[str, torch.Tensor]:
    """EfficientNet-PyTorch's names to timm's: both list the same layers in the same order, so they pair up
    one by one (`put_in` checks each shape; a test compares with what the package's own network predicts)."""
    body = [value for key, value in tensors.items() if not key.startswith("_fc.")]
    return dict(zip(backbone.state_dict(), body, strict=True))


def _plain(key: str) -> str:
    for prefix in ("module.", "backbone."):
        key = key.removeprefix(prefix)
    return key


def _resized(backbone: nn.Module, key: str, given: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Positions of a transformer for another size of picture are interpolated."""
    if key != "pos_embed" or given.shape == own.shape:
        return given
    from timm.layers import resample_abs_pos_embed

    prefix = (
        int(getattr(backbone, "num_prefix_tokens", 1))
        if not getattr(backbone, "no_embed_class", False)
        else 0
    )
    return resample_abs_pos_embed(given, list(backbone.patch_embed.grid_size), num_prefix_tokens=prefix)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
