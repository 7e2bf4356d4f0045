# SPDX-License-Identifier: Apache-2.0
"""How strong the noise is at each of the training's timesteps, and at which of them a run of so many steps
asks."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Config = Mapping[str, Any]

_KARRAS_RHO = 7.0
_ALMOST_NOTHING = 2.0**-24
"""What is left of the signal where a schedule ends in noise alone, so that its ratio stays finite."""


def signals(config: Config, *, finite: bool) -> np.ndarray:
    """Share of the signal in the variance after each timestep, ᾱ of Ho et al. 2020: float32 (timesteps,).

    Args:
        finite: the last one is not quite 0 where the schedule was made to end in noise alone (Lin et al.
        2023).

    Raises ValueError for a schedule that is not known here.
    """
    kept = np.cumprod(np.float32(1) - _betas(config), dtype=np.float64).astype(np.float32)
    if config.get("rescale_betas_zero_snr"):
        root = np.sqrt(kept)
        root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        kept = np.square(root).astype(np.float32)
        if finite:
            kept[-1] = _ALMOST_NOTHING
    return kept


def _betas(config: Config) -> np.ndarray:
    count = trained(config)
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if config.get("trained_betas") is not None:
        return np.asarray(config["trained_betas"], np.float32)
    match config.get("beta_schedule", "linear"):
        case "linear":
            return _evenly(start, end, count)
        case "scaled_linear":
            return np.square(_evenly(start**0.5, end**0.5, count))
        case "squaredcos_cap_v2":
            ends = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * math.pi / 2) ** 2
            return np.minimum(1 - ends[1:] / ends[:-1], 0.999).astype(np.float32)
        case other:
            raise ValueError(f"its noise grows by {other!r}")


def _evenly(start: float, end: float, count: int) -> np.ndarray:
    """As torch lays numbers out: float32, counted from the nearer end."""
    first, last, places = np.float32(start), np.float32(end), np.arange(count, dtype=np.float32)
    step = (last - first) / np.float32(max(count - 1, 1))
    return np.where(places < count // 2, first + step * places, last - step * places[::-1]).astype(np.float32)


def trained(config: Config) -> int:
    """Timesteps of the training."""
    return int(config.get("num_train_timesteps", 1000))


def ratios(kept: np.ndarray) -> np.ndarray:
    """Noise over signal, σ of Karras et al. 2022: float32, as diffusers keeps them."""
    return np.sqrt((np.float32(1) - kept) / kept)


def spaced(config: Config, steps: int, *, default: str, whole: bool, extra: int = 0) -> np.ndarray:
    """Timesteps to ask at, the noisiest first (Lin et al. 2023, table 2): float64.

    Args:
        default: the spacing where the model does not say. whole: rounded where they are spread evenly. extra:
        so many more are laid out, and left out at the end.
    """
    count, spacing = trained(config), config.get("timestep_spacing") or default
    if spacing == "linspace":
        evenly = np.linspace(0, count - 1, steps + extra)
        return (evenly.round() if whole else evenly.astype(np.float32).astype(np.float64))[::-1][:steps]
    if spacing == "leading":
        multiples = np.arange(steps + extra) * float(count // (steps + extra))
        return multiples.round()[::-1][:steps] + config.get("steps_offset", 0)
    if spacing == "trailing":
        return np.arange(count, 0, -count / steps).round() - 1
    raise ValueError(f"its timesteps are spaced by {spacing!r}")


def karras(least: float, most: float, steps: int) -> np.ndarray:
    """More steps at low noise (Karras et al. 2022, formula 5)."""
    ramp = np.linspace(0, 1, steps)
    high, low = most ** (1 / _KARRAS_RHO), least ** (1 / _KARRAS_RHO)
    return (high + ramp * (low - high)) ** _KARRAS_RHO


def exponential(least: float, most: float, steps: int) -> np.ndarray:
    """In even ratios."""
    return np.exp(np.linspace(math.log(most), math.log(least), steps))


def curved(name: str, ends: np.ndarray, steps: int) -> np.ndarray:
    """`karras` or `exponential` between the first of `ends`, the largest, and the last."""
    return {"karras": karras, "exponential": exponential}[name](float(ends[-1]), float(ends[0]), steps)


def timesteps_at(levels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Where in the training the noise was as strong, between the timesteps as well.

    Args:
        levels: noise over signal. table: the same at each timestep, rising.
    """
    places = np.arange(len(table), dtype=np.float64)
    return np.interp(np.log(np.maximum(levels, 1e-10)), np.log(table), places)
