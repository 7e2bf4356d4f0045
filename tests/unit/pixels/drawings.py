# SPDX-License-Identifier: Apache-2.0
"""Sprites as text, one character a pixel: `.` is clear, a digit is the palette's entry."""

import numpy as np

from inglenook.pixels.regions import CLEAR, Indices


def drawn(text: str) -> Indices:
    rows = [line.strip() for line in text.strip().splitlines()]
    return np.array([[CLEAR if one == "." else int(one) for one in row] for row in rows], np.int32)


def text(indices: Indices) -> str:
    return "\n".join("".join("." if one == CLEAR else str(one) for one in row) for row in indices)
