# SPDX-License-Identifier: Apache-2.0
"""How pictures are divided into parts that do not overlap. Pure: numbers in, numbers out; same seed, same
parts.

Pictures are rows 0 … N−1. `labels` are class numbers, int64 (N,). A result is int64 (N,): the number of each
picture's part. With three parts these are `TRAIN`, `VAL` and `TEST`; `NONE` stands for no part.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inglenook.base.errors import Invalid

TRAIN: Final = 0
VAL: Final = 1
TEST: Final = 2
NONE: Final = -1
PARTS: Final = ("train", "val", "test")

Ints = NDArray[np.int64]
_TOLERANCE: Final = 1e-9
"""1 − 0.8 is a little under 0.2, and 40 × that must not be rounded up to 9."""


def check_ratios(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Shares of train, val and test. Raises Invalid: not three of 0 … 1 whose sum is 1 (within 1e-6)."""
    if len(ratios) != len(PARTS) or not all(0.0 <= it <= 1.0 for it in ratios):
        raise Invalid(f"Ratios are three numbers from 0 to 1; got {list(ratios)}.", field="ratios")
    if abs(sum(ratios) - 1.0) > 1e-6:
        raise Invalid(f"The ratios add up to {sum(ratios):g}, not to 1.", field="ratios")
    return (float(ratios[0]), float(ratios[1]), float(ratios[2]))


def part_sizes(count: int, ratios: Sequence[float]) -> tuple[int, int, int]:
    """How many of `count` pictures go into each part. What is held out is rounded up, and so is test's share
    of it (scikit-learn's rule for splitting twice, by which AI Studio counts). No part whose ratio is above
    0 is empty as long as there are pictures enough: train gets the first, then val, then test.
    """
    train, val, test = ratios
    held_out = min(count, int(np.ceil(count * (val + test) - _TOLERANCE)))
    share = test / (val + test) if val + test > 0 else 0.0
    in_test = int(np.ceil(held_out * share - _TOLERANCE))
    sizes = [count - held_out, held_out - in_test, in_test]
    wanted = [part for part, ratio in enumerate((train, val, test)) if ratio > 0]
    first = wanted[:count]
    for part in first:
        if sizes[part] == 0:
            giver = max(range(len(sizes)), key=lambda it: (it not in first and sizes[it] > 0, sizes[it]))
            sizes[giver] -= 1
            sizes[part] += 1
    return (sizes[0], sizes[1], sizes[2])


def even_sizes(count: int, parts: int) -> tuple[int, ...]:
    """`parts` numbers that add up to `count` and differ by one at most, the larger ones first."""
    return tuple(count // parts + (part < count % parts) for part in range(parts))


def stratified(labels: Ints, sizes: Sequence[int], seed: int) -> Ints:
    """Parts of exactly these sizes, each class in them in proportion: rounded down or up where its size
    allows, and up where a part still lacks most.

    Args:
        sizes: of the parts; their sum is N.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(labels, minlength=1) if len(labels) else np.zeros(1, np.int64)
    table = _rounded(counts, np.asarray(sizes, np.int64), rng)
    return _dealt(labels, table, rng)


def _rounded(counts: Ints, sizes: Ints, rng: np.random.Generator) -> Ints:
    """Whole numbers (classes, parts) with the row sums `counts` and the column sums `sizes`, near to
    `counts × sizes / N`.
    """
    total = max(1, int(counts.sum()))
    table = np.outer(counts, sizes) // total  # whole numbers: no product is rounded wrongly
    missing = sizes - table.sum(axis=0)
    for row in rng.permutation(len(counts)):
        lacks = int(counts[row] - table[row].sum())
        for part in np.argsort(-missing, kind="stable")[:lacks]:  # one each for those that lack most
            table[row, part] += 1
            missing[part] -= 1
    # A part may have taken one more than it lacked while another lacks one: give it back, row by row.
    while (missing < 0).any():
        over, under = int(np.argmin(missing)), int(np.argmax(missing))
        row = int(np.argmax(table[:, over]))
        table[row, over] -= 1
        table[row, under] += 1
        missing[over] += 1
        missing[under] -= 1
    return table


def _dealt(labels: Ints, table: Ints, rng: np.random.Generator) -> Ints:
    """Deal each class's pictures, shuffled, by its row of the table."""
    result = np.full(len(labels), NONE, np.int64)
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, shuffled within
    parts = np.concatenate([np.repeat(np.arange(table.shape[1]), row) for row in table])
    result[order] = parts
    return result


def grouped(labels: Ints, groups: Ints, sizes: Sequence[int], seed: int) -> Ints:
    """Parts of about these sizes; no group lies in two of them.

    Groups are placed one after another, the largest first, where they fit and the classes stay nearest to
    their proportions; one that fits nowhere goes where most is missing. So a part exceeds its size by less
    than the largest group. No part of a size above 0 stays empty as long as there are groups enough.
    Pictures that are alone fill up what is missing.

    Args:
        groups: int64 (N,): equal numbers belong together; a negative one is alone.
        sizes: of the parts; their sum is N.
    """
    rng = np.random.default_rng(seed)
    wanted = np.asarray(sizes, np.int64)
    result = np.full(len(labels), NONE, np.int64)
    table = _class_tables(labels, groups)
    ideal = np.outer(wanted, np.bincount(labels, minlength=1)) / max(1, len(labels))
    placed = np.zeros_like(ideal)
    single = groups < 0
    order = sorted(rng.permutation(len(table.sizes)), key=lambda it: -table.sizes[it])
    where = np.full(len(table.sizes), NONE, np.int64)
    for rank, group in enumerate(order):
        empty = (placed.sum(axis=1) == 0) & (wanted > 0)
        scarce = len(order) - rank + int(single.sum()) <= int(empty.sum())
        part = _best_part(table.row(group), placed, ideal, empty if scarce else wanted > 0)
        where[group] = part
        placed[part] += table.row(group)
    result[~single] = where[table.places[~single]]
    if single.any():
        left = _left_over(wanted - placed.sum(axis=1).astype(np.int64), int(single.sum()))
        result[single] = _filled(labels[single], left, ideal - placed, rng)
    return result


class _class_tables:  # noqa: N801 - a function with two results that are read by name
    """Of each group: how many pictures, and of which classes. `places`: row → number of its group."""

    def __init__(self, labels: Ints, groups: Ints) -> None:
        classes = int(labels.max()) + 1 if len(labels) else 1
        self.places = np.full(len(groups), NONE, np.int64)
        together = groups >= 0
        names, numbers = np.unique(groups[together], return_inverse=True)
        self.places[together] = numbers
        self.sizes = np.bincount(numbers, minlength=len(names))
        self._classes = classes
        order = np.argsort(numbers, kind="stable")
        self._labels = labels[together][order]
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)])

    def row(self, group: int) -> Ints:
        """Pictures of the group by class, int64 (classes,)."""
        some = self._labels[self._starts[group] : self._starts[group + 1]]
        return np.bincount(some, minlength=self._classes)


def _best_part(
    row: Ints, placed: NDArray[np.float64], ideal: NDArray[np.float64], allowed: NDArray[np.bool_]
) -> int:
    """The part for a group: of those with room for it, the one whose classes come nearest to their ideal;
    else the one with most room."""
    room = ideal.sum(axis=1) - placed.sum(axis=1)
    fits = allowed & (room + _TOLERANCE >= row.sum())
    if not fits.any():
        return int(np.argmax(np.where(allowed, room, -np.inf)))
    before = (placed - ideal) ** 2 / (ideal + 1.0)
    after = (placed + row - ideal) ** 2 / (ideal + 1.0)
    return int(np.argmin(np.where(fits, (after - before).sum(axis=1), np.inf)))


def _left_over(missing: Ints, count: int) -> Ints:
    """What is missing in each part, where some have too much: `count` in all, none negative."""
    left = np.maximum(missing, 0)
    while left.sum() > count:
        left[int(np.argmax(left))] -= 1
    return left


def _filled(labels: Ints, sizes: Ints, missing: NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """Deal single pictures into parts of exactly these sizes, by what each part misses of each class.

    Args:
        missing: float64 (parts, classes).
    """
    counts = np.bincount(labels, minlength=missing.shape[1])
    weights = np.maximum(missing.T, 0.0) + 1e-6 * (sizes > 0)
    weights = np.where(sizes > 0, weights, 0.0)
    for _ in range(50):  # iterative proportional fitting: rows to the classes' counts, columns to the sizes
        weights *= (counts / np.maximum(weights.sum(axis=1), 1e-12))[:, None]
        weights *= sizes / np.maximum(weights.sum(axis=0), 1e-12)
    table = _rounded_to(weights, counts, sizes)
    return _dealt(labels, table, rng)


def _rounded_to(weights: NDArray[np.float64], counts: Ints, sizes: Ints) -> Ints:
    """Whole numbers near `weights`, with exactly these row sums and column sums."""
    table = np.floor(weights + _TOLERANCE).astype(np.int64)
    table = np.minimum(table, counts[:, None])
    rows, columns = counts - table.sum(axis=1), sizes - table.sum(axis=0)
    for row in np.flatnonzero(rows < 0).tolist():
        while rows[row] < 0:
            part = int(np.argmax(table[row]))
            table[row, part] -= 1
            rows[row] += 1
            columns[part] += 1
    for part in np.flatnonzero(columns < 0).tolist():
        while columns[part] < 0:
            row = int(np.argmax(table[:, part]))
            table[row, part] -= 1
            columns[part] += 1
            rows[row] += 1
    for row in np.flatnonzero(rows > 0).tolist():
        while rows[row] > 0:
            open_parts = columns > 0
            part = int(np.argmax(np.where(open_parts, weights[row] - table[row], -np.inf)))
            table[row, part] += 1
            rows[row] -= 1
            columns[part] -= 1
    return table


def anomaly(anomalous: NDArray[np.bool_], ratios: Sequence[float], seed: int) -> Ints:
    """Normal pictures in all three parts; anomalous ones never in train, but in val and test by their ratio.

    Args:
        anomalous: bool (N,).

    Raises:
        Invalid: there are anomalous pictures, and neither val nor test.
    """
    _, val, test = ratios
    if anomalous.any() and val + test <= 0:
        raise Invalid("Anomalous pictures need a part that is not train: val or test.", field="ratios")
    result = np.full(len(anomalous), NONE, np.int64)
    normal = np.flatnonzero(~anomalous)
    result[normal] = stratified(np.zeros(len(normal), np.int64), part_sizes(len(normal), ratios), seed)
    strange = np.flatnonzero(anomalous)
    if len(strange):
        in_test = int(np.ceil(len(strange) * test / (val + test) - _TOLERANCE))
        sizes = (0, len(strange) - in_test, in_test)
        result[strange] = stratified(np.zeros(len(strange), np.int64), sizes, seed + 1)
    return result


def by_time(times: NDArray[np.float64], ratios: Sequence[float]) -> Ints:
    """The oldest pictures train, the newest test. Pictures of the same moment stay together, so sizes may be
    a little off.

    Args:
        times: float64 (N,), in any unit; NaN for unknown, which goes into no part.
    """
    result = np.full(len(times), NONE, np.int64)
    known = np.flatnonzero(~np.isnan(times))
    order = known[np.argsort(times[known], kind="stable")]
    sizes = part_sizes(len(order), ratios)
    sorted_times = times[order]
    edges = np.concatenate([[0], np.flatnonzero(np.diff(sorted_times) > 0) + 1, [len(order)]])
    first = _nearest(edges, sizes[0])
    second = max(first, _nearest(edges, sizes[0] + sizes[1]))
    result[order[:first]] = TRAIN
    result[order[first:second]] = VAL
    result[order[second:]] = TEST
    return result


def _nearest(edges: Ints, place: int) -> int:
    return int(edges[np.argmin(np.abs(edges - place))])


def joined(*keys: Sequence[Hashable | None]) -> Ints:
    """Groups of rows that share a key of any kind, directly or through others: int64 (N,), −1 for alone.

    Args:
        keys: each of length N; None shares with nobody.
    """
    count = len(keys[0])
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for kind in keys:
        first: dict[Hashable, int] = {}
        for row, key in enumerate(kind):
            if key is not None:
                parent[root(row)] = root(first.setdefault(key, row))
    roots = np.array([root(row) for row in range(count)], np.int64)
    _, numbers, sizes = np.unique(roots, return_inverse=True, return_counts=True)
    return np.where(sizes[numbers] > 1, numbers, NONE).astype(np.int64)


def overlaps(parts: Mapping[str, str], keys: Mapping[str, Hashable | None]) -> list[tuple[str, str]]:
    """Pairs of pictures that share a key and lie in different parts; one pair a key. Nothing is found in a
    sound split. Pictures of the part `none` are in no part.

    Args:
        parts: part by picture. keys: what must not be shared, by picture.
    """
    first: dict[Hashable, str] = {}
    found: dict[Hashable, tuple[str, str]] = {}
    for picture, part in parts.items():
        key = keys.get(picture)
        if key is None or part == "none":
            continue
        other = first.setdefault(key, picture)
        if parts[other] != part:
            found.setdefault(key, (other, picture))
    return list(found.values())
