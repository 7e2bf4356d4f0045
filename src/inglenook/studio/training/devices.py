# SPDX-License-Identifier: Apache-2.0
"""On which devices an experiment may run, from what its form says. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from inglenook.base.ids import DeviceId
from inglenook.runtime.contracts import Device
from inglenook.studio.training.errors import NotTrainable

_ACCELERATORS: Final = ("cuda", "rocm", "mps")
"""Kinds that PyTorch computes on beside the CPU. A Vulkan device is none."""
_GPUS: Final = ("cuda", "rocm")


def allowed(selected: Iterable[str], devices: Sequence[Device]) -> tuple[DeviceId, ...]:
    """The devices in the order of preference. `auto`: every accelerator, or the CPU where there is none:
    whoever has a GPU would rather wait for it than train on the CPU for days.

    Raises:
        NotTrainable: none of those that were selected is here.
    """
    found: dict[DeviceId, None] = {}
    for word in selected:
        found.update(dict.fromkeys(device.id for device in devices if _means(word, device, devices)))
    if not found:
        here = ", ".join(device.id for device in devices) or "none"
        raise NotTrainable(
            f"None of the selected devices ({', '.join(selected)}) is on this machine.",
            code="experiment.no_device",
            hint=f"select auto; here are: {here}",
        )
    return tuple(found)


def _means(word: str, device: Device, devices: Sequence[Device]) -> bool:
    name, _, number = word.partition(":")
    match name:
        case "auto":
            accelerated = any(other.kind in _ACCELERATORS for other in devices)
            return device.kind in _ACCELERATORS if accelerated else device.kind == "cpu"
        case "cpu" | "mps":
            return device.kind == name
        case _:  # gpu, cuda
            return device.kind in _GPUS and (not number or device.index == int(number))
