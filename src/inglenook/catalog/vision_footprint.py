# SPDX-License-Identifier: Apache-2.0
"""How much memory a vision model will need, before anybody has measured it. Pure.

Measured once (onnxruntime 1.32, CPU, one thread, 224 x 224 pixels), growth in MiB of a process that had the
library imported:

    file                     loaded   at most while loading   with 1 picture   with 16
    ResNet-18, 44 MiB        129      142                     135              245
    EfficientNet-B0, 20 MiB   53       58                      77              427
    ConvNeXt-T, 109 MiB      141      215                     162              647

so three times the file, and up to 600 bytes a pixel and picture. On a GPU nothing was measured: the driver's
context and libraries on top of the same. The scheduler prefers what it learns.
"""

from collections.abc import Mapping
from typing import Final

from inglenook.base.units import GIB, MIB
from inglenook.catalog.model import ModelRecord

RUNTIME_BYTES: Final = 64 * MIB
COPIES: Final = 3
CUDA_BYTES: Final = GIB
PIXEL_BYTES: Final = 600
USUAL_PX: Final = 224


def vision_footprint(record: ModelRecord, batch: int) -> Mapping[str, int]:
    """Bytes by kind of device. `batch`: pictures at a time."""
    assert record.vision is not None
    height, width = record.vision.height or USUAL_PX, record.vision.width or USUAL_PX
    needed = record.weights_bytes * COPIES + height * width * PIXEL_BYTES * batch
    return {"cpu": RUNTIME_BYTES + needed, "cuda": CUDA_BYTES + needed}
