# SPDX-License-Identifier: Apache-2.0
"""The pixels that a picture pretends to have: how wide they are and where the first one begins.

A picture of enlarged pixels changes colour at their borders only. For each axis alone:

1. **Edges.** Each row is looked at by itself: where the step to the next pixel is a local maximum there is an
   edge, placed between pixels by a parabola through the three steps. Blur widens a step and JPEG shakes it,
   but the maximum stays. A strong edge weighs no more than a middling one, so that one black outline does not
   drown the rest.
2. **Comb.** The edges of all rows make one profile along the axis. Its Fourier coefficient at 1 / period is
   the share of the edges that lie on a comb of that period (the coherence, 1 when all do), its angle the
   phase. The highest one gives the period or a whole part of it.
3. **The coarsest that holds.** Half a period fits whatever the whole one fits. So the period is taken two,
   three, ... times as long while no edges are left between the lines of the longer comb. There each edge
   counts with the cube of its weight: what JPEG leaves is many, but faint.
4. **Fit.** A line through (number of the line, place of its edges), by weighted least squares, gives period
   and phase to a small part of a pixel. Whole numbers are taken where they explain the edges as well.

At `length / 2` periods tried, n places agree by chance to more than sqrt(ln(10 length) / n) in one picture of
twenty (each coherence is a Rayleigh number); what of the coherence is above that is the confidence.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.model import Grid

Rgba = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

LEAST_CONFIDENCE: Final = 0.35
"""Below it there is no grid: photographs stay under 0.2, enlarged sprites above 0.5."""
LEAST_PERIOD: Final = 1.9
"""Pixels. A cell of one pixel is a pixel; nothing can be seen of it."""
LEAST_CELLS: Final = 4
"""Along an axis; fewer lines agree with anything."""
_LEAST_LINES: Final = 4
"""So many lines must hold edges: both sides of one ball lie on some comb, and so does a horizon between."""
_HELD: Final = 0.1  # of what the line with most of them holds

_OBLONG: Final = 1.6
"""Pixels are about square: the more both periods differ beyond this ratio, the less is believed."""
_LEAST_COARSE: Final = 48
"""Where edges are smeared over many pixels the picture is looked at again at a half, a quarter, ... of its
size, as long as so many pixels are left."""
_ALIKE: Final = 0.92
"""Periods whose ratio is nearer to 1 are the same period."""
_SURE: Final = 0.6
"""From this confidence on nothing coarser is looked at."""
_CLEARLY: Final = 0.15
"""By so much must what a coarser look finds be surer."""
_FINE: Final = 8  # bins of a profile in each pixel
_SAMPLED: Final = 1 << 20  # pixels looked at along each axis; the rows between are left out
_RINGING: Final = 7  # pixels to each side: JPEG rings through the whole of its blocks, which are 8 wide
_FEW: Final = 0.04  # of what lies on a line of the coarser comb; what lies between may come from anything
_FULL_STEP: Final = 120.0  # sum of the channels' differences from which an edge weighs fully
_LEAST_STEP: Final = 10.0  # below it is noise


@dataclass(frozen=True, slots=True)
class _Comb:
    """Lines at `phase + n * period`.

    Attributes:
        coherence: of the edges with them, 0 to 1.
        most: coherence that edges can have which were rounded to whole pixels.
        independent: how many places the edges are at, counted by their weights.
        length: of the axis, in pixels.
    """

    period: float
    phase: float
    coherence: float
    most: float
    independent: float
    length: int

    @property
    def confidence(self) -> float:
        return _above_chance(self.coherence, self.most, self.independent, self.length)


def find_grid(rgba: Rgba) -> Grid | None:
    """The grid of the picture, or None where it has none that can be told from chance.

    Args:
        rgba: uint8 (h, w, 4), straight alpha.
    """
    if min(rgba.shape[:2]) < 2 * LEAST_CELLS:
        return None
    colour, scale = _premultiplied(rgba), 1
    found = _at_scale(colour, scale, rgba.shape)
    while min(colour.shape[:2]) >= 2 * _LEAST_COARSE and (found is None or found.confidence < _SURE):
        colour, scale = _halved(colour), scale * 2
        grid = _at_scale(colour, scale, rgba.shape)
        if grid is not None and (found is None or grid.confidence > found.confidence + _CLEARLY):
            found = grid
    return found if found is not None and found.confidence >= LEAST_CONFIDENCE else None


def _at_scale(colour: npt.NDArray[np.int16], scale: int, shape: tuple[int, ...]) -> Grid | None:
    across = _Axis.of(colour, scale, shape[1])
    down = _Axis.of(colour.transpose(1, 0, 2), scale, shape[0])
    x, y = across.comb(), down.comb()
    x, y = _agreed(across, x, y), _agreed(down, y, x)
    if x is None or y is None:
        return None
    return Grid(x.period, y.period, x.phase, y.phase, round(_believed(x, y), 4))


def _believed(x: _Comb, y: _Comb) -> float:
    """0 to 1. Two axes that have found the same are one find from all the places of both."""
    ratio = min(x.period / y.period, y.period / x.period)
    if ratio > _ALIKE:
        coherence = (x.coherence * x.independent + y.coherence * y.independent) / (
            x.independent + y.independent
        )
        most = min(x.most, y.most)
        return _above_chance(coherence, most, x.independent + y.independent, x.length + y.length)
    return float(np.sqrt(x.confidence * y.confidence)) * min(1.0, ratio * _OBLONG)


def _above_chance(coherence: float, most: float, independent: float, length: int) -> float:
    chance = float(np.sqrt(np.log(10.0 * length) / independent))
    if chance >= most:
        return 0.0
    return min(1.0, max(0.0, (coherence - chance) / (most - chance)))


def _halved(colour: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Each two by two pixels as one; an odd row or column at the end is left out."""
    rows, columns = colour.shape[0] // 2 * 2, colour.shape[1] // 2 * 2
    cut = colour[:rows, :columns]
    return (cut[::2, ::2] + cut[1::2, ::2] + cut[::2, 1::2] + cut[1::2, 1::2] + 2) // 4


def cells(shape: tuple[int, ...], grid: Grid) -> tuple[Floats, Floats]:
    """Where the cells of a picture of this shape (h, w, ...) begin and end.

    A cell that the border of the picture cuts counts where at least half of it is inside.

    Returns:
        float64 (columns + 1,) and (rows + 1,), ascending, in pixels from the left and from the top.
    """
    return (
        _boundaries(shape[1], grid.period_x, grid.phase_x),
        _boundaries(shape[0], grid.period_y, grid.phase_y),
    )


def _boundaries(length: int, period: float, phase: float) -> Floats:
    slack = period / 2 + 1e-6
    first = -1 if phase >= slack - 2e-6 else 0
    last = int(np.floor((length - phase + slack) / period))
    found = np.unique(np.clip(phase + period * np.arange(first, last + 1), 0.0, float(length)))
    # A picture in which no cell is seen to a half is one cell.
    return found if len(found) > 1 else np.array([0.0, float(length)])


def _premultiplied(rgba: Rgba) -> npt.NDArray[np.int16]:
    """int16 (h, w, 4): what is transparent has no colour, so none of its edges count."""
    if (rgba[..., 3] == 255).all():
        return rgba.astype(np.int16)
    found = rgba.astype(np.int16)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    found[..., :3] = np.rint(rgba[..., :3] * alpha).astype(np.int16)
    return found


def _agreed(axis: "_Axis", mine: _Comb | None, other: _Comb | None) -> _Comb | None:
    """Cells are about square: an axis that is unsure takes what the other one has found, where that holds."""
    if other is None or (mine is not None and abs(mine.period / other.period - 1) < 0.15):
        return mine
    if mine is not None and mine.confidence >= other.confidence:
        return mine
    near = axis.comb_near(other.period)
    if near is None:
        return mine
    if mine is None or near.confidence >= 0.6 * mine.confidence:
        return near
    return mine


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """The edges along one axis.

    Attributes:
        length: pixels.
        least: the smallest period that can be seen.
        places: float64 (n,), ascending: where there are edges, in pixels from the border.
        weights: float64 (n,), the sum over the rows.
        strong: float64 (n,), the sum of their cubes: a clear edge gives as much as a hundred faint ones, so
            JPEG's own blocks and what rings in them do not pass for lines.
    """

    length: int
    least: float
    places: Floats
    weights: Floats
    strong: Floats

    @classmethod
    def of(cls, colour: npt.NDArray[np.int16], scale: int, length: int) -> "_Axis":
        """Of the second axis of int16 (rows, length / scale, channels)."""
        stride = max(1, -(-colour.shape[0] * colour.shape[1] // _SAMPLED))
        profile, strong = _profile(colour[stride // 2 :: stride])
        at = np.flatnonzero(profile)
        places = at.astype(np.float64) * (scale / _FINE)
        return cls(length, LEAST_PERIOD * scale, places, profile[at], strong[at])

    def comb(self) -> _Comb | None:
        """The coarsest comb that holds the edges."""
        return self._best(self.least, self.length / LEAST_CELLS, coarser=True)

    def comb_near(self, period: float) -> _Comb | None:
        return self._best(max(self.least, period * 0.9), period * 1.1, coarser=False)

    def _best(self, least: float, most: float, *, coarser: bool) -> _Comb | None:
        if len(self.places) < LEAST_CELLS or most <= least:
            return None
        frequencies, coherence = self._spectrum()
        inside = (frequencies >= 1 / most) & (frequencies <= 1 / least)
        if not inside.any():
            return None
        best = int(np.argmax(np.where(inside, coherence, -1.0)))
        comb = self._fitted(1 / float(frequencies[best]))
        while coarser and (longer := self._multiple(comb, most)) is not None:
            comb = longer
        return comb if self._lines_held(comb) >= _LEAST_LINES else None

    def _lines_held(self, comb: _Comb) -> int:
        number = np.rint((self.places - comb.phase) / comb.period).astype(np.int64)
        held = np.bincount(number - number.min(), self.weights)
        return int((held > _HELD * held.max()).sum())

    def _spectrum(self) -> tuple[Floats, Floats]:
        """Frequencies in 1 / pixel, ascending, and the coherence at each, 0 to 1."""
        bins = np.bincount(np.rint(self.places * _FINE).astype(np.int64), self.weights)
        size = 1 << int(np.ceil(np.log2(self.length * _FINE * 4)))
        coherence = np.abs(np.fft.rfft(bins, size)) / self.weights.sum()
        return np.arange(len(coherence)) * _FINE / size, coherence

    def _multiple(self, comb: _Comb, most: float) -> _Comb | None:
        """A comb of two, three, five or seven times the period that no edge contradicts."""
        for times in (2, 3, 5, 7):
            if comb.period * times > most:
                break
            start = self._heaviest(comb, times)
            if start is not None:
                return self._fitted(comb.period * times, comb.phase + start * comb.period)
        return None

    def _heaviest(self, comb: _Comb, times: int) -> int | None:
        """Which of each `times` lines holds the edges, where the others hold none but noise."""
        number = np.rint((self.places - comb.phase) / comb.period)
        away = np.abs(self.places - comb.phase - number * comb.period)
        near = away <= max(0.75, 0.2 * comb.period)
        noise = self._noise(comb, near)
        each = np.bincount(number[near].astype(np.int64) % times, self.strong[near], times)
        start = int(np.argmax(each))
        lines = max(1.0, (self.length / comb.period) * (times - 1) / times)
        others = (each.sum() - each[start]) / lines
        alone = _FEW * each[start] / max(1.0, self.length / comb.period / times)
        if others > max(3 * noise, alone):
            return None
        longer, itself = (self._coherence(one, self.strong) for one in (comb.period * times, comb.period))
        return start if longer >= 0.9 * itself else None

    def _noise(self, comb: _Comb, near: npt.NDArray[np.bool_]) -> float:
        """What lies by chance within reach of a line, from what lies between the lines, in cubes."""
        reach = 2 * max(0.75, 0.2 * comb.period)
        between = comb.period - reach
        if between <= 0.5:
            return 0.0
        lines = self.length / comb.period
        return float(self.strong[~near].sum()) / lines * reach / between

    def _fitted(self, period: float, phase: float | None = None) -> _Comb:
        """The comb nearest to this one that fits the edges best."""
        if phase is None:
            turn = np.exp(2j * np.pi * self.places / period) @ self.weights
            phase = float(np.angle(turn)) / (2 * np.pi) * period
        for reach in (0.3, 0.25, 0.25):
            period, phase = self._line(period, phase, reach)
        period, phase = self._plain(period, phase)
        most = float(np.sinc(1 / period)) if abs(period - round(period)) * self.length > period else 1.0
        coherence = self._coherence(period, self.weights)
        return _Comb(period, phase % period, coherence, most, self._independent(), self.length)

    def _line(self, period: float, phase: float, reach: float) -> tuple[float, float]:
        """Weighted least squares through the edges within `reach` periods of a line."""
        number = np.rint((self.places - phase) / period)
        near = np.abs(self.places - phase - number * period) <= max(0.6, reach * period)
        n, x, w = number[near], self.places[near], self.weights[near]
        if len(n) < 2 or n[0] == n[-1]:
            return period, phase
        mean_n, mean_x = np.average(n, weights=w), np.average(x, weights=w)
        slope = float((w * (n - mean_n) * (x - mean_x)).sum() / (w * (n - mean_n) ** 2).sum())
        if abs(slope / period - 1) > 0.1:
            return period, phase
        return slope, float(mean_x - slope * mean_n)

    def _plain(self, period: float, phase: float) -> tuple[float, float]:
        """A whole period, or whole cells from border to border, where the edges lie as near to it."""
        count = max(1, round(self.length / period))
        plain = []
        begins = phase - round(phase / period) * period
        if abs(begins) <= 0.6 and abs(begins + count * period - self.length) <= 0.9:
            plain.append((self.length / count, 0.0))
        whole = float(max(1, round(period)))
        if abs(whole / period - 1) * count < 0.75:
            plain += [(whole, 0.0), (whole, float(round(phase)))]
        if not plain:
            return period, phase
        best = min(plain, key=lambda one: self._distance(*one))
        within = 1.1 * self._distance(period, phase) + 0.03
        return best if self._distance(*best) <= within else (period, phase)

    def _distance(self, period: float, phase: float) -> float:
        """Weighted mean of how far the edges are from the nearest line, in pixels."""
        away = np.abs(self.places - phase - np.rint((self.places - phase) / period) * period)
        return float(np.average(away, weights=self.weights))

    def _coherence(self, period: float, weights: Floats) -> float:
        turned = np.exp(2j * np.pi * self.places / period) @ weights
        return float(abs(turned) / weights.sum())

    def _independent(self) -> float:
        columns = np.bincount(np.rint(self.places).astype(np.int64), self.weights)
        return float(columns.sum() ** 2 / (columns**2).sum())


def _profile(colour: npt.NDArray[np.int16]) -> tuple[Floats, Floats]:
    """float64 (length * `_FINE` + 1,) each: the weight of the edges at each eighth of a pixel, and the sum of
    the cubes of their weights.

    A place p is the border between pixel p - 1 and pixel p.
    """
    step = np.abs(np.diff(colour, axis=1)).sum(axis=2, dtype=np.int16)
    floor = max(_LEAST_STEP, 3.0 * float(np.median(step)))
    # What JPEG leaves beside a strong edge is much weaker than the edge.
    beside = np.pad(step, ((0, 0), (_RINGING, _RINGING)))
    strongest = step
    for shift in range(2 * _RINGING + 1):
        strongest = np.maximum(strongest, beside[:, shift : shift + step.shape[1]])
    before = beside[:, _RINGING - 1 : _RINGING - 1 + step.shape[1]]
    after = beside[:, _RINGING + 1 : _RINGING + 1 + step.shape[1]]
    row, at = np.nonzero((step >= floor) & (step >= before) & (step > after) & (4 * step >= strongest))
    top, left, right = (one[row, at].astype(np.float64) for one in (step, before, after))
    bend = left - 2 * top + right
    off = np.where(bend < 0, (left - right) / (2 * np.minimum(bend, -1e-6)), 0.0)
    place = np.rint((at + 1 + off) * _FINE).astype(np.int64)
    weights = np.minimum(top, _FULL_STEP) / _FULL_STEP
    count = colour.shape[1] * _FINE + 1
    return (
        np.bincount(place, weights, count).astype(np.float64),
        np.bincount(place, weights**3, count).astype(np.float64),
    )
