# SPDX-License-Identifier: Apache-2.0
"""FLUX and Stable Diffusion 3 in our loop against diffusers' own pipelines: same seed, same picture."""

import json
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests.unit.workers.image.bench import SIDE_PX, STEPS, Bench, given_mask, given_picture

pytestmark = pytest.mark.slow  # each costs seconds; the everyday tests draw less

TOLERANCE_LEVELS = 1
PROMPT, NEGATIVE = "a red fox in the snow", "blurry"
STRENGTH = 0.6

FLUX_PIPELINES = {
    ("", "text"): "FluxPipeline",
    ("", "image"): "FluxImg2ImgPipeline",
    ("", "inpaint"): "FluxInpaintPipeline",
    ("schnell", "text"): "FluxPipeline",
    ("schnell", "image"): "FluxImg2ImgPipeline",
    ("schnell", "inpaint"): "FluxInpaintPipeline",
    ("fill", "inpaint"): "FluxFillPipeline",
    ("kontext", "text"): "FluxKontextPipeline",
    ("kontext", "edit"): "FluxKontextPipeline",
    ("kontext", "inpaint"): "FluxKontextInpaintPipeline",
}
EVERY_DAY = {("", "image"), ("schnell", "text"), ("fill", "inpaint"), ("kontext", "edit")}
SD3_PIPELINES = {
    "text": "StableDiffusion3Pipeline",
    "image": "StableDiffusion3Img2ImgPipeline",
    "inpaint": "StableDiffusion3InpaintPipeline",
}


def wish(mode: str, guidance: float, strength: float, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same wish in our words and in theirs."""
    ours: dict[str, Any] = {
        "mode": mode,
        "prompt": PROMPT,
        "guidance_scale": guidance,
        "seeds": (seed,),
    }
    theirs: dict[str, Any] = {
        "prompt": PROMPT,
        "guidance_scale": guidance,
        "num_inference_steps": STEPS,
        "generator": torch.Generator("cpu").manual_seed(seed),
        "width": SIDE_PX,
        "height": SIDE_PX,
    }
    if mode in ("image", "inpaint"):
        ours |= {"image": "given.png", "strength": strength}
        theirs |= {"image": given_picture(), "strength": strength}
    if mode == "inpaint":
        ours |= {"mask": "mask.png"}
        theirs |= {"mask_image": given_mask()}
    if mode == "edit":
        ours |= {"references": ("given.png",)}
        theirs |= {"image": given_picture()}
    return ours, theirs


def drawn_by(bench: Bench, pipeline_name: str, **call: Any) -> np.ndarray:
    return np.asarray(pipeline_of(bench, pipeline_name)(**call).images[0]).astype(int)


def pipeline_of(bench: Bench, pipeline_name: str) -> Any:
    absent = {
        part: None
        for part, told in json.loads((bench.folder / "model_index.json").read_text()).items()
        if isinstance(told, list) and told[0] is None
    }
    pipeline = getattr(diffusers, pipeline_name).from_pretrained(
        bench.folder, local_files_only=True, **absent
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std() > 5, "a flat picture would compare equal to anything flat"
    assert np.abs(ours - theirs).max() <= TOLERANCE_LEVELS


@pytest.mark.usefixtures("small_references")
@pytest.mark.parametrize(
    ("variant", "mode"),
    [pytest.param(*case, marks=() if case in EVERY_DAY else pytest.mark.slow) for case in FLUX_PIPELINES],
)
def test_flux_draws_as_diffusers_does(flux_benches: dict[str, Bench], variant: str, mode: str) -> None:
    ours, theirs = wish(mode, guidance=3.5, strength=STRENGTH, seed=21)
    theirs["max_sequence_length"] = 256 if variant == "schnell" else 512
    if variant == "kontext":
        theirs["max_area"] = SIDE_PX**2
    bench = flux_benches[variant]
    assert_same(bench.ours(**ours), drawn_by(bench, FLUX_PIPELINES[variant, mode], **theirs))


@pytest.mark.parametrize("variant", ["", "fill"])
def test_flux_paints_at_full_strength_as_diffusers_does(flux_benches: dict[str, Bench], variant: str) -> None:
    ours, theirs = wish("inpaint", guidance=3.5, strength=1.0, seed=22)
    bench = flux_benches[variant]
    assert_same(bench.ours(**ours), drawn_by(bench, FLUX_PIPELINES[variant, "inpaint"], **theirs))


@pytest.mark.parametrize("model", ["plain", "without T5", "dynamic", "medium"])
def test_sd3_draws_as_diffusers_does(sd3_benches: dict[str, Bench], model: str) -> None:
    ours, theirs = wish("text", guidance=4.5, strength=1.0, seed=23)
    negative = {"negative_prompt": NEGATIVE}
    bench = sd3_benches[model]
    assert_same(bench.ours(**ours, **negative), drawn_by(bench, SD3_PIPELINES["text"], **theirs, **negative))


@pytest.mark.parametrize("model", ["plain", "dynamic"])
def test_sd3_begins_from_a_picture_as_diffusers_does(sd3_benches: dict[str, Bench], model: str) -> None:
    ours, theirs = wish("image", guidance=4.5, strength=STRENGTH, seed=24)
    bench = sd3_benches[model]
    assert_same(bench.ours(**ours), drawn_by(bench, SD3_PIPELINES["image"], **theirs))


@pytest.mark.parametrize("strength", [STRENGTH, 1.0])
def test_sd3_paints_as_diffusers_does(sd3_benches: dict[str, Bench], strength: float) -> None:
    """Diffusers' pipeline leaves the VAE's shift out when it decodes; its latents are decoded by us."""
    ours, theirs = wish("inpaint", guidance=4.5, strength=strength, seed=25)
    bench = sd3_benches["plain"]
    latents = pipeline_of(bench, SD3_PIPELINES["inpaint"])(**theirs, output_type="latent").images
    with torch.inference_mode():
        assert_same(bench.ours(**ours), bench.family.decode(latents).astype(int))


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_sd3_without_guidance_is_asked_once(sd3_benches: dict[str, Bench], guidance: float) -> None:
    ours, theirs = wish("text", guidance=guidance, strength=1.0, seed=26)
    bench = sd3_benches["plain"]
    assert_same(bench.ours(**ours), drawn_by(bench, SD3_PIPELINES["text"], **theirs))


def test_the_guidance_that_flux_is_told_counts_also_below_one(flux_benches: dict[str, Bench]) -> None:
    bench = flux_benches[""]
    pictures = [bench.ours(guidance_scale=scale) for scale in (0.0, 1.0, 3.5)]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])


def test_a_picture_that_is_not_square_is_laid_out_and_shifted_as_in_diffusers(
    flux_benches: dict[str, Bench],
) -> None:
    ours, theirs = wish("text", guidance=3.5, strength=1.0, seed=27)
    ours |= {"width": 96, "height": 48}
    theirs |= {"width": 96, "height": 48}
    bench = flux_benches[""]
    assert_same(bench.ours(**ours), drawn_by(bench, "FluxPipeline", **theirs))


@pytest.mark.slow
def test_kontext_reads_a_reference_at_its_own_sizes_as_diffusers_does(
    flux_benches: dict[str, Bench],
) -> None:
    ours, theirs = wish("edit", guidance=2.5, strength=1.0, seed=28)
    ours["steps"] = theirs["num_inference_steps"] = 2
    bench = flux_benches["kontext"]
    expected = drawn_by(bench, "FluxKontextPipeline", **theirs, max_area=SIDE_PX**2)
    assert_same(bench.ours(**ours), expected)
