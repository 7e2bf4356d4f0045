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


def test_a_part_that_is_kept_at_home_never_moves_and_does_not_count() -> None:
    parts = Parts({"unet": Part(10), "vae": Part(4)}, FarDevice())
    parts.keep_at_home("vae")
    for sparing in (False, True):
        parts.place(only_the_working=sparing)
        parts.use("unet")
        parts.use("vae")
        assert where(parts) == {"unet": "meta", "vae": "cpu"}
        assert parts.device_bytes == 10 * 4


@pytest.mark.parametrize("sparing", [False, True])
def test_an_exchanged_part_goes_home_and_the_new_one_works_where_it_did(sparing: bool) -> None:
    own, other = Part(4), Part(6)
    parts = Parts({"unet": Part(10), "vae": own}, FarDevice())
    parts.place(only_the_working=sparing)
    parts.use("vae")
    parts.exchange("vae", other)
    assert parts.use("vae") is other
    assert (own.where, other.where) == ("cpu", "meta")
    parts.exchange("vae", own)
    assert parts.use("vae") is own
    assert (own.where, other.where) == ("meta", "cpu")


def test_the_old_part_is_back_when_there_is_no_room_for_the_new_one() -> None:
    own, large = Part(4), Part(600, full=1)
    parts = Parts({"unet": Part(10), "vae": own}, FarDevice())
    parts.place(only_the_working=False)
    with pytest.raises(torch.OutOfMemoryError):
        parts.exchange("vae", large)
    assert parts.use("vae") is own
    assert (own.where, large.where) == ("meta", "cpu")
