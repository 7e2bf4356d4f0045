# SPDX-License-Identifier: Apache-2.0
"""How much memory a training is expected to take, before it has been measured here. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from inglenook.base.units import MIB
from inglenook.studio.tasks.model import Backbone
from inglenook.wire.studio.spec import Step, TrainSpec

FLOAT_BYTES: Final = 4
OPTIMIZER_VALUES: Final[Mapping[str, int]] = {"adam": 2, "adamw": 2, "sgd": 1}
"""Values that the optimiser keeps of each that is trained: two moments, or the momentum (`torch.optim`)."""
MIXED_SHARE: Final = 0.6
"""What mixed precision leaves of the values kept for the backward pass: most have half the bytes, while
normalisations, soft-max and the loss stay at four (PyTorch's list of autocast operations)."""
FORWARD_SHARE: Final = 0.15
"""Of `saved_m`, what is alive at once where nothing is kept for a backward pass."""
MARGIN: Final = 1.2
"""For what the allocator cannot use, and for the work space of convolutions."""
BASE_BYTES: Final[Mapping[str, int]] = {
    "cuda": 600 * MIB,
    "rocm": 800 * MIB,
    "mps": 500 * MIB,
    "cpu": 850 * MIB,
}
"""Before anything is trained: on a GPU the driver's context with the libraries' kernels, on a CPU the process
with PyTorch imported and its first batch done (830 MiB resident, measured on Linux)."""
READER_BYTES: Final = 300 * MIB
"""A process that reads pictures beside the training; it counts where host memory is the device's."""

_SIZED: Final = ("RandomResizedCrop", "CenterCrop", "RandomCrop", "Resize")


def side_px(steps: tuple[Step, ...], otherwise: int) -> int:
    """The longer side of what the network gets: what the last step that sets a size makes of it."""
    for step in reversed(steps):
        if step.name in _SIZED and "size" in step.params:
            found = _longest(step.params["size"])
            if found is not None:
                return found
    return otherwise


def _longest(size: Any) -> int | None:
    sides = size if isinstance(size, list | tuple) else [size]
    whole = [int(side) for side in sides if isinstance(side, int | float) and not isinstance(side, bool)]
    return max(whole, default=None)


def estimate(spec: TrainSpec, backbone: Backbone, *, side: int) -> dict[str, int]:
    """Bytes by kind of device.

    weights + gradients and the optimiser's values of what is trained + the averaged weights of EMA
    + batch size × (what the backward pass needs of a picture + the picture itself), with a margin, on top of
    what the process takes. What a picture needs grows with its area (convolutions and patches alike).
    """
    hyper, model = spec.hyperparameters, spec.model
    weights = backbone.parameters_m * 1e6 * FLOAT_BYTES
    frozen = model.freeze_backbone and model.pretrained != "auto"  # `auto`: without weights it learns
    learns = not frozen or model.unfreeze_epoch is not None
    trained = weights if learns else 0.0
    kept = weights * (2 if hyper.ema_decay else 1) + trained * (1 + OPTIMIZER_VALUES[hyper.optimizer])
    saved = backbone.saved_m * 1e6 * FLOAT_BYTES * (side / backbone.input_px) ** 2
    share = 1.0 if learns else FORWARD_SHARE
    if spec.hardware.precision != "32":
        share *= MIXED_SHARE
    picture = 3 * side * side * FLOAT_BYTES
    batch = hyper.batch_size * (saved * share + 2 * picture)
    readers = {"cpu": spec.hardware.workers * READER_BYTES}
    return {
        kind: int(base + readers.get(kind, 0) + MARGIN * (kept + batch)) for kind, base in BASE_BYTES.items()
    }


def form(spec: TrainSpec, *, side: int) -> str:
    """What learned footprints are told apart by, beside the network; at most 16 characters."""
    hyper = spec.hyperparameters
    frozen = spec.model.freeze_backbone and spec.model.unfreeze_epoch is None
    letters = {"32": "f", "16-mixed": "h", "bf16-mixed": "b"}[spec.hardware.precision]
    still = ("v" if spec.model.pretrained == "auto" else "z") if frozen else ""  # `auto` may not freeze it
    letters += hyper.optimizer[0] + still + ("e" if hyper.ema_decay else "")
    return f"{hyper.batch_size}x{min(side, 9999)}{letters}"
