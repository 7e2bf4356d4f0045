# SPDX-License-Identifier: Apache-2.0
"""Losses of classification."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from inglenook.wire.studio.spec import Hyperparameters

SMOOTHING = 0.1
"""Of `label_smoothing_cross_entropy` where a spec gives none."""


class ClassLoss(nn.Module):
    """Cross entropy, or the focal loss (Lin et al., 2017): -Σ w_c y_c (1 - p_c)^γ log p_c.

    Takes logits (N, C) and targets: int64 (N,), or shares of classes (N, C) where examples were mixed. The
    mean is taken over the weights of the targets, for both kinds, so that a weight means the same with and
    without mixing.

    Args:
        gamma: of the focal loss; None: cross entropy, which is the same as 0.
        smoothing: this share of each target is spread evenly over all classes.
        weights: float32 (C,), or None.
    """

    weights: torch.Tensor | None

    def __init__(self, *, gamma: float | None, smoothing: float, weights: torch.Tensor | None) -> None:
        super().__init__()
        self.gamma = gamma
        self.smoothing = smoothing
        self.register_buffer("weights", weights, persistent=False)

    @classmethod
    def of(cls, chosen: Hyperparameters, counts: Sequence[int]) -> "ClassLoss":
        """`counts`: examples of each class in the training part."""
        smoothing = chosen.label_smoothing
        if chosen.loss == "label_smoothing_cross_entropy" and smoothing == 0:
            smoothing = SMOOTHING
        return cls(
            gamma=chosen.focal_gamma if chosen.loss == "focal" else None,
            smoothing=smoothing,
            weights=balanced_weights(counts) if chosen.class_weights == "balanced" else None,
        )

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        if targets.ndim == 1 and self.gamma is None:
            return functional.cross_entropy(
                logits, targets, weight=self.weights, label_smoothing=self.smoothing
            )
        classes = logits.shape[1]
        shares = functional.one_hot(targets, classes).float() if targets.ndim == 1 else targets.float()
        norm = float(len(logits)) if self.weights is None else (shares * self.weights).sum()
        shares = shares * (1 - self.smoothing) + self.smoothing / classes
        log_chances = functional.log_softmax(logits, dim=1)
        terms = -shares * log_chances
        if self.gamma is not None:
            terms = terms * (1 - log_chances.exp()) ** self.gamma
        if self.weights is not None:
            terms = terms * self.weights
        return terms.sum() / norm


def balanced_weights(counts: Sequence[int]) -> torch.Tensor:
    """float32 (C,): examples / (classes that occur × examples of the class), as scikit-learn balances; 0
    for a class that does not occur."""
    present = sum(1 for count in counts if count)
    total = sum(counts)
    return torch.tensor([total / (present * count) if count else 0.0 for count in counts])
