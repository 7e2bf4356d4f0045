# SPDX-License-Identifier: Apache-2.0
"""AMD profiles: the environment of a child, by the setting and by the device."""

from dataclasses import replace

import pytest

from inglenook.base.ids import DeviceId
from inglenook.runtime import amd
from inglenook.runtime.contracts import Device

GPU = Device(DeviceId("rocm:0"), "rocm", "Radeon 780M", 10, 10, 0, "gfx1103")


@pytest.mark.parametrize(
    ("setting", "arch", "profile"),
    [
        ("auto", "gfx1103", "gfx1103"),
        ("auto", "gfx1102", "gfx1102"),
        ("auto", "gfx1100", None),
        ("auto", None, None),
        ("gfx1102", None, "gfx1102"),
        ("gfx1102", "gfx1103", "gfx1102"),
        ("none", "gfx1103", None),
    ],
)
def test_a_profile_is_named_or_found_by_the_architecture(
    setting: str, arch: str | None, profile: str | None
) -> None:
    environment = amd.environment(setting, replace(GPU, arch=arch))
    assert environment.get("INGLENOOK_AMD_PROFILE") == profile
    assert bool(environment) == (profile is not None)


@pytest.mark.parametrize("kind", ["cuda", "cpu", "mps"])
def test_no_other_device_gets_one_even_when_it_is_named(kind: str) -> None:
    assert amd.environment("gfx1103", replace(GPU, kind=kind)) == {}  # type: ignore[arg-type]
