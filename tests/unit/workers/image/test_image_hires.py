# SPDX-License-Identifier: Apache-2.0
"""The second, larger pass of a Draw."""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.workers.image.bench import SIDE_PX, STEPS, Bench, a_draw

from inglenook.wire.image import DrawCancelled, DrawFailed, Drawn, Hires, PictureMade, Progress

LARGE_PX = 96


def larger(**more: Any) -> Hires:
    return Hires(**{"width": LARGE_PX, "height": LARGE_PX, "strength": 0.6, **more})


def after(calls: int) -> Callable[[], bool]:
    asked = count(1)
    return lambda: next(asked) > calls


@pytest.fixture
def sd1(benches: dict[str, Bench]) -> Bench:
    return benches["sd1"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_in_pixels_it_is_the_enlarged_picture_drawn_over(benches: dict[str, Bench], family: str) -> None:
    one = benches[family]
    first = one.ours(scheduler="euler")
    both = one.ours(scheduler="euler", hires=larger(steps=8))
    large = Image.fromarray(first.astype(np.uint8)).resize((LARGE_PX, LARGE_PX), Image.Resampling.LANCZOS)
    large.save(one.spool / "large.png")
    over = one.ours(
        mode="image", image="large.png", width=LARGE_PX, height=LARGE_PX, strength=0.6, steps=8,
        scheduler="euler",
    )  # fmt: skip
    assert np.array_equal(both, over)


@pytest.mark.slow
def test_a_seed_draws_the_same_picture_again_and_each_upscaler_another(sd1: Bench) -> None:
    pixels, latent = (larger(upscaler=way) for way in ("pixels", "latent"))
    one = sd1.ours(hires=latent)
    assert one.shape == (LARGE_PX, LARGE_PX, 3)
    assert np.array_equal(one, sd1.ours(hires=latent))
    assert not np.array_equal(one, sd1.ours(hires=pixels))


@pytest.mark.parametrize("scheduler", ["euler", "heun"])
@pytest.mark.parametrize("upscaler", ["pixels", "latent"])
def test_progress_counts_the_steps_of_both_passes(sd1: Bench, upscaler: str, scheduler: str) -> None:
    last = sd1.execute(
        hires=larger(upscaler=upscaler, steps=5), seeds=(1, 2), preview_every=1, scheduler=scheduler
    )
    assert isinstance(last, Drawn)
    denoise = [p for p in sd1.said(Progress) if p.stage == "denoise"]
    total = denoise[0].steps
    assert [(p.picture, p.step, p.steps) for p in denoise] == [
        (picture, step, total) for picture in (0, 1) for step in range(1, total + 1)
    ]
    if scheduler == "euler":
        assert total == STEPS + 3
    assert {Image.open(sd1.spool / str(p.preview)).width for p in denoise} == {SIDE_PX // 8, LARGE_PX // 8}
    shares = [(p.picture, p.step / p.steps) for p in sd1.said(Progress) if p.stage != "encode"]
    assert shares == sorted(shares), "it never goes back"
    assert [(made.width, made.height) for made in sd1.said(PictureMade)] == [(LARGE_PX, LARGE_PX)] * 2


@pytest.mark.parametrize(
    ("asked", "step"), [(STEPS + 1, STEPS + 1), (STEPS + 2, STEPS + 1), (STEPS + 4, STEPS + 2)]
)
def test_a_cancel_stops_between_the_passes_and_within_the_second(sd1: Bench, asked: int, step: int) -> None:
    last = sd1.studio(should_stop=after(asked)).execute(a_draw(hires=larger(steps=5), scheduler="euler"))
    assert last == DrawCancelled(job="job-1", picture=0, step=step)
    assert sd1.said(PictureMade) == []


def test_its_steps_are_those_of_the_draw_where_it_names_none(sd1: Bench) -> None:
    named, unnamed = larger(steps=STEPS), larger()
    assert np.array_equal(sd1.ours(hires=named), sd1.ours(hires=unnamed))


@pytest.mark.parametrize(
    ("hires", "words"),
    [
        (larger(width=100), "cannot be 100 x 96 pixels: both must be multiples of 8"),
        (larger(width=32), "not below those of the first (64 x 64)"),
        (larger(strength=0.0), "strength of the second pass is 0.0"),
        (larger(strength=float("nan")), "strength of the second pass is nan"),
        (larger(steps=0), "has 0 steps"),
    ],
)
def test_one_that_cannot_be_drawn_is_refused(sd1: Bench, hires: Hires, words: str) -> None:
    last = sd1.execute(hires=hires)
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"
    assert words in last.message


def test_from_a_picture_there_is_no_second_pass(sd1: Bench) -> None:
    last = sd1.execute(mode="image", image="given.png", hires=larger())
    assert isinstance(last, DrawFailed)
    assert "the mode is 'image'" in last.message
