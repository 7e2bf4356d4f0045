# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a model are, on a device that only records what comes and goes."""

from typing import Any

import pytest
import torch

from inglenook.workers.image.parts import Parts


class FarDevice:
    """A device that is not the host; nothing is ever computed on it."""

    torch = torch.device("meta")

    def __init__(self) -> None:
        self.releases = 0

    def release(self) -> None:
        self.releases += 1


class Part(torch.nn.Module):
    """A module that is moved in name only. `full`: how many moves to the device fail first."""

    def __init__(self, width: int, *, full: int = 0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width))
        self.where = "cpu"
        self._full = full

    def to(self, target: Any) -> "Part":  # type: ignore[override]
        place = str(target)
        if place != "cpu" and self._full:
            self._full -= 1
            raise torch.OutOfMemoryError("full")
        self.where = place
        return self


def where(parts: Parts) -> dict[str, str]:
    return {name: module.where for name, module in parts.modules.items()}


def test_without_saving_all_parts_are_on_the_device() -> None:
    parts = Parts({"unet": Part(10), "vae": Part(4)}, FarDevice())
    parts.place(only_the_working=False)
    assert where(parts) == {"unet": "meta", "vae": "meta"}
    assert parts.device_bytes == 14 * 4
    assert parts.use("vae") is parts.modules["vae"]


def test_only_the_working_part_is_on_the_device() -> None:
    device = FarDevice()
    parts = Parts({"text": Part(2), "unet": Part(10), "vae": Part(4)}, device)
    parts.place(only_the_working=False)
    parts.place(only_the_working=True)
    assert set(where(parts).values()) == {"cpu"}
    parts.use("text")
    parts.use("unet")
    released = device.releases
    parts.use("unet")
    assert device.releases == released, "a part that is there already is not moved again"
    assert where(parts) == {"text": "cpu", "unet": "meta", "vae": "cpu"}
    assert parts.device_bytes == 10 * 4, "the largest"


def test_when_the_device_is_too_small_everything_is_taken_back() -> None:
    parts = Parts({"unet": Part(10), "vae": Part(4, full=1)}, FarDevice())
    with pytest.raises(torch.OutOfMemoryError):
        parts.place(only_the_working=False)
    assert set(where(parts).values()) == {"cpu"}


def test_a_part_that_did_not_fit_is_moved_again_at_the_next_use() -> None:
    parts = Parts({"unet": Part(10, full=1)}, FarDevice())
    parts.place(only_the_working=True)
    with pytest.raises(torch.OutOfMemoryError):
        parts.use("unet")
    assert parts.use("unet").where == "meta"
