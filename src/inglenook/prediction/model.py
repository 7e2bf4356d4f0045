# SPDX-License-Identifier: Apache-2.0
"""What is asked about pictures, and what was seen in them, as values. Pure."""

from dataclasses import dataclass
from typing import Final

from inglenook.base.ids import ModelId
from inglenook.wire.vision import MAX_PICTURES, MAX_TOP

USUAL_TOP: Final = 5

__all__ = ["MAX_PICTURES", "MAX_TOP", "USUAL_TOP", "Label", "Look", "Prediction"]


@dataclass(frozen=True, slots=True)
class Label:
    """A class and its score, a probability in [0, 1]. `number` counts from 0 in the model's list."""

    number: int
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Look:
    """One picture: its size in pixels, upright, and its labels, the likeliest first."""

    width: int
    height: int
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Attributes:
    pictures: in the order in which they were sent.
    seconds: that the work took, from the lease on; computing_s of it in the network.
    waited_s: until there was a lease.
    """

    model: ModelId
    task: str
    pictures: tuple[Look, ...]
    seconds: float
    computing_s: float
    waited_s: float
