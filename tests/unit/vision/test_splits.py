# SPDX-License-Identifier: Apache-2.0
"""Dividing pictures into parts: exact sizes, classes in proportion, nothing twice, the same again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.base.errors import Invalid
from inglenook.vision import splits
from inglenook.vision.splits import NONE, TEST, TRAIN, VAL

SEEDS = st.integers(0, 2**32 - 1)
LABELS = st.lists(st.integers(0, 5), max_size=80).map(lambda it: np.array(it, np.int64))


@st.composite
def ratios(draw: st.DrawFn) -> tuple[float, float, float]:
    first, second = sorted(draw(st.tuples(st.integers(0, 100), st.integers(0, 100))))
    return (first / 100, (second - first) / 100, 1 - first / 100 - (second - first) / 100)


def counted(parts: np.ndarray, parts_wanted: int = 3) -> list[int]:
    return np.bincount(parts[parts != NONE], minlength=parts_wanted).tolist()


# -- sizes -----------------------------------------------------------------------------------------------


def test_twenty_and_twenty_at_80_10_10_are_32_4_4_and_each_class_16_2_2() -> None:
    labels = np.repeat(np.array([0, 1]), 20)
    parts = splits.stratified(labels, splits.part_sizes(40, (0.8, 0.1, 0.1)), 42)
    assert counted(parts) == [32, 4, 4]
    assert [counted(parts[labels == it]) for it in (0, 1)] == [[16, 2, 2], [16, 2, 2]]


@pytest.mark.parametrize(
    ("count", "shares", "sizes"),
    [
        (14, (0.7, 0.2, 0.1), (9, 3, 2)),
        (40, (0.8, 0.1, 0.1), (32, 4, 4)),
        (3, (0.8, 0.1, 0.1), (1, 1, 1)),
        (2, (0.8, 0.1, 0.1), (1, 1, 0)),
        (1, (0.8, 0.1, 0.1), (1, 0, 0)),
        (0, (0.8, 0.1, 0.1), (0, 0, 0)),
        (10, (1.0, 0.0, 0.0), (10, 0, 0)),
        (10, (0.0, 0.0, 1.0), (0, 0, 10)),
        (10, (0.8, 0.2, 0.0), (8, 2, 0)),
    ],
)
def test_sizes_round_what_is_held_out_up(
    count: int, shares: tuple[float, ...], sizes: tuple[int, ...]
) -> None:
    assert splits.part_sizes(count, shares) == sizes


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), ratios())
def test_sizes_add_up_stay_within_one_or_two_and_leave_no_wanted_part_empty(
    count: int, shares: tuple[float, float, float]
) -> None:
    sizes = splits.part_sizes(count, shares)
    assert sum(sizes) == count
    wanted = [part for part in range(3) if shares[part] > 0]
    assert all(sizes[part] == 0 for part in range(3) if part not in wanted)
    if count >= len(wanted):
        assert all(sizes[part] > 0 for part in wanted)
    assert all(abs(sizes[part] - count * shares[part]) < 3 for part in range(3))


@pytest.mark.parametrize("wrong", [(0.8, 0.1), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_ratios_that_are_none_are_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(Invalid, match=r"[Rr]atios"):
        splits.check_ratios(wrong)


# -- stratified ------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(LABELS, ratios(), SEEDS)
def test_stratified_parts_have_exactly_their_sizes_and_classes_nearly_their_share(
    labels: np.ndarray, shares: tuple[float, float, float], seed: int
) -> None:
    sizes = splits.part_sizes(len(labels), shares)
    parts = splits.stratified(labels, sizes, seed)
    assert counted(parts) == list(sizes)
    assert (parts != NONE).all()
    for name in np.unique(labels):
        count = int((labels == name).sum())
        for part, size in enumerate(sizes):
            ideal = count * size / len(labels)
            assert abs(int((parts[labels == name] == part).sum()) - ideal) <= 2


@settings(max_examples=50, deadline=None)
@given(LABELS, SEEDS)
def test_the_same_seed_gives_the_same_split(labels: np.ndarray, seed: int) -> None:
    sizes = splits.part_sizes(len(labels), (0.6, 0.2, 0.2))
    assert (splits.stratified(labels, sizes, seed) == splits.stratified(labels, sizes, seed)).all()


def test_another_seed_gives_another_split() -> None:
    labels = np.zeros(100, np.int64)
    first, second = (splits.stratified(labels, (80, 10, 10), seed) for seed in (1, 2))
    assert (first != second).any()


def test_small_classes_all_lend_their_share_to_val_and_test() -> None:
    """A rule that rounds each class by itself would leave both empty."""
    labels = np.repeat(np.arange(1000), 2)
    parts = splits.stratified(labels, splits.part_sizes(2000, (0.8, 0.1, 0.1)), 1)
    assert counted(parts) == [1600, 200, 200]


@settings(max_examples=50, deadline=None)
@given(LABELS, st.integers(2, 7), SEEDS)
def test_folds_differ_by_one_picture_at_most_also_within_a_class(
    labels: np.ndarray, count: int, seed: int
) -> None:
    folds = splits.stratified(labels, splits.even_sizes(len(labels), count), seed)
    sizes = counted(folds, count)
    assert max(sizes) - min(sizes) <= 1
    for name in np.unique(labels):
        of_class = counted(folds[labels == name], count)
        assert max(of_class) - min(of_class) <= 2


# -- groups ----------------------------------------------------------------------------------------------

GROUPED = st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 9)), min_size=1, max_size=80)


@settings(max_examples=50, deadline=None)
@given(GROUPED, ratios(), SEEDS)
def test_no_group_lies_in_two_parts_and_sizes_miss_by_less_than_the_largest_group(
    rows: list[tuple[int, int]], shares: tuple[float, float, float], seed: int
) -> None:
    labels, groups = (np.array(it, np.int64) for it in zip(*rows, strict=True))
    sizes = splits.part_sizes(len(rows), shares)
    parts = splits.grouped(labels, groups, sizes, seed)
    assert (parts != NONE).all()
    for group in np.unique(groups[groups >= 0]):
        assert len(set(parts[groups == group].tolist())) == 1
    largest = max(np.bincount(groups[groups >= 0]).tolist(), default=1) if (groups >= 0).any() else 1
    units = len(np.unique(groups[groups >= 0])) + int((groups < 0).sum())
    for got, wanted in zip(counted(parts), sizes, strict=True):
        assert wanted > 0 or got == 0
        # Where parts would stay empty, they come before sizes.
        assert got - wanted < max(largest, 2) or units <= 3
    if units >= sum(size > 0 for size in sizes):
        assert all(got > 0 for got, wanted in zip(counted(parts), sizes, strict=True) if wanted)


@settings(max_examples=50, deadline=None)
@given(GROUPED, SEEDS)
def test_the_same_seed_gives_the_same_grouped_split(rows: list[tuple[int, int]], seed: int) -> None:
    labels, groups = (np.array(it, np.int64) for it in zip(*rows, strict=True))
    sizes = splits.part_sizes(len(rows), (0.5, 0.25, 0.25))
    first, second = (splits.grouped(labels, groups, sizes, seed) for _ in range(2))
    assert (first == second).all()


def test_groups_are_placed_so_that_classes_keep_their_proportions() -> None:
    """50 groups of four, each of one class: every part has both classes about equally often."""
    labels, groups = np.repeat(np.arange(50) % 2, 4), np.repeat(np.arange(50), 4)
    parts = splits.grouped(labels, groups, splits.part_sizes(200, (0.6, 0.2, 0.2)), 7)
    for part in (TRAIN, VAL, TEST):
        first, second = np.bincount(labels[parts == part], minlength=2).tolist()
        assert abs(first - second) <= 4


def test_single_pictures_fill_up_what_groups_have_left() -> None:
    labels = np.array([0] * 50 + [1] * 50, np.int64)
    groups = np.array([0] * 40 + [NONE] * 60, np.int64)
    parts = splits.grouped(labels, groups, (60, 20, 20), 3)
    assert counted(parts) == [60, 20, 20]


def test_keys_join_rows_also_through_others() -> None:
    groups = splits.joined(["a", "a", None, "b", None], ["x", None, "y", "x", None])
    assert groups[0] == groups[1] == groups[3] >= 0
    assert groups[2] == groups[4] == NONE  # alone


# -- the others ------------------------------------------------------------------------------------------


def test_anomalous_pictures_never_train() -> None:
    anomalous = np.array([False] * 14 + [True] * 6)
    parts = splits.anomaly(anomalous, (0.7, 0.2, 0.1), 42)
    assert counted(parts[~anomalous]) == [9, 3, 2]
    assert counted(parts[anomalous]) == [0, 4, 2]


def test_anomalous_pictures_without_val_and_test_are_refused() -> None:
    with pytest.raises(Invalid, match="val or test"):
        splits.anomaly(np.array([False, True]), (1.0, 0.0, 0.0), 0)
    assert counted(splits.anomaly(np.array([False, False]), (1.0, 0.0, 0.0), 0)) == [2, 0, 0]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 9), st.just(float("nan"))), max_size=40),
    ratios(),
)
def test_by_time_older_pictures_come_first_and_one_moment_stays_together(
    times: list[float], shares: tuple[float, float, float]
) -> None:
    array = np.array(times, np.float64)
    parts = splits.by_time(array, shares)
    known = ~np.isnan(array)
    assert (parts[~known] == NONE).all()
    assert (parts[known] != NONE).all()
    order = parts[known][np.argsort(array[known], kind="stable")]
    assert (np.diff(order) >= 0).all()
    for moment in np.unique(array[known]):
        assert len(set(parts[array == moment].tolist())) == 1


def test_by_time_at_different_moments_sizes_are_exact() -> None:
    parts = splits.by_time(np.arange(100.0)[::-1].copy(), (0.7, 0.2, 0.1))
    assert counted(parts) == [70, 20, 10]
    assert parts[-1] == TRAIN


def test_an_overlap_is_found() -> None:
    keys = {"a": "file 1", "b": "file 1", "c": "file 2", "d": None}
    assert splits.overlaps({"a": "train", "b": "train", "c": "test"}, keys) == []
    assert splits.overlaps({"a": "train", "b": "none", "c": "test"}, keys) == []
    assert splits.overlaps({"a": "train", "b": "test", "c": "test"}, keys) == [("a", "b")]
