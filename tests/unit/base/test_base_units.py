# SPDX-License-Identifier: Apache-2.0
"""Bytes and seconds as people write and read them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.base.errors import Invalid
from inglenook.base.units import GIB, KIB, MIB, TIB, format_bytes, format_seconds, parse_bytes


@given(st.integers(0, 2**60))
def test_what_is_shown_can_be_read_again_to_three_digits(count: int) -> None:
    """Half a unit of the third digit, and the part of a byte that is cut off."""
    assert abs(parse_bytes(format_bytes(count)) - count) <= 0.005 * count + 1


@given(st.integers(0, 2**60))
def test_what_is_shown_is_short_and_plain(count: int) -> None:
    assert re.fullmatch(r"\d{1,4}(\.\d{1,2})? (B|KiB|MiB|GiB)|\d{1,7}(\.\d{1,3})? TiB", format_bytes(count))


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_more_is_never_shown_as_less(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert parse_bytes(format_bytes(low)) <= parse_bytes(format_bytes(high))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1000 * KIB, "1000 KiB"),
        (1010 * MIB, "1010 MiB"),
        (1023 * GIB, "1023 GiB"),
        (TIB, "1 TiB"),
        (1024 * KIB - 1, "1024 KiB"),
        (12 * GIB, "12 GiB"),
    ],
)
def test_bytes_as_they_are_shown(count: int, text: str) -> None:
    assert format_bytes(count) == text


@given(st.integers(0, 2**63))
def test_a_number_of_bytes_is_exact(count: int) -> None:
    assert parse_bytes(count) == parse_bytes(str(count)) == parse_bytes(f" {count}B ") == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("12 GiB", 12 * GIB),
        ("12gib", 12 * GIB),
        ("800MB", 800_000_000),
        ("1.5 KiB", 1536),
        ("0", 0),
        ("2 TB", 2 * 10**12),
    ],
)
def test_bytes_as_they_are_written(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "-1", "1e9", "1,5 GiB", "12 Gib/s", "12 GiB 3", "nan", "inf", "0x10", "9" * 400, "1.", ".5"],
)
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not an amount of memory"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.42, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min 0 s"),
        (75, "1 min 15 s"),
        (3599.6, "1 h 0 min"),
        (7300, "2 h 2 min"),
    ],
)
def test_seconds_as_they_are_shown(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
