# SPDX-License-Identifier: Apache-2.0
"""Two small networks for small pictures, which train on a processor in seconds."""

import torch
from torch import nn


class SmallCnn(nn.Sequential):
    """Three convolutions, each halving the side after the first; (N, 3, H, W) to (N, 64)."""

    features = 64

    def __init__(self) -> None:
        super().__init__(
            *_convolution(3, 16), *_convolution(16, 32, stride=2), *_convolution(32, 64, stride=2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


class ResnetTiny(nn.Sequential):
    """Three residual blocks, 16, 32 and 64 wide (He et al., 2015); (N, 3, H, W) to (N, 64)."""

    features = 64

    def __init__(self) -> None:
        super().__init__(
            *_convolution(3, 16), _Residual(16, 16), _Residual(16, 32, stride=2), _Residual(32, 64, stride=2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


class _Residual(nn.Module):
    def __init__(self, inside: int, outside: int, *, stride: int = 1) -> None:
        super().__init__()
        self.straight = nn.Sequential(
            *_convolution(inside, outside, stride=stride),
            nn.Conv2d(outside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
        )
        same = stride == 1 and inside == outside
        self.around = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.straight(x) + self.around(x))


def _convolution(inside: int, outside: int, *, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )
