# SPDX-License-Identifier: Apache-2.0
"""Every scheduler that follows a flow, with every model that predicts one."""

import numpy as np
import pytest
import torch
from tests import tiny_qwen
from tests.unit.workers.image.bench import Bench, opened

from inglenook.workers.image.families.family import Family
from inglenook.workers.image.schedulers import FLOW_RECIPES, levels_of, scheduler_class

pytestmark = pytest.mark.slow  # each costs seconds; the everyday tests draw less

STEPS = 3
SCHEDULES = [
    pytest.param(name, sigmas, id=f"{name}-{sigmas or 'own'}")
    for name, recipe in FLOW_RECIPES.items()
    for sigmas in (None, *levels_of(scheduler_class(recipe.class_name), flow=True))
]


@pytest.fixture(scope="module")
def models(
    flux_benches: dict[str, Bench],
    sd3_benches: dict[str, Bench],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Bench]:
    place = tmp_path_factory.mktemp("qwen")
    qwen = opened(tiny_qwen.write_folder("", place / "model"), "qwen-image", place)
    return {
        "flux": flux_benches[""],
        "sd3": sd3_benches["plain"],
        "sd3-dynamic": sd3_benches["dynamic"],
        "qwen-image": qwen,
    }


@pytest.mark.parametrize(("scheduler", "sigmas"), SCHEDULES)
@pytest.mark.parametrize("model", ["flux", "sd3", "sd3-dynamic", "qwen-image"])
def test_a_picture_is_drawn_from_noise(
    models: dict[str, Bench], model: str, scheduler: str, sigmas: str | None
) -> None:
    """A decoded picture that is not finite fails the Draw."""
    drawn = models[model].ours(scheduler=scheduler, sigmas=sigmas, steps=STEPS)
    assert drawn.std() > 1


@pytest.mark.parametrize(("scheduler", "sigmas"), SCHEDULES)
@pytest.mark.parametrize("model", ["flux", "sd3", "qwen-image"])
def test_a_weak_strength_keeps_most_of_the_given_picture(
    models: dict[str, Bench], model: str, scheduler: str, sigmas: str | None
) -> None:
    one = models[model]
    given = {"mode": "image", "image": "given.png", "scheduler": scheduler, "sigmas": sigmas, "steps": 6}
    weak, strong = one.ours(strength=0.17, **given), one.ours(strength=1.0, **given)
    kept = one.family.decode(_latents_of(one))
    assert np.abs(weak - kept).mean() < np.abs(strong - kept).mean()


def _latents_of(one: Bench) -> torch.Tensor:
    """Of the given picture, without noise."""
    pixels = torch.from_numpy(one.pixels("given.png")).permute(2, 0, 1)[None] / 127.5 - 1
    family: Family = one.family
    with torch.inference_mode():
        return family.scale(family.posterior(pixels.float()).mean)
