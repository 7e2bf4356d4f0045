# SPDX-License-Identifier: Apache-2.0
"""Muon: momentum whose update is made (nearly) orthogonal, for matrices and convolutions.

- The orthogonalisation is Newton-Schulz with the usual quintic coefficients.
- It runs in Gram space: X X^T is small where X is wide, as flattened convolutions are, and every iterate of X
  is a polynomial of X X^T times X. So three steps cost two wide products in all, not two a step.
- Equal shapes are batched: one call for all 96 x 864 convolutions instead of ten.
- The update is scaled so that its RMS resembles AdamW's, hence one learning rate scale for both.
"""

from collections.abc import Iterable

import torch

A, B, C = (
    3.4445,
    -4.7750,
    2.0315,
)  # Newton-Schulz coefficients tuned for speed, from Muon's author, Keller Jordan
STEPS = 3


def orthogonalise(matrices: torch.Tensor, steps: int = STEPS) -> torch.Tensor:
    """(K, m, n) with m <= n -> the same shape with singular values drawn towards 1."""
    x = matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    gram = x @ x.mT  # (K, m, m)
    total = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand_as(gram)
    for _ in range(steps):
        # q is a polynomial in gram, so the two commute and the next Gram matrix is q gram q.
        q = B * gram + C * (gram @ gram)
        q.diagonal(dim1=1, dim2=2).add_(A)
        total = q @ total
        gram = q @ gram @ q
    return total @ x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised. Every parameter must have at least two dimensions."""

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[torch.nn.Parameter, torch.Tensor, bool]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter.grad)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(state["momentum"], group["momentum"])
                flat = update.reshape(update.shape[0], -1)  # a convolution: (out, in * kernel * kernel)
                tall = flat.shape[0] > flat.shape[1]
                flat = flat.mT if tall else flat
                by_shape.setdefault((flat.shape[0], flat.shape[1]), []).append((parameter, flat, tall))
            for (_, wide), items in by_shape.items():
                result = orthogonalise(torch.stack([flat.float() for _, flat, _ in items]))
                for (parameter, _, tall), update in zip(items, result, strict=True):
                    direction = (update.mT if tall else update).reshape(parameter.shape)
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction.to(parameter.dtype), alpha=-group["lr"] * 0.2 * wide**0.5)
