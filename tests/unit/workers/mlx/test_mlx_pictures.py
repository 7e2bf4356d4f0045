# SPDX-License-Identifier: Apache-2.0
"""Whole pictures: the MLX worker's against the image worker's, for the same seed and scheduler.

Both run in float32 on the CPU. The stated tolerance is TOLERANCE_LEVELS of 255, for every pixel of every
channel.
"""

from typing import Any

import numpy as np
import pytest
from tests.unit.workers.mlx.bench import Pair

from inglenook.wire.image import Drawn
from inglenook.wire.mlx import FLOW_SCHEDULERS, SCHEDULERS, SIGMAS
from inglenook.wire.schedulers import takes_sigmas

pytestmark = pytest.mark.slow

TOLERANCE_LEVELS = 1
FAMILIES = ("sd1", "sd2", "sdxl")
MODES = ("text", "image", "inpaint")


def wanted(mode: str, **more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"mode": mode, "negative_prompt": "blurry", "seeds": (11,)}
    if mode != "text":
        usual |= {"image": "given.png", "strength": 0.6}
    if mode == "inpaint":
        usual |= {"mask": "mask.png"}
    return {**usual, **more}


def assert_same(one: Pair, request: dict[str, Any]) -> None:
    theirs, ours = one.theirs(**request), one.ours(**request)
    assert ours.shape == theirs.shape
    assert theirs.std() > 5, "a flat picture would compare equal to anything flat"
    assert np.abs(ours - theirs).max() <= TOLERANCE_LEVELS


MATRIX = [
    *(("sd1", scheduler, mode) for scheduler in (None, *SCHEDULERS) for mode in MODES),
    *(
        (family, scheduler, mode)
        for family in ("sd2", "sdxl")
        for scheduler in (None, "euler_a")
        for mode in MODES
    ),
    *((family, scheduler, "text") for family in ("sd2", "sdxl") for scheduler in SCHEDULERS),
]


@pytest.mark.parametrize(("family", "scheduler", "mode"), list(dict.fromkeys(MATRIX)))
def test_a_picture_is_the_one_that_torch_draws(
    pairs: dict[str, Pair], family: str, scheduler: str | None, mode: str
) -> None:
    assert_same(pairs[family], wanted(mode, scheduler=scheduler))


@pytest.mark.parametrize("mode", ["text", "image", "inpaint"])
@pytest.mark.parametrize("scheduler", [None, *FLOW_SCHEDULERS])
def test_a_model_that_predicts_a_flow_is_followed_as_torch_follows_it(
    pairs: dict[str, Pair], scheduler: str | None, mode: str
) -> None:
    assert_same(pairs["flow"], wanted(mode, scheduler=scheduler, guidance_scale=3.0))


@pytest.mark.parametrize(
    ("scheduler", "sigmas"),
    [(name, sigmas) for name in SCHEDULERS for sigmas in SIGMAS if takes_sigmas(name, sigmas)],
)
def test_noise_levels_that_are_asked_for_are_those_of_torch(
    pairs: dict[str, Pair], scheduler: str, sigmas: str
) -> None:
    assert_same(pairs["sd1"], wanted("image", scheduler=scheduler, sigmas=sigmas))


@pytest.mark.parametrize("model", ["sd1-single", "sd2-single", "sdxl-single"])
def test_a_single_file_is_converted_to_what_torch_reads_in_it(pairs: dict[str, Pair], model: str) -> None:
    assert_same(pairs[model], wanted("text", prompt="a red fox, wow! BREAK snow", scheduler="euler_a"))


@pytest.mark.parametrize("model", ["sd1-inpainting", "sdxl-inpainting"])
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_an_inpainting_model_is_shown_the_mask(pairs: dict[str, Pair], model: str, strength: float) -> None:
    assert_same(pairs[model], wanted("inpaint", strength=strength, scheduler="euler"))


@pytest.mark.parametrize("mode", ["text", "image"])
def test_a_latent_consistency_model_is_told_the_guidance(pairs: dict[str, Pair], mode: str) -> None:
    assert_same(pairs["sd1-lcm"], wanted(mode, steps=4, guidance_scale=8.0))


def test_a_model_of_few_steps_draws_with_its_own_scheduler(pairs: dict[str, Pair]) -> None:
    assert_same(pairs["sdxl-turbo"], wanted("text", steps=3, guidance_scale=1.0))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_no_guidance_and_no_negative_prompt(pairs: dict[str, Pair], family: str) -> None:
    assert_same(pairs[family], wanted("text", guidance_scale=1.0))
    assert_same(pairs[family], wanted("text", negative_prompt=""))


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_clip_are_skipped_as_in_torch(pairs: dict[str, Pair], family: str, clip_skip: int) -> None:
    assert_same(pairs[family], wanted("text", clip_skip=clip_skip, scheduler="ddim"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_prompt_is_read_in_the_same_pieces(pairs: dict[str, Pair], family: str) -> None:
    prompt = "a castle, a moat, " + "stones and towers, " * 12 + "BREAK by night"
    assert_same(pairs[family], wanted("text", prompt=prompt, scheduler="euler"))


@pytest.mark.parametrize("size", [(72, 64), (64, 104), (88, 120)])
def test_odd_sides_are_drawn_alike(pairs: dict[str, Pair], size: tuple[int, int]) -> None:
    width, height = size
    assert_same(pairs["sd1"], wanted("text", width=width, height=height, scheduler="euler"))


@pytest.mark.parametrize("upscaler", ["latent", "pixels"])
def test_a_second_larger_pass_is_the_same(pairs: dict[str, Pair], upscaler: str) -> None:
    from inglenook.wire.image import Hires

    hires = Hires(width=96, height=128, strength=0.6, upscaler=upscaler)  # type: ignore[arg-type]
    assert_same(pairs["sd1"], wanted("text", hires=hires, scheduler="euler"))


def test_several_seeds_give_a_picture_each_and_the_same_ones_again(pairs: dict[str, Pair]) -> None:
    one = pairs["sd1"]
    last = one.execute(**wanted("text", seeds=(1, 2**40, 1), scheduler="euler_a"))
    assert isinstance(last, Drawn)
    first, second, third = (one.torch.pixels(made.file) for made in one.said(_made()))
    assert (first == third).all()
    assert (first != second).any()


def test_sparing_memory_changes_no_picture_that_fits_one_tile(pairs: dict[str, Pair]) -> None:
    request = wanted("image", scheduler="euler")
    plain = pairs["sdxl"].ours(**request)
    for saving in (1, 2, 3):
        assert np.abs(pairs["sdxl"].ours(saving=saving, **request) - plain).max() <= TOLERANCE_LEVELS


def _made() -> Any:
    from inglenook.wire.image import PictureMade

    return PictureMade
