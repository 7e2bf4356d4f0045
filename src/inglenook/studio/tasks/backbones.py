# SPDX-License-Identifier: Apache-2.0
"""The networks that can be chosen, with what training them keeps of each picture. Pure."""

from collections.abc import Mapping
from typing import Final

from inglenook.studio.tasks.model import Backbone
from inglenook.wire.studio.backbones import BACKBONES as FACTS

SAVED_M: Final[Mapping[str, float]] = {
    "small_cnn": 0.061,
    "resnet_tiny": 0.151,
    "resnet18": 5.55,
    "resnet34": 8.06,
    "resnet50": 21.50,
    "efficientnet_lite0": 19.89,
    "efficientnet_b0": 22.07,
    "efficientnet_b3": 76.52,
    "mobilenet_v3_small": 4.05,
    "mobilenet_v3_large": 11.04,
    "convnext_tiny": 27.29,
    "vit_tiny_patch16_224": 7.51,
    "vit_small_patch16_224": 14.85,
    "dinov2_small": 21.70,
    "dinov2_base": 43.23,
    "dinov3_small": 19.72,
    "dinov3_base": 39.26,
    "dinov3_convnext_tiny": 27.29,
}
"""Millions of values that training keeps of a picture of the network's own size until the backward pass.
Measured with `torch.autograd.graph.saved_tensors_hooks` (PyTorch 2.14, float32, each storage once)."""

BACKBONES: Final[tuple[Backbone, ...]] = tuple(
    Backbone(
        name=facts.name,
        title=facts.title,
        family=facts.family,
        parameters_m=facts.parameters_m,
        input_px=facts.input_px,
        saved_m=SAVED_M[facts.name],
        multiple_px=facts.multiple_px,
        least_px=facts.least_px,
        licence=facts.licence,
    )
    for facts in FACTS.values()
)
