# SPDX-License-Identifier: Apache-2.0
"""Models that draw in few steps: latent consistency models, turbo and lightning."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    LatentConsistencyModelImg2ImgPipeline,
    LatentConsistencyModelPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from tests.tiny_models import CLIP_TOKENS, build, write_single
from tests.unit.workers.image.bench import SIDE_PX, Bench, bench, given_mask, given_picture
from tests.unit.workers.image.test_image_parity import assert_same

from inglenook.wire.image import DrawFailed, Hires, LoadImageModel, Progress
from inglenook.workers.image.device import Device
from inglenook.workers.image.families.registry import load_family

pytestmark = pytest.mark.slow  # each costs seconds; the everyday tests draw less

STEPS = 4
PROMPT = "a red fox in the snow"
PIPELINES: dict[tuple[str, str], Any] = {
    ("sd1", "text"): LatentConsistencyModelPipeline,
    ("sd1", "image"): LatentConsistencyModelImg2ImgPipeline,
    ("sd1", "inpaint"): StableDiffusionInpaintPipeline,
    ("sdxl", "text"): StableDiffusionXLPipeline,
    ("sdxl", "image"): StableDiffusionXLImg2ImgPipeline,
    ("sdxl", "inpaint"): StableDiffusionXLInpaintPipeline,
}


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    return {
        "sd1": bench("sd1", tmp_path_factory.mktemp("lcm"), few_steps="lcm"),
        "sdxl": bench("sdxl", tmp_path_factory.mktemp("lcm"), few_steps="lcm"),
    }


@pytest.fixture(scope="module")
def turbo(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench("sdxl", tmp_path_factory.mktemp("turbo"), few_steps="turbo")


def theirs(one: Bench, mode: str, *, strength: float = 1.0, **call: Any) -> np.ndarray:
    """What diffusers draws. Its pipeline of Stable Diffusion XL does not know that a consistency model takes
    all of its steps on a given picture; it is told by way of the scheduler."""
    pipeline = PIPELINES[one.family.name, mode].from_pretrained(one.folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": STEPS, **call}
    if mode != "text":
        call |= {"image": given_picture(), "strength": strength}
    if mode == "inpaint":
        call |= {"mask_image": given_mask()}
    if mode != "image":
        call |= {"width": SIDE_PX, "height": SIDE_PX}
    if isinstance(pipeline, StableDiffusionXLImg2ImgPipeline):
        scheduler = pipeline.scheduler
        scheduler.set_timesteps = functools.partial(scheduler.set_timesteps, strength=strength)
        call |= {"strength": 1.0}
    return np.asarray(pipeline(PROMPT, **call).images[0]).astype(int)


@pytest.mark.parametrize(
    "guidance", [pytest.param(0.0, marks=pytest.mark.slow), pytest.param(1.0, marks=pytest.mark.slow), 8.5]
)
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_consistency_model_reads_the_guidance_as_diffusers_does(
    distilled: dict[str, Bench], family: str, guidance: float
) -> None:
    one = distilled[family]
    ours = one.ours(prompt=PROMPT, steps=STEPS, guidance_scale=guidance, seeds=(21,))
    generator = torch.Generator().manual_seed(21)
    assert_same(ours, theirs(one, "text", guidance_scale=guidance, generator=generator))


def test_the_guidance_and_no_negative_prompt_changes_what_a_consistency_model_draws(
    distilled: dict[str, Bench],
) -> None:
    one = distilled["sd1"]
    plain = one.ours(steps=STEPS, guidance_scale=8.5, negative_prompt="")
    assert np.array_equal(plain, one.ours(steps=STEPS, guidance_scale=8.5, negative_prompt="blurry"))
    assert not np.array_equal(plain, one.ours(steps=STEPS, guidance_scale=2.0))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_consistency_model_takes_all_steps_on_a_given_picture(
    distilled: dict[str, Bench], family: str
) -> None:
    one = distilled[family]
    ours = one.ours(
        mode="image",
        image="given.png",
        strength=0.6,
        prompt=PROMPT,
        steps=STEPS,
        guidance_scale=4.0,
        seeds=(22,),
    )
    assert [p.steps for p in one.said(Progress) if p.stage == "denoise"] == [STEPS] * STEPS
    generator = torch.Generator().manual_seed(22)
    assert_same(ours, theirs(one, "image", strength=0.6, guidance_scale=4.0, generator=generator))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_consistency_model_paints_inside_a_mask_as_diffusers_does(
    distilled: dict[str, Bench], family: str
) -> None:
    one = distilled[family]
    ours = one.ours(
        mode="inpaint",
        image="given.png",
        mask="mask.png",
        strength=1.0,
        prompt=PROMPT,
        steps=STEPS,
        guidance_scale=4.0,
        seeds=(23,),
    )
    generator = torch.Generator().manual_seed(23)
    assert_same(ours, theirs(one, "inpaint", guidance_scale=4.0, generator=generator))


@pytest.mark.parametrize(("strength", "taken"), [(0.05, 2), (0.02, 1), (0.001, 1), (0.5, STEPS)])
def test_a_consistency_model_takes_as_many_steps_as_the_strength_has_levels_and_at_least_one(
    distilled: dict[str, Bench], strength: float, taken: int
) -> None:
    one = distilled["sd1"]
    one.ours(mode="image", image="given.png", strength=strength, steps=STEPS)
    assert [p.steps for p in one.said(Progress) if p.stage == "denoise"] == [taken] * taken


SECOND_PASS = Hires(width=SIDE_PX, height=SIDE_PX, steps=51)


@pytest.mark.parametrize("request_", [{"steps": 51}, {"steps": STEPS, "hires": SECOND_PASS}])
def test_more_steps_than_a_consistency_model_was_distilled_on_are_refused(
    distilled: dict[str, Bench], request_: dict[str, Any]
) -> None:
    last = distilled["sd1"].execute(**request_)
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"
    assert "steps is 51" in last.message
    assert "at most 50" in last.message


def test_a_model_of_many_steps_refuses_as_many_with_the_scheduler_of_consistency_models(
    benches: dict[str, Bench],
) -> None:
    assert isinstance(benches["sd1"].execute(scheduler="lcm", steps=51), DrawFailed)


@pytest.mark.parametrize("mode", ["text", "image"])
def test_a_turbo_model_draws_without_guidance_as_diffusers_does(turbo: Bench, mode: str) -> None:
    given = {"mode": "image", "image": "given.png", "strength": 0.5} if mode == "image" else {}
    ours = turbo.ours(prompt=PROMPT, negative_prompt="x", steps=2, guidance_scale=0.0, seeds=(24,), **given)
    generator = torch.Generator().manual_seed(24)
    pipeline = PIPELINES["sdxl", mode].from_pretrained(turbo.folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    call: dict[str, Any] = (
        {"image": given_picture(), "strength": 0.5}
        if mode == "image"
        else {"width": SIDE_PX, "height": SIDE_PX}
    )
    picture = pipeline(PROMPT, num_inference_steps=2, guidance_scale=0.0, generator=generator, **call).images[
        0
    ]
    assert_same(ours, np.asarray(picture).astype(int))


@pytest.mark.parametrize("strength", [0.1, 0.49])
def test_image_to_image_in_two_steps_takes_at_least_one(turbo: Bench, strength: float) -> None:
    turbo.ours(mode="image", image="given.png", strength=strength, steps=2, guidance_scale=1.0)
    assert [p.steps for p in turbo.said(Progress) if p.stage == "denoise"] == [1]


def load(path: Path, family: str, variant: str) -> Any:
    return load_family(
        LoadImageModel(
            path=str(path),
            layout="single",
            family=family,
            variant=variant,
            device="cpu",
            dtype="float32",
            spool="unused",
        ),
        Device("cpu"),
    )


@pytest.mark.parametrize(
    ("family", "variant", "scheduler"),
    [
        ("sd2", "turbo", "EulerDiscreteScheduler"),
        ("sdxl", "turbo", "EulerAncestralDiscreteScheduler"),
        ("sdxl", "lightning", "EulerDiscreteScheduler"),
    ],
)
def test_a_single_file_of_few_steps_begins_at_the_highest_noise(
    tmp_path: Path, family: str, variant: str, scheduler: str
) -> None:
    """A file says nothing of its scheduler; the default of the family would begin far below and draw mud."""
    made = load(write_single(family, tmp_path / "m.safetensors"), family, variant).schedulers.make(None)
    made.set_timesteps(1, device="cpu")
    assert type(made).__name__ == scheduler
    assert made.timesteps.tolist() == [999]
    assert made.config["prediction_type"] == "epsilon"


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_consistency_model_in_a_single_file_reads_the_guidance(tmp_path: Path, family: str) -> None:
    path = write_single(family, tmp_path / "m.safetensors", few_steps="lcm", dtype=torch.float32)
    built, read = build(family, few_steps="lcm", vocabulary=CLIP_TOKENS), load(path, family, "lcm")
    assert read.embeds_guidance
    assert type(read.schedulers.make(None)).__name__ == "LCMScheduler"
    expected, found = built.unet.state_dict(), read._parts.modules["unet"].state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
