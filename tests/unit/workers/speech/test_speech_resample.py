# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.workers.speech.resample import Resampler


def resampled(samples: np.ndarray, rate: int, *, block: int = 5000) -> np.ndarray:
    resampler = Resampler(rate)
    made = [resampler.push(samples[at : at + block]) for at in range(0, len(samples), block)]
    return np.concatenate([*made, resampler.flush()])


def tone(rate: int, frequency: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 44_101])
def test_a_tone_stays_the_same_tone(rate: int) -> None:
    made = resampled(tone(rate, 440.0), rate)
    expected = tone(16_000, 440.0)
    assert abs(len(made) - len(expected)) <= 2
    middle = slice(400, 7000)
    assert np.abs(made[middle] - expected[middle]).max() < 0.01


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
def test_what_the_new_rate_cannot_hold_is_gone_and_does_not_come_back_as_another_tone(rate: int) -> None:
    made = resampled(tone(rate, 10_500.0), rate)
    assert np.abs(made[400:7000]).max() < 0.01


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 400), st.sampled_from([8000, 22_050, 44_100, 48_000]))
def test_the_blocks_in_which_it_comes_change_nothing(block: int, rate: int) -> None:
    samples = tone(rate, 300.0, seconds=0.02)
    assert np.allclose(resampled(samples, rate, block=block), resampled(samples, rate), atol=1e-6)


def test_at_its_own_rate_nothing_is_done() -> None:
    samples = tone(16_000, 440.0)
    assert np.array_equal(resampled(samples, 16_000), samples)


def test_nothing_becomes_nothing() -> None:
    assert len(Resampler(48_000).flush()) == 0
