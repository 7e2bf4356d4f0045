# SPDX-License-Identifier: Apache-2.0
"""Normal noise as torch's CPU generator gives it for the same seed, without torch: a seed stands for one
picture, whichever engine draws it.

Both are the Mersenne Twister (Matsumoto & Nishimura 1998), begun with the lower 32 bits of the seed, and Box
and Muller's transform (1958). Sixteen numbers and more are made from 24 random bits each, sixteen at a time:
the first eight are radii, the others angles. Fewer come one after the other, in double precision, and the
second of each pair is kept for the next. Torch's vectorised kernels round the last digit otherwise here and
there.
"""

import math
from collections.abc import Sequence

import numpy as np

_TOGETHER = 16
_HALF = 8


class Noise:
    """All random numbers of one picture, in their order."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.RandomState(seed & 0xFFFFFFFF)
        self._kept: float | None = None

    def normal(self, shape: Sequence[int]) -> np.ndarray:
        """float32, mean 0 and standard deviation 1."""
        count = math.prod(shape)
        flat = self._many(count) if count >= _TOGETHER else self._few(count)
        return flat.reshape(tuple(shape))

    def _many(self, count: int) -> np.ndarray:
        uniform = self._uniform(count)
        whole = count - count % _TOGETHER
        made = np.empty(count, np.float32)
        made[:whole] = _box_muller(uniform[:whole].reshape(-1, _TOGETHER)).reshape(-1)
        if whole != count:  # the last sixteen are made anew, over some that were there
            made[-_TOGETHER:] = _box_muller(self._uniform(_TOGETHER)[None]).reshape(-1)
        return made

    def _uniform(self, count: int) -> np.ndarray:
        """float32 in [0, 1)."""
        return (self._bits(count) & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)

    def _bits(self, count: int) -> np.ndarray:
        return self._random.randint(0, 2**32, size=count, dtype=np.uint32)

    def _few(self, count: int) -> np.ndarray:
        return np.array([self._one() for _ in range(count)], np.float32)

    def _one(self) -> float:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept
        angle, radius = self._double(), self._double()
        length = math.sqrt(-2.0 * math.log1p(-radius))
        self._kept = length * math.sin(2.0 * math.pi * angle)
        return length * math.cos(2.0 * math.pi * angle)

    def _double(self) -> float:
        """In [0, 1), of 53 bits."""
        high, low = (int(bits) for bits in self._bits(2))
        return float((high << 32 | low) & (2**53 - 1)) * 2.0**-53


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    """float32 (n, 16) in [0, 1) → the same shape, normal."""
    radius = np.sqrt(np.float32(-2.0) * np.log(np.float32(1.0) - uniform[:, :_HALF]))
    angle = np.float32(2.0 * math.pi) * uniform[:, _HALF:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
