# SPDX-License-Identifier: Apache-2.0
import pytest

from inglenook.api.keep_alive import FOR_EVER, keep_seconds
from inglenook.base.errors import Invalid


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        (0, 0.0),
        ("0", 0.0),
        (90, 90.0),
        (0.5, 0.5),
        ("90", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        (-1, FOR_EVER),
        ("-1", FOR_EVER),
        ("-1m", FOR_EVER),
    ],
)
def test_seconds_durations_and_for_ever_are_understood(value: object, seconds: float | None) -> None:
    assert keep_seconds(value) == seconds


@pytest.mark.parametrize(
    "value", ["soon", "5 m", True, [], {}, float("nan"), float("inf"), "9" * 13, 1e12, "5m3"]
)
def test_anything_else_is_refused_with_the_field_named(value: object) -> None:
    with pytest.raises(Invalid) as caught:
        keep_seconds(value, "x-inglenook-keep-alive")
    assert caught.value.field == "x-inglenook-keep-alive"
