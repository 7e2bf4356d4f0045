# SPDX-License-Identifier: Apache-2.0
"""A name to a network without its head: (N, 3, H, W) to (N, features)."""

import difflib
from collections.abc import Callable

from torch import nn

from inglenook.wire.studio.backbones import BACKBONES, BackboneFacts, find_backbone
from inglenook.workers.studio.errors import BadAugmentation, UnknownModel
from inglenook.workers.studio.networks.small import ResnetTiny, SmallCnn

OURS: dict[str, Callable[[], nn.Module]] = {"small_cnn": SmallCnn, "resnet_tiny": ResnetTiny}


def facts_of(name: str) -> BackboneFacts:
    """Raises `UnknownModel`."""
    facts = find_backbone(name)
    if facts is None:
        near = difflib.get_close_matches(name, BACKBONES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(BACKBONES)}"
        raise UnknownModel(f"There is no backbone {name!r}.", hint=hint)
    return facts


def build_backbone(facts: BackboneFacts, side_px: tuple[int, int]) -> nn.Module:
    """With random weights. `side_px`: height and width of the pictures it will see, checked here."""
    check_side(facts, side_px)
    if facts.library == "ours":
        return OURS[facts.built_as]()
    if facts.library == "torchvision":
        return _of_torchvision(facts.built_as)
    import timm

    sized = {} if facts.multiple_px == 1 else {"img_size": side_px, "dynamic_img_size": False}
    if facts.built_as.endswith("dinov3"):
        sized = {"img_size": side_px}  # its positions are rotations, whatever the size
    backbone: nn.Module = timm.create_model(facts.built_as, pretrained=False, num_classes=0, **sized)
    return backbone


def check_side(facts: BackboneFacts, side_px: tuple[int, int]) -> None:
    """Raises `BadAugmentation` when the backbone cannot look at such pictures."""
    height, width = side_px
    if min(side_px) < facts.least_px:
        raise BadAugmentation(
            f"{facts.title} sees nothing in pictures of {width} x {height}: it needs {facts.least_px} pixels"
            " at least.",
            hint="raise the size in Resize, or take small_cnn",
        )
    if height % facts.multiple_px or width % facts.multiple_px:
        raise BadAugmentation(
            f"{facts.title} cuts pictures into pieces of {facts.multiple_px} pixels, and {width} x {height}"
            " is no multiple of that.",
            hint=f"resize to {facts.input_px} x {facts.input_px}",
        )


def _of_torchvision(name: str) -> nn.Module:
    from torchvision import models

    network: nn.Module = models.get_model(name, weights=None)
    setattr(network, "fc" if name.startswith("resnet") else "classifier", nn.Identity())
    return network
