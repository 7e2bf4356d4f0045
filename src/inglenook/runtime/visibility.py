# SPDX-License-Identifier: Apache-2.0
"""Which accelerator a child sees: its own, and no other."""

from collections.abc import Mapping
from typing import Final

from inglenook.runtime.contracts import Device

NO_CUDA: Final[Mapping[str, str]] = {"CUDA_VISIBLE_DEVICES": ""}
NONE: Final[Mapping[str, str]] = {**NO_CUDA, "HIP_VISIBLE_DEVICES": "", "GGML_VK_VISIBLE_DEVICES": ""}
"""For a program that may be built for any of them."""


def only(device: Device) -> dict[str, str]:
    """The environment in which a child sees its own device alone, numbered as the vendor's tools number it.

    Metal cannot be hidden: a child that shall not use it must be told so otherwise. PyTorch for ROCm reads
    `CUDA_VISIBLE_DEVICES` too, so that one is not set beside ROCm's own.
    """
    number = str(device.index)
    match device.kind:
        case "cuda":
            return {"CUDA_VISIBLE_DEVICES": number, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        case "rocm":
            # The lower layer hides the others and counts anew: for the upper one there is only number 0.
            return {"ROCR_VISIBLE_DEVICES": number, "HIP_VISIBLE_DEVICES": "0"}
        case "vulkan":
            return {"GGML_VK_VISIBLE_DEVICES": number}
        case "mps":
            return {}
        case "cpu":
            return dict(NO_CUDA)
