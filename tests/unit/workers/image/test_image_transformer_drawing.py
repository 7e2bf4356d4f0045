# SPDX-License-Identifier: Apache-2.0
"""FLUX and Stable Diffusion 3 through the worker's own path: progress, previews, memory, refusals."""

from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.unit.workers.image.bench import SIDE_PX, STEPS, Bench, a_draw, reload

from inglenook.wire.families import EDIT, FAMILIES, IMAGE, INPAINT, TEXT
from inglenook.wire.image import DrawCancelled, DrawFailed, Drawn, Notice, PictureMade, Progress
from inglenook.workers.image import denoise
from inglenook.workers.image.denoise import Plan

MODELS = ("flux", "flux-schnell", "flux-fill", "flux-kontext", "sd3")


def some_every_day(*names: str) -> list[Any]:
    """All models; those that are not named here are for CI."""
    return [pytest.param(name, marks=() if name in names else pytest.mark.slow) for name in MODELS]


@pytest.fixture(scope="module")
def models(flux_benches: dict[str, Bench], sd3_benches: dict[str, Bench]) -> dict[str, Bench]:
    named = {f"flux-{variant}".removesuffix("-"): bench for variant, bench in flux_benches.items()}
    return {**named, "sd3": sd3_benches["plain"]}


def usual(model: str) -> dict[str, Any]:
    """The least that this model draws from."""
    if model == "flux-fill":
        return {"mode": "inpaint", "image": "given.png", "mask": "mask.png"}
    if model == "flux-kontext":
        return {"mode": "edit", "references": ("given.png",)}
    return {}


@pytest.fixture(autouse=True)
def _small(small_references: None) -> None:
    """Every test here gives Kontext small reference pictures."""


@pytest.mark.parametrize("model", some_every_day("flux-kontext", "sd3"))
def test_previews_come_at_every_nth_step_and_are_as_small_as_the_latents(
    models: dict[str, Bench], model: str
) -> None:
    one = models[model]
    assert isinstance(one.execute(preview_every=2, **usual(model)), Drawn)
    named = {p.step: p.preview for p in one.said(Progress) if p.stage == "denoise"}
    assert [step for step, name in named.items() if name] == [2, 4]
    for name in filter(None, named.values()):
        with Image.open(one.spool / name) as preview:
            assert (preview.size, preview.mode) == ((SIDE_PX // 8, SIDE_PX // 8), "RGB")


@pytest.mark.parametrize("model", ["flux", "flux-schnell", "sd3"])
def test_what_the_model_believes_lies_on_the_straight_line_from_the_noise(
    models: dict[str, Bench], model: str
) -> None:
    """Also where the levels are shifted: along a flow, latents = (1 - s) * believed + s * noise believed."""
    family = models[model].family
    with torch.inference_mode():
        text = family.encode_text("a fox", "", guidance_scale=3.0, width=SIDE_PX, height=SIDE_PX)
        picture = denoise.begin(family, Plan(text, None, 6, SIDE_PX, SIDE_PX), seed=1)
        while not picture.finished:
            before, level = picture.latents, picture.scheduler.sigmas[picture.done]
            denoise.advance(family, picture)
            assert picture.last_asked is not None
            answer = picture.last_asked[2]
            expected = before - level * answer
            assert torch.allclose(denoise.believed(picture), expected, atol=1e-4)
    assert torch.allclose(denoise.believed(picture), picture.latents, atol=1e-4)


@pytest.mark.parametrize("model", some_every_day("flux-kontext", "sd3"))
def test_a_cancel_stops_before_the_next_step_is_begun(models: dict[str, Bench], model: str) -> None:
    asked = count(1)
    studio = models[model].studio(should_stop=lambda: next(asked) > 3)
    last = studio.execute(a_draw(seeds=(1, 2), **usual(model)))
    assert last == DrawCancelled(job="job-1", picture=0, step=3)
    assert models[model].said(PictureMade) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", some_every_day("flux-fill", "sd3"))
def test_saving_memory_does_not_change_the_picture(models: dict[str, Bench], model: str) -> None:
    one = models[model]
    plain = one.ours(**usual(model))
    try:
        for saving in (1, 2, 3):
            one.family.spare(saving)
            assert np.abs(one.ours(**usual(model)) - plain).max() <= 1
    finally:
        one.family._one_half_at_a_time = False  # the levels only rise; the bench is shared
        one.family._parts.modules["vae"].disable_tiling()
        one.family._parts.modules["vae"].disable_slicing()


@pytest.mark.slow
@pytest.mark.parametrize("model", some_every_day("flux-schnell"))
def test_a_seed_gives_nearly_the_same_picture_in_half_precision(models: dict[str, Bench], model: str) -> None:
    whole, half = models[model], reload(models[model], dtype="bfloat16")
    assert half.family._parts.modules["transformer"].dtype == torch.bfloat16
    assert np.abs(whole.ours(**usual(model)) - half.ours(**usual(model))).mean() <= 4


def test_each_of_many_pictures_is_the_one_its_seed_draws_alone(models: dict[str, Bench]) -> None:
    one = models["flux-kontext"]
    request = usual("flux-kontext")
    assert isinstance(one.execute(seeds=(3, 4), **request), Drawn)
    first, second = one.pictures()
    assert np.array_equal(one.ours(seeds=(4,), **request), second)
    assert not np.array_equal(first, second)


def test_width_and_height_are_not_confused(models: dict[str, Bench]) -> None:
    for model in ("flux", "sd3"):
        models[model].execute(width=96, height=64)
        assert models[model].pictures()[0].shape == (64, 96, 3)


@pytest.mark.parametrize("model", ["flux", "flux-schnell", "sd3", "flux-kontext"])
def test_painting_leaves_the_rest_of_the_picture_alone(models: dict[str, Bench], model: str) -> None:
    request = {"mode": "inpaint", "image": "given.png", "mask": "mask.png"}
    one = models[model].ours(prompt="a red fox", **request)
    other = models[model].ours(prompt="a blue whale, at sea", **request)
    changed = np.abs(one - other).max(axis=2)
    assert changed[16:, 24:].max() > 3 * max(1, changed[:8, :8].max())


def test_fill_sees_every_pixel_of_the_mask(models: dict[str, Bench]) -> None:
    """Two masks that are the same in latents, and differ by a few pixels, give two pictures."""
    one = models["flux-fill"]
    mask = np.asarray(Image.open(one.spool / "mask.png")).copy()
    mask[9:12, 9:12] = 255
    Image.fromarray(mask).save(one.spool / "other.png")
    request = {**usual("flux-fill"), "prompt": "a fox"}
    assert not np.array_equal(one.ours(**request), one.ours(**{**request, "mask": "other.png"}))


def test_a_reference_picture_of_any_size_counts(models: dict[str, Bench]) -> None:
    one = models["flux-kontext"]
    Image.new("RGB", (5, 700), (200, 30, 30)).save(one.spool / "tall.png")
    drawn = [one.ours(mode="edit", references=(name,)) for name in ("given.png", "tall.png")]
    assert not np.array_equal(*drawn)


def test_a_reference_is_brought_to_the_size_whose_shape_is_nearest() -> None:
    from inglenook.workers.image.families import flux

    for given, size in (((640, 480), (64, 64)), ((300, 900), (48, 96)), ((2000, 700), (96, 48))):
        pixels = np.zeros((given[1], given[0], 3), np.uint8)
        assert flux._of_known_size(pixels, 16).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("model", "request_", "fact"),
    [
        ("flux", {"mode": "edit", "references": ("given.png",)}, "follows no instructions"),
        ("sd3", {"mode": "edit", "references": ("given.png",)}, "follows no instructions"),
        ("flux", {"references": ("given.png",)}, "takes none"),
        ("flux-kontext", {"mode": "edit"}, "at least one reference"),
        ("flux-kontext", {"mode": "edit", "references": ("given.png",) * 2}, "this model takes 1"),
        ("flux-kontext", {"mode": "edit", "references": ("absent.png",)}, "cannot be read"),
        ("flux-fill", {"mode": "text"}, "inpainting model"),
        ("flux", {"width": 72}, "multiples of 16"),
        ("sd3", {"height": 72}, "multiples of 16"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_reason(
    models: dict[str, Bench], model: str, request_: dict[str, Any], fact: str
) -> None:
    last = models[model].execute(**request_)
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"
    assert fact in last.message


@pytest.mark.slow
def test_a_prompt_beyond_t5_is_cut_and_said_so(models: dict[str, Bench]) -> None:
    for model in ("flux", "flux-schnell", "sd3"):
        assert isinstance(models[model].execute(prompt="x " * 3000), Drawn)
        (notice,) = models[model].said(Notice)
        assert "too long" in notice.text


def test_an_empty_prompt_draws(models: dict[str, Bench]) -> None:
    for model in ("flux", "sd3"):
        assert isinstance(models[model].execute(prompt=""), Drawn)


@pytest.mark.parametrize("strength", [0.01, 0.5])
def test_the_weakest_strength_still_takes_one_step(models: dict[str, Bench], strength: float) -> None:
    one = models["flux"]
    one.execute(mode="image", image="given.png", strength=strength)
    taken = max(1, int(STEPS * strength))
    assert [p.steps for p in one.said(Progress) if p.stage == "denoise"] == [taken] * taken


def test_the_server_offers_what_the_worker_draws() -> None:
    flux = FAMILIES["flux"]
    assert flux.variant("").modes == {TEXT, IMAGE, INPAINT}
    assert flux.variant("fill").modes == {INPAINT}
    assert flux.variant("kontext").modes == {TEXT, EDIT, INPAINT}
    assert FAMILIES["sd3"].variant("").modes == {TEXT, IMAGE, INPAINT}
