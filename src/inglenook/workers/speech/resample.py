# SPDX-License-Identifier: Apache-2.0
"""Any sample rate to the one that the models hear, block by block, by a windowed sinc."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from inglenook.wire.speech import SAMPLE_RATE

ZEROS = 16
"""Zero crossings of the sinc on each side."""
BLOCK = 8192
"""Outputs that are computed at once; bounds the memory of a call."""


class Resampler:
    """Feed it with `push`, in order, and end with `flush`.

    Args:
        rate: samples a second that come in, at least 1.
    """

    def __init__(self, rate: int) -> None:
        divisor = math.gcd(SAMPLE_RATE, rate)
        self._up = SAMPLE_RATE // divisor
        self._down = rate // divisor
        self._half, self._filters = _filters(rate, self._up)
        self._held = np.zeros(self._half - 1, dtype=np.float32)
        self._start = 1 - self._half  # index of the first held sample in what came in
        self._next = 0  # index of the next output
        self._came = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """float32 (n,) → float32 (about n * 16000 / rate,)."""
        if self._up == self._down:
            return samples
        self._held = np.concatenate((self._held, samples))
        self._came += len(samples)
        # The last output whose filter lies wholly within what is held.
        last = (self._came - 1 - self._half) * self._up // self._down
        return self._upto(last)

    def flush(self) -> np.ndarray:
        """The rest, as if silence followed."""
        if self._up == self._down or self._came == 0:
            return np.zeros(0, dtype=np.float32)
        self._held = np.concatenate((self._held, np.zeros(self._half + 1, dtype=np.float32)))
        return self._upto((self._came - 1) * self._up // self._down)

    def _upto(self, last: int) -> np.ndarray:
        made = []
        while self._next <= last:
            numbers = np.arange(self._next, min(last + 1, self._next + BLOCK))
            positions = numbers * self._down
            first = positions // self._up - self._half + 1 - self._start
            windows = sliding_window_view(self._held, 2 * self._half)[first]
            made.append(np.einsum("nk,nk->n", windows, self._filters[positions % self._up]))
            self._next += len(numbers)
        kept = self._next * self._down // self._up - self._half + 1
        if kept > self._start:
            self._held = self._held[kept - self._start :]
            self._start = kept
        return np.concatenate(made) if made else np.zeros(0, dtype=np.float32)


def _filters(rate: int, phases: int) -> tuple[int, np.ndarray]:
    """Half the length of the filter in samples, and one filter a phase: float32 (phases, 2 * half)."""
    cutoff = min(1.0, SAMPLE_RATE / rate) * 0.95  # a little below, so that the flank lies below half the rate
    half = math.ceil(ZEROS / cutoff)
    offsets = np.arange(1 - half, half + 1)[None, :] - np.arange(phases)[:, None] / phases
    window = 0.5 + 0.5 * np.cos(np.pi * offsets / half)
    taps = np.sinc(offsets * cutoff) * np.where(np.abs(offsets) < half, window, 0.0)
    return half, (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
