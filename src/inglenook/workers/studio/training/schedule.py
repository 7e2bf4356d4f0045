# SPDX-License-Identifier: Apache-2.0
"""The learning rate of each epoch, as a pure function of the spec: nothing to save, nothing to drift."""

import math

from inglenook.wire.studio.spec import Hyperparameters

WARM_FROM = 0.1
"""Share of the full rate with which a warm-up begins."""


def factor(chosen: Hyperparameters, epoch: int) -> float:
    """The share of the full learning rate in `epoch` (from 1).

    The warm-up rises linearly from a tenth, and the epoch after it has the full rate. What follows runs
    over the epochs
    that are left, and its last step is taken in the last epoch: cosine and poly would be zero in the one
    after it. A warm-up as long as the run, or longer, is cut so that the last epoch still has the full rate.
    """
    warm = min(chosen.warmup_epochs, chosen.max_epochs - 1)
    if epoch <= warm:
        return WARM_FROM + (1 - WARM_FROM) * (epoch - 1) / warm
    return _after(chosen, epoch, epoch - warm - 1, chosen.max_epochs - warm)


def _after(chosen: Hyperparameters, epoch: int, done: int, length: int) -> float:
    """`done`: epochs after the warm-up that are over, of `length`."""
    match chosen.scheduler:
        case "cosine":
            return (1 + math.cos(math.pi * done / length)) / 2
        case "poly":
            return float((1 - done / length) ** chosen.poly_power)
        case "step":
            return float(chosen.gamma ** (done // chosen.step_size))
        case "multistep":
            return float(chosen.gamma ** sum(1 for last in milestones(chosen) if epoch > last))
        case "none":
            return 1.0


def milestones(chosen: Hyperparameters) -> tuple[int, ...]:
    """The last epochs (from 1, warm-up included) before the rate falls: those of the spec, or `step_size`
    and twice that where it has none."""
    return chosen.milestones or (chosen.step_size, 2 * chosen.step_size)
