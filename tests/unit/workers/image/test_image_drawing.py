# SPDX-License-Identifier: Apache-2.0
"""One Draw, from its check to its last word, on tiny models."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.unit.workers.image.bench import SIDE_PX, STARTER, STEPS, Bench, a_draw, opened, reload

from inglenook.wire.image import DrawCancelled, DrawFailed, Drawn, Notice, PictureMade, Progress
from inglenook.workers.image.device import Device, Fetched


class ShortOfMemory:
    """A family whose model runs out of memory at the calls in `fails_at`, counted from 1."""

    def __init__(self, family: Any, *, fails_at: set[int]) -> None:
        self._family = family
        self._fails_at = fails_at
        self._calls = count(1)
        self.levels: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    def spare(self, saving: int) -> None:
        self.levels.append(saving)

    def predict(self, *question: Any) -> Any:
        if next(self._calls) in self._fails_at:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8.00 GiB "
                "of which 1.25 GiB is free."
            )
        return self._family.predict(*question)


def after(calls: int) -> Callable[[], bool]:
    """False `calls` times, then True."""
    asked = count(1)
    return lambda: next(asked) > calls


@pytest.fixture
def sd1(benches: dict[str, Bench]) -> Bench:
    return benches["sd1"]


@pytest.mark.parametrize("scheduler", [None, "euler_a", pytest.param("dpm++_sde", marks=pytest.mark.slow)])
def test_each_of_many_pictures_is_the_one_its_seed_draws_alone(sd1: Bench, scheduler: str | None) -> None:
    seeds = (3, 2**63 - 1, 3)
    assert isinstance(sd1.execute(seeds=seeds, scheduler=scheduler), Drawn)
    together = sd1.pictures()
    assert [made.seed for made in sd1.said(PictureMade)] == list(seeds)
    for seed, picture in zip(seeds, together, strict=True):
        assert np.array_equal(sd1.ours(seeds=(seed,), scheduler=scheduler), picture)
    assert not np.array_equal(together[0], together[1])


def test_progress_counts_every_step_and_pictures_are_announced_in_order(sd1: Bench) -> None:
    sd1.execute(seeds=(1, 2), scheduler="euler")
    seen = [(p.stage, p.picture, p.step, p.steps) for p in sd1.said(Progress)]
    one = [("denoise", step, STEPS) for step in range(1, STEPS + 1)]
    assert seen == [
        ("encode", 0, 1, 1),
        *((stage, 0, step, steps) for stage, step, steps in one),
        ("decode", 0, 1, 1),
        *((stage, 1, step, steps) for stage, step, steps in one),
        ("decode", 1, 1, 1),
    ]
    assert [(made.picture, made.width, made.height) for made in sd1.said(PictureMade)] == [
        (0, SIDE_PX, SIDE_PX),
        (1, SIDE_PX, SIDE_PX),
    ]


def test_width_and_height_are_not_confused(sd1: Bench) -> None:
    sd1.execute(width=96, height=64)
    assert sd1.pictures()[0].shape == (64, 96, 3)


def test_a_cancel_stops_before_the_next_step_is_begun(sd1: Bench) -> None:
    # Asked once before the prompt is encoded, then before each step: the fourth question precedes step 3.
    last = sd1.studio(should_stop=after(3)).execute(a_draw(seeds=(1, 2)))
    assert last == DrawCancelled(job="job-1", picture=0, step=3)
    assert sd1.said(Progress)[-1].step == 2
    assert sd1.said(PictureMade) == []


def test_a_cancel_after_the_first_picture_keeps_it(sd1: Bench) -> None:
    last = sd1.studio(should_stop=after(1 + STEPS + 1 + 1)).execute(a_draw(seeds=(1, 2), scheduler="euler"))
    assert last == DrawCancelled(job="job-1", picture=1, step=2)
    assert [made.picture for made in sd1.said(PictureMade)] == [0]


def test_when_memory_runs_out_once_the_same_picture_comes_at_the_next_level(sd1: Bench) -> None:
    undisturbed = sd1.ours(seeds=(5, 6))
    short = ShortOfMemory(sd1.family, fails_at={STEPS + 3})
    studio = sd1.studio(family=short)
    last = studio.execute(a_draw(seeds=(5, 6), scheduler="euler"))
    assert isinstance(last, Drawn)
    assert (last.saving, short.levels) == (1, [1])
    (notice,) = sd1.said(Notice)
    assert "saving level 1" in notice.text
    assert [made.picture for made in sd1.said(PictureMade)] == [0, 1], (
        "the finished picture is not drawn twice"
    )
    assert undisturbed.shape == sd1.pictures()[0].shape


def test_a_picture_after_a_retry_is_the_one_without_trouble(sd1: Bench) -> None:
    undisturbed = sd1.ours(scheduler="euler_a")
    sd1.studio(family=ShortOfMemory(sd1.family, fails_at={3})).execute(a_draw(scheduler="euler_a"))
    assert np.array_equal(sd1.pictures()[0], undisturbed)


def test_when_memory_runs_out_twice_the_draw_fails_with_the_evidence(sd1: Bench) -> None:
    short = ShortOfMemory(sd1.family, fails_at={1, 2})
    studio = sd1.studio(family=short)
    last = studio.execute(a_draw(scheduler="euler"))
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.out_of_memory"
    assert last.out_of_memory is not None
    assert last.out_of_memory.requested_bytes == 2.5 * 2**30
    assert last.out_of_memory.free_bytes == 1.25 * 2**30
    assert "2,560 MiB" in last.message
    assert isinstance(studio.execute(a_draw(scheduler="euler")), Drawn), "the worker stays usable"
    assert short.levels == [1], "the level stays risen"


def test_no_level_is_tried_beyond_the_last(sd1: Bench) -> None:
    short = ShortOfMemory(sd1.family, fails_at={1})
    last = sd1.studio(family=short, saving=3).execute(a_draw())
    assert isinstance(last, DrawFailed)
    assert (last.code, short.levels) == ("draw.out_of_memory", [])


@pytest.mark.parametrize("model", ["sd1", "sdxl", "sd1-inpainting"])
def test_saving_memory_does_not_change_the_picture(benches: dict[str, Bench], model: str) -> None:
    one = benches[model]
    request: dict[str, Any] = {"seeds": (9,), "scheduler": "euler"}
    if model == "sd1-inpainting":
        request |= {"mode": "inpaint", "image": "given.png", "mask": "mask.png"}
    plain = one.ours(**request)
    try:
        for saving in (1, 2, 3):
            one.family.spare(saving)
            assert np.abs(one.ours(**request) - plain).max() <= 1
    finally:
        one.family._saving = 0  # the levels only rise; the bench is shared
        one.family._parts.modules["vae"].disable_tiling()
        one.family._parts.modules["vae"].disable_slicing()


def test_numbers_that_are_not_finite_are_an_error_and_not_a_black_picture(sd1: Bench) -> None:
    weight = sd1.family._parts.modules["vae"].decoder.conv_out.weight
    kept = weight.clone()
    try:
        with torch.no_grad():
            weight.fill_(float("nan"))
        with pytest.raises(Exception, match="not finite") as raised:
            sd1.execute()
        assert raised.value.code == "draw.not_finite"
        assert "bfloat16" in raised.value.hint
    finally:
        with torch.no_grad():
            weight.copy_(kept)


@pytest.mark.parametrize(
    ("request_", "fact"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"width": 60}, "multiples of 8"),
        ({"height": 0}, "multiples of 8"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (2**63,)}, "at least one seed"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"mode": "image"}, "needs an image"),
        ({"mode": "inpaint", "image": "given.png"}, "needs a mask"),
        ({"mode": "image", "image": "given.png", "strength": 0.0}, "strength is 0.0"),
        ({"mode": "image", "image": "given.png", "strength": 1.5}, "strength is 1.5"),
        ({"mode": "image", "image": "absent.png"}, "cannot be read"),
        ({"mode": "image", "image": "../given.png"}, "not the name of a file"),
        ({"mode": "image", "image": "given.png", "width": 96}, "64 x 64 pixels; 96 x 64"),
        ({"scheduler": "magic"}, "no scheduler 'magic'"),
        ({"preview_every": -1}, "preview_every"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_value(
    sd1: Bench, request_: dict[str, Any], fact: str
) -> None:
    last = sd1.execute(**request_)
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"
    assert fact in last.message


def test_a_cut_file_is_refused_as_a_picture(sd1: Bench) -> None:
    (sd1.spool / "cut.png").write_bytes((sd1.spool / "given.png").read_bytes()[:200])
    last = sd1.execute(mode="image", image="cut.png")
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"


def test_an_inpainting_model_says_that_it_needs_a_mask(benches: dict[str, Bench]) -> None:
    last = benches["sd1-inpainting"].execute(mode="text")
    assert isinstance(last, DrawFailed)
    assert "inpainting model" in last.message


@pytest.mark.parametrize("scheduler", ["euler_a", "lms", "ddim", "dpm++_2m_karras"])
def test_a_flow_model_refuses_schedulers_that_cannot_follow_and_names_those_that_can(
    benches: dict[str, Bench], scheduler: str
) -> None:
    last = benches["flow"].execute(scheduler=scheduler)
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"
    assert "unipc, dpm++_2m, dpm++_2m_sde, dpm++_3m, dpm++_sde, flow_match_euler" in last.message


def test_the_weakest_strength_still_takes_one_step(sd1: Bench) -> None:
    sd1.execute(mode="image", image="given.png", strength=0.01, scheduler="euler")
    assert [p.steps for p in sd1.said(Progress) if p.stage == "denoise"] == [1]


def test_painting_leaves_the_rest_of_the_picture_alone(sd1: Bench) -> None:
    """Far outside the mask the prompt changes nothing: there the VAE shows the given picture."""
    request: dict[str, Any] = {
        "mode": "inpaint",
        "image": "given.png",
        "mask": "mask.png",
        "scheduler": "euler",
    }
    one = sd1.ours(prompt="a red fox", guidance_scale=1.0, **request)
    other = sd1.ours(prompt="a blue whale", guidance_scale=9.0, **request)
    changed = np.abs(one - other).max(axis=2)
    assert changed[16:, 24:].max() > 3 * max(1, changed[:8, :16].max())


def test_previews_come_at_every_nth_step_and_are_as_small_as_the_latents(sd1: Bench) -> None:
    sd1.execute(preview_every=2, scheduler="euler")
    named = {p.step: p.preview for p in sd1.said(Progress) if p.stage == "denoise"}
    assert [step for step, name in named.items() if name] == [2, 4]
    for name in filter(None, named.values()):
        with Image.open(sd1.spool / name) as preview:
            assert (preview.size, preview.mode) == ((8, 8), "RGB")
    assert not list(sd1.spool.glob(".*")), "no unfinished file is left"


class Ahead(Device):
    """A device that is said to run ahead, as a GPU does."""

    runs_ahead = True

    def fetch(self, tensor: torch.Tensor) -> Fetched:
        return Fetched(tensor.cpu(), None)


def test_a_device_that_runs_ahead_shows_each_preview_one_step_later(
    sd1: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> dict[int, bytes]:
        sd1.execute(preview_every=2, scheduler="euler", seeds=(4, 5))
        named = {(p.picture, p.step): p.preview for p in sd1.said(Progress) if p.stage == "denoise"}
        return {key: (sd1.spool / name).read_bytes() for key, name in named.items() if name}

    at_once = shown()
    monkeypatch.setattr(sd1.family, "device", Ahead("cpu"))
    later = shown()
    assert list(at_once) == [(0, 2), (0, 4), (1, 2), (1, 4)]
    assert later == {(picture, step + 1): data for (picture, step), data in at_once.items()}


def test_an_empty_prompt_draws(benches: dict[str, Bench]) -> None:
    for model in ("sd1", "sd2", "sdxl"):
        assert isinstance(benches[model].execute(prompt=""), Drawn)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "levels"), [("float16", 8), ("bfloat16", 32)])
@pytest.mark.parametrize("model", ["sd1", "sd2", "sdxl"])
def test_a_seed_gives_the_same_picture_in_every_precision(
    benches: dict[str, Bench], model: str, dtype: str, levels: int
) -> None:
    """The noise is drawn in float32 always: only rounding differs, by so many levels of 255 at most."""
    whole, half = benches[model], reload(benches[model], dtype=dtype)
    for scheduler in ("euler_a", "dpm++_sde"):
        assert np.abs(whole.ours(scheduler=scheduler) - half.ours(scheduler=scheduler)).max() <= levels


@pytest.mark.slow
def test_the_starter_model_draws_the_same_at_every_saving_level(tmp_path: Path) -> None:
    """Its VAE is of one pixel a latent, which diffusers cannot put together from tiles."""
    one = opened(STARTER, "sd1", tmp_path)
    request: dict[str, Any] = {"width": 32, "height": 32, "guidance_scale": 3.0}
    plain = one.ours(**request)
    for saving in (1, 2, 3):
        one.family.spare(saving)
        assert np.abs(one.ours(**request) - plain).max() <= 1
