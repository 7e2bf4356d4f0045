# SPDX-License-Identifier: Apache-2.0
"""Pixel art that is pixel art: an exact grid, a palette, hard alpha. NumPy functions without any state.

Pictures are `uint8` arrays of shape (height, width, 4), sRGB with straight alpha, unless a docstring says
otherwise. The same input and the same recipe give the same bytes, everywhere and always.
"""
