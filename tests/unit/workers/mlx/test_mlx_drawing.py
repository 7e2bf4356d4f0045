# SPDX-License-Identifier: Apache-2.0
"""One Draw of the MLX worker: what it says on the way, how it ends, and what it refuses."""

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.mlx_models import STARTER, converted
from tests.unit.workers.image import bench as torch_bench
from tests.unit.workers.mlx.bench import SIDE_PX, Pair, a_draw, load

from inglenook.wire.image import (
    DrawCancelled,
    DrawFailed,
    Drawn,
    EmbeddingUse,
    Hires,
    LoraUse,
    Notice,
    PictureMade,
    Progress,
)
from inglenook.workers.mlx import memory, tiles

pytestmark = pytest.mark.slow

METAL = (
    "[metal::malloc] Attempting to allocate 5000 bytes which is greater than the maximum allowed buffer "
    "size of 4000 bytes."
)


def test_every_step_is_told_and_the_peak_of_memory(pairs: dict[str, Pair]) -> None:
    one = pairs["sd1"]
    last = one.execute(scheduler="euler", steps=4, seeds=(1, 2))
    assert isinstance(last, Drawn)
    assert last.peak_bytes is not None
    assert last.peak_bytes > one.model.weights_bytes
    told = [(p.stage, p.picture, p.step, p.steps) for p in one.said(Progress)]
    steps = [("denoise", picture, step, 4) for picture in (0, 1) for step in (1, 2, 3, 4)]
    assert [one for one in told if one[0] == "denoise"] == steps
    assert [made.seed for made in one.said(PictureMade)] == [1, 2]


def test_previews_come_when_they_are_due(pairs: dict[str, Pair]) -> None:
    one = pairs["sd1"]
    one.execute(scheduler="euler", steps=6, preview_every=2)
    names = [p.preview for p in one.said(Progress) if p.stage == "denoise"]
    assert [name is not None for name in names] == [False, True] * 3
    assert Image.open(one.spool / names[-1]).size == (SIDE_PX // 8, SIDE_PX // 8)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Trained weights: a preview means something."""
    place = tmp_path_factory.mktemp("starter")
    folder = converted(STARTER, place / "starter")
    return Pair(torch_bench.opened(STARTER, "sd1", place), folder, load(folder, "sd1"))


@pytest.mark.parametrize("scheduler", [None, "euler"])
def test_a_preview_looks_like_that_of_torch(starter: Pair, scheduler: str | None) -> None:
    request: dict[str, Any] = {
        "width": 32,
        "height": 32,
        "scheduler": scheduler,
        "preview_every": 2,
        "steps": 6,
    }
    assert isinstance(starter.execute(**request), Drawn)
    ours = [p.preview for p in starter.said(Progress) if p.preview]
    starter.torch.execute(**request)
    theirs = [p.preview for p in starter.torch.said(Progress) if p.preview]
    assert len(ours) == len(theirs) == 3
    for mine, other in zip(ours, theirs, strict=True):
        difference = np.abs(starter.torch.pixels(mine) - starter.torch.pixels(other))
        assert difference.mean() < 6, "the maps are measured on other patches of colour"


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_cancel_takes_effect_before_the_next_step(pairs: dict[str, Pair], after: int) -> None:
    one, asked = pairs["sd1"], [0]

    def should_stop() -> bool:
        asked[0] += 1
        return asked[0] > after + 1  # once before the prompt is read

    last = one.studio(should_stop=should_stop).execute(a_draw(scheduler="euler", steps=5))
    assert isinstance(last, DrawCancelled)
    assert (last.picture, last.step) == (0, after + 1)
    assert last.before_bytes is not None
    assert last.after_bytes is not None
    assert last.after_bytes <= last.before_bytes
    assert len([p for p in one.said(Progress) if p.stage == "denoise"]) == after
    assert one.said(PictureMade) == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"embeddings": (EmbeddingUse(word="x", path="/x"),)}, "textual inversions"),
        ({"vae": "/some/vae.safetensors"}, "VAE"),
        ({"scheduler": "unipc"}, "'unipc'"),
        ({"scheduler": "ddim", "sigmas": "karras"}, "'karras'"),
        ({"sigmas": "beta", "scheduler": "euler"}, "'beta'"),
        ({"mode": "edit", "references": ("given.png",)}, "instructions"),
        ({"width": 60}, "multiples of 8"),
        ({"steps": 0}, "steps is 0"),
        ({"seeds": ()}, "at least one seed"),
        ({"mode": "image"}, "needs an image"),
        ({"mode": "inpaint", "image": "given.png"}, "needs a mask"),
        ({"mode": "image", "image": "../given.png"}, "spool folder"),
        ({"mode": "image", "image": "given.png", "strength": math.inf}, "strength"),
        ({"clip_skip": 9}, "clip_skip is 9"),
        ({"hires": Hires(width=32, height=32)}, "second pass"),
        ({"loras": (LoraUse(path="/nowhere.safetensors", weight=1.0),)}, "nowhere.safetensors"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words_and_the_next_draw_works(
    pairs: dict[str, Pair], request_: dict[str, Any], words: str
) -> None:
    one = pairs["sd1"]
    refused = one.execute(**request_)
    assert isinstance(refused, DrawFailed)
    assert refused.code == "draw.invalid"
    assert words in refused.message
    assert isinstance(one.execute(scheduler="euler", steps=1), Drawn)


def test_an_inpainting_model_wants_a_mask(pairs: dict[str, Pair]) -> None:
    refused = pairs["sd1-inpainting"].execute()
    assert isinstance(refused, DrawFailed)
    assert "image and a mask" in refused.message


def test_memory_that_runs_out_once_is_answered_by_sparing(
    pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, failures = pairs["sd1"], [1]
    predict = one.model.predict

    def short(*given: Any) -> np.ndarray:
        if failures[0]:
            failures[0] -= 1
            raise RuntimeError(METAL)
        return predict(*given)

    monkeypatch.setattr(one.model, "predict", short)
    last = one.execute(scheduler="euler", steps=2)
    assert isinstance(last, Drawn)
    assert last.saving == 1
    (notice,) = one.said(Notice)
    assert "saving level 1" in notice.text


def test_memory_that_stays_out_fails_with_the_allocators_figures(
    pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pairs["sd1"]

    def short(*_: Any) -> np.ndarray:
        raise RuntimeError(METAL)

    monkeypatch.setattr(one.model, "predict", short)
    last = one.execute(scheduler="euler", steps=2)
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.out_of_memory"
    assert last.out_of_memory is not None
    assert (last.out_of_memory.requested_bytes, last.out_of_memory.total_bytes) == (5000, 4000)


def test_another_error_is_not_taken_for_a_lack_of_memory(
    pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> np.ndarray:
        raise RuntimeError("shapes (1,2) and (3,4) cannot be broadcast")

    monkeypatch.setattr(pairs["sd1"].model, "predict", broken)
    with pytest.raises(RuntimeError, match="broadcast"):
        pairs["sd1"].execute()
    assert memory.evidence_of(ValueError("allocate 5 bytes")) is None


def test_a_picture_that_overflows_is_told_of(pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    from inglenook.workers.image.errors import NotFinite

    one = pairs["sd1"]
    with pytest.raises(NotFinite, match="not finite"):
        one.model.decode(np.full((1, 4, 8, 8), np.nan, np.float32))


def test_tiles_have_no_seams(starter: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """This VAE looks two pixels around itself: two tiles agree but next to their borders, where they fade."""
    monkeypatch.setattr(tiles, "TILE_LATENTS", 16)
    monkeypatch.setattr(tiles, "_OVERLAP_LATENTS", 6)
    model = starter.model
    pixels = np.random.default_rng(1).random((1, 3, 40, 28), np.float32) * 2 - 1
    model.spare(0)
    latents = model.posterior(pixels).mean
    whole = model.decode(model.scale(latents)).astype(int)
    model.spare(2)
    tiled_latents = model.posterior(pixels).mean
    tiled = model.decode(model.scale(latents)).astype(int)
    model.spare(0)
    assert tiled.shape == whole.shape == (40, 28, 3)
    assert np.abs(tiled - whole).mean() < 2
    assert (tiled[:8, :8] == whole[:8, :8]).all(), "far from every border nothing changes"
    assert np.abs(tiled_latents - latents).mean() < 0.05 * np.abs(latents).mean()


def test_half_precision_draws_nearly_the_same(pairs: dict[str, Pair], tmp_path: Any) -> None:
    one = pairs["sd1"]
    plain = one.ours(scheduler="euler", steps=4)
    for dtype, levels in (("float16", 6), ("bfloat16", 40)):
        half = Pair(one.torch, one.folder, load(one.folder, "sd1", dtype=dtype))
        assert np.abs(half.ours(scheduler="euler", steps=4) - plain).max() <= levels
