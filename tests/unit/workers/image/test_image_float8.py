# SPDX-License-Identifier: Apache-2.0
"""Weights in 8 bits, as people share them to save half of a download."""

import json

import pytest
import torch

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.weights import in_dtype

WEIGHT = torch.tensor([[1.0, -2.0], [0.5, 4.0]]).to(torch.float8_e4m3fn)


def told(quantisation: dict[str, object]) -> torch.Tensor:
    return torch.tensor(list(json.dumps(quantisation).encode()), dtype=torch.uint8)


def test_eight_bits_without_a_scale_are_the_numbers_themselves() -> None:
    read = in_dtype({"a.weight": WEIGHT, "position_ids": torch.arange(3)}, torch.bfloat16)
    assert read["a.weight"].dtype == torch.bfloat16
    assert read["a.weight"].tolist() == [[1.0, -2.0], [0.5, 4.0]]
    assert read["position_ids"].dtype == torch.int64


@pytest.mark.parametrize("name", ["a.scale_weight", "a.weight_scale"])
@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (torch.tensor(0.5), [[0.5, -1.0], [0.25, 2.0]]),
        (torch.tensor([2.0]), [[2.0, -4.0], [1.0, 8.0]]),
        (torch.tensor([2.0, 10.0]), [[2.0, -4.0], [5.0, 40.0]]),
        (torch.tensor([[2.0], [10.0]]), [[2.0, -4.0], [5.0, 40.0]]),
    ],
)
def test_a_scale_is_multiplied_into_its_weight_and_is_gone(
    name: str, scale: torch.Tensor, expected: list[list[float]]
) -> None:
    file = {
        "a.weight": WEIGHT,
        name: scale,
        "scaled_fp8": torch.empty(0),
        "a.scale_input": torch.tensor(3.0),
        "a.comfy_quant": told({"format": "float8_e4m3fn"}),
    }
    read = in_dtype(file, torch.float32)
    assert list(read) == ["a.weight"]
    assert read["a.weight"].tolist() == expected


@pytest.mark.parametrize(
    "file",
    [
        {"a.weight": WEIGHT, "a.weight_scale": torch.ones(3)},
        {"a.weight": torch.zeros((2, 2), dtype=torch.int8), "a.weight_scale": torch.ones(1)},
        {"a.weight": WEIGHT, "a.comfy_quant": told({"format": "nvfp4"})},
    ],
)
def test_other_quantisation_is_refused_by_the_name_of_the_layer(file: dict[str, torch.Tensor]) -> None:
    with pytest.raises(LoadUnsupported, match="'a") as raised:
        in_dtype(file, torch.float32)
    assert "8-bit floats" in str(raised.value)
