# SPDX-License-Identifier: Apache-2.0
"""Our denoising loop against diffusers' own pipelines: same model, same seed, same picture.

Both run in float32 on the CPU. The stated tolerance is TOLERANCE_LEVELS of 255, for every pixel of every
channel. Measured over the whole matrix: no difference at all from text, at most one level from a picture.
"""

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_models import FAMILIES
from tests.unit.workers.image.bench import Bench, given_mask, given_picture

from inglenook.wire.schedulers import fitting, sigmas_of

TOLERANCE_LEVELS = 1

PROMPT, NEGATIVE = "a red fox in the snow", "blurry"
NAMES = (None, *fitting(flow=False))
EVERY_DAY = {
    ("sd1", "euler_a", "text"),
    ("sd1", "dpm++_2m_karras", "image"),
    ("sd1", None, "inpaint"),
    ("sd2", "ddim", "text"),
    ("sd2", "dpm++_sde", "inpaint"),
    ("sdxl", None, "text"),
    ("sdxl", "heun", "image"),
    ("sdxl", "unipc", "inpaint"),
}
MATRIX = [
    pytest.param(family, name, mode, marks=() if (family, name, mode) in EVERY_DAY else pytest.mark.slow)
    for family in FAMILIES
    for name in NAMES
    for mode in ("text", "image", "inpaint")
]


def requests(mode: str, strength: float, guidance: float, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same wish in our words and in theirs."""
    ours: dict[str, Any] = {
        "mode": mode,
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "guidance_scale": guidance,
        "seeds": (seed,),
    }
    theirs: dict[str, Any] = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "guidance_scale": guidance,
        "generator": torch.Generator("cpu").manual_seed(seed),
    }
    if mode != "text":
        ours |= {"image": "given.png", "strength": strength}
        theirs |= {"image": given_picture(), "strength": strength}
    if mode == "inpaint":
        ours |= {"mask": "mask.png"}
        theirs |= {"mask_image": given_mask()}
    return ours, theirs


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std() > 5, "a flat picture would compare equal to anything flat"
    assert np.abs(ours - theirs).max() <= TOLERANCE_LEVELS


@pytest.mark.parametrize(("family", "scheduler", "mode"), MATRIX)
def test_a_picture_is_the_one_that_diffusers_draws(
    benches: dict[str, Bench], family: str, scheduler: str | None, mode: str
) -> None:
    ours, theirs = requests(mode, strength=0.6, guidance=5.0, seed=11)
    one = benches[family]
    assert_same(one.ours(scheduler=scheduler, **ours), one.theirs(mode, scheduler, **theirs))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sd1-inpainting", "sdxl-inpainting"])
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_an_inpainting_model_draws_as_diffusers_does(
    benches: dict[str, Bench], model: str, strength: float
) -> None:
    ours, theirs = requests("inpaint", strength=strength, guidance=5.0, seed=12)
    one = benches[model]
    assert_same(one.ours(scheduler="euler_a", **ours), one.theirs("inpaint", "euler_a", **theirs))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_painting_at_full_strength_begins_from_noise_as_diffusers_does(
    benches: dict[str, Bench], family: str
) -> None:
    ours, theirs = requests("inpaint", strength=1.0, guidance=5.0, seed=13)
    one = benches[family]
    assert_same(one.ours(scheduler="euler", **ours), one.theirs("inpaint", "euler", **theirs))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_guidance_of_one_and_below_is_no_guidance(
    benches: dict[str, Bench], family: str, guidance: float
) -> None:
    ours, theirs = requests("text", strength=1.0, guidance=guidance, seed=14)
    one = benches[family]
    assert_same(one.ours(scheduler="euler", **ours), one.theirs("text", "euler", **theirs))


@pytest.mark.slow
def test_no_negative_prompt_is_zeros_for_sdxl_as_in_diffusers(benches: dict[str, Bench]) -> None:
    ours, theirs = requests("text", strength=1.0, guidance=5.0, seed=15)
    ours["negative_prompt"], theirs["negative_prompt"] = "", None
    one = benches["sdxl"]
    assert_same(one.ours(scheduler="euler", **ours), one.theirs("text", "euler", **theirs))


LEVELS = [(name, sigmas) for name in fitting(flow=False) for sigmas in sigmas_of(name)]
FLOW_LEVELS = [
    (name, sigmas) for name in fitting(flow=True) for sigmas in (None, *sigmas_of(name, flow=True))
]
FLOW_EVERY_DAY = {("unipc", None, "text"), ("heun", None, "image"), ("euler", "karras", "inpaint")}


@pytest.mark.slow
@pytest.mark.parametrize(("scheduler", "sigmas"), LEVELS)
def test_at_every_sigma_schedule_a_picture_is_the_one_that_diffusers_draws(
    benches: dict[str, Bench], scheduler: str, sigmas: str
) -> None:
    ours, theirs = requests("image", strength=0.6, guidance=5.0, seed=17)
    one = benches["sd1"]
    assert_same(
        one.ours(scheduler=scheduler, sigmas=sigmas, **ours),
        one.theirs("image", scheduler, sigmas=sigmas, **theirs),
    )


@pytest.mark.parametrize(
    ("scheduler", "sigmas", "mode"),
    [
        pytest.param(*pair, mode, marks=() if (*pair, mode) in FLOW_EVERY_DAY else pytest.mark.slow)
        for pair in ((None, None), *FLOW_LEVELS)
        for mode in ("text", "image", "inpaint")
    ],
)
def test_a_model_that_predicts_a_flow_is_followed_as_by_diffusers(
    benches: dict[str, Bench], scheduler: str | None, sigmas: str | None, mode: str
) -> None:
    ours, theirs = requests(mode, strength=0.6, guidance=3.0, seed=16)
    one = benches["flow"]
    assert_same(
        one.ours(scheduler=scheduler, sigmas=sigmas, **ours),
        one.theirs(mode, scheduler, sigmas=sigmas, **theirs),
    )
