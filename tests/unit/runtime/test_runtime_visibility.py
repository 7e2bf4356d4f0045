# SPDX-License-Identifier: Apache-2.0
"""Which accelerator a child sees."""

import pytest

from inglenook.runtime.visibility import only
from inglenook.testing.devices import fake_device


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cuda:2", {"CUDA_VISIBLE_DEVICES": "2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        ("rocm:1", {"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0"}),
        ("vulkan:3", {"GGML_VK_VISIBLE_DEVICES": "3"}),
        ("cpu", {"CUDA_VISIBLE_DEVICES": ""}),
        ("mps", {}),
    ],
)
def test_a_child_sees_its_own_device_and_no_other(device: str, expected: dict[str, str]) -> None:
    assert only(fake_device(device, 10**9)) == expected
