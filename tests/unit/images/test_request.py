# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.base.errors import Invalid
from inglenook.base.ids import BlobId, ModelId
from inglenook.catalog.errors import ModelUnusable
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.images.errors import BadRequest
from inglenook.images.model import MAX_SEED, ImageRequest, Mode, OutputFormat
from inglenook.images.request import Drawing, Limits, plan
from inglenook.wire.schedulers import SCHEDULERS

LIMITS = Limits(max_side_px=2048, max_pixels=2048 * 2048, max_pictures=10, max_steps=150)
DEFAULTS = ImageDefaults(native_px=512, multiple=8, width=512, height=512, steps=25, guidance_scale=7.5)
MODEL = ModelRecord(
    id=ModelId("a/model"),
    kind=ModelKind.IMAGE,
    family="sd1",
    path=Path("model"),
    layout="folder",
    weights_bytes=1,
    parameters=1,
    dtype="float16",
    digest="",
    root=Path(),
    image=DEFAULTS,
)
BLOB = BlobId("0" * 64)


def request(**fields: Any) -> ImageRequest:
    return ImageRequest(**{"model": MODEL.id, "prompt": "a cat"} | fields)


def planned(
    asked: ImageRequest, *, model: ModelRecord = MODEL, image_size: tuple[int, int] | None = None
) -> Drawing:
    return plan(asked, model, limits=LIMITS, seed=7, image_size=image_size)


def test_what_is_not_asked_for_is_as_the_model_likes_it() -> None:
    drawing = planned(request())
    assert (drawing.width, drawing.height, drawing.steps, drawing.guidance_scale) == (512, 512, 25, 7.5)
    assert drawing.seeds == (7,)
    assert drawing.strength is None


def test_a_guidance_of_zero_is_a_value() -> None:
    assert planned(request(guidance_scale=0.0)).guidance_scale == 0.0


def test_each_picture_has_a_seed_of_its_own_and_the_last_one_wraps() -> None:
    assert planned(request(n=3, seed=5)).seeds == (5, 6, 7)
    assert planned(request(n=2, seed=MAX_SEED)).seeds == (MAX_SEED, 0)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n\t "}, "prompt"),
        ({"prompt": "x" * 100_000}, "prompt"),
        ({"negative_prompt": "x" * 100_000}, "negative_prompt"),
        ({"steps": 0}, "steps"),
        ({"steps": 100_000}, "steps"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"guidance_scale": float("inf")}, "guidance_scale"),
        ({"guidance_scale": -1.0}, "guidance_scale"),
        ({"seed": 2**64}, "seed"),
        ({"seed": -1}, "seed"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"scheduler": "eulr"}, "scheduler"),
        ({"output_compression": 101, "output_format": OutputFormat.JPEG}, "output_compression"),
        ({"output_compression": 50}, "output_compression"),
        ({"width": 512}, "size"),
        ({"width": 0, "height": 0}, "size"),
        ({"width": 63, "height": 63}, "size"),
        ({"width": 10_000, "height": 10_000}, "size"),
        ({"strength": 0.5}, "strength"),
        ({"image": BLOB}, "image"),
        ({"mask": BLOB}, "mask"),
        ({"mode": Mode.IMAGE}, "image"),
        ({"mode": Mode.IMAGE, "image": BLOB, "mask": BLOB}, "mask"),
        ({"mode": Mode.IMAGE, "image": BLOB, "strength": 0.0}, "strength"),
        ({"mode": Mode.IMAGE, "image": BLOB, "strength": float("nan")}, "strength"),
        ({"mode": Mode.INPAINT, "image": BLOB}, "mask"),
    ],
)
def test_a_value_that_cannot_be_drawn_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        planned(request(**fields))
    assert refused.value.field == field
    assert refused.value.message


def test_an_unknown_scheduler_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(BadRequest) as refused:
        planned(request(scheduler="eulr"))
    assert refused.value.hint is not None
    assert all(name in refused.value.hint for name in SCHEDULERS)


def test_a_model_with_a_problem_or_of_another_kind_is_refused() -> None:
    for model in (replace(MODEL, problem="its file is truncated"), replace(MODEL, image=None)):
        with pytest.raises(ModelUnusable) as refused:
            planned(request(), model=model)
        assert refused.value.field == "model"


def test_an_edit_without_a_size_has_the_shape_of_its_picture() -> None:
    drawing = planned(request(mode=Mode.IMAGE, image=BLOB), image_size=(1000, 500))
    assert drawing.width == 512
    assert drawing.height == 256
    assert drawing.strength == 0.75


def test_a_small_picture_is_not_enlarged_by_an_edit() -> None:
    drawing = planned(request(mode=Mode.IMAGE, image=BLOB), image_size=(200, 104))
    assert (drawing.width, drawing.height) == (200, 104)


def test_a_size_that_is_not_a_multiple_is_rounded_and_said() -> None:
    drawing = planned(request(width=501, height=509))
    assert (drawing.width, drawing.height) == (504, 512)
    assert "504" in drawing.notes[0]


@given(
    n=st.integers(1, 10),
    seed=st.none() | st.integers(0, MAX_SEED),
    prompt=st.text(min_size=1, max_size=200).filter(str.strip),
    size=st.none() | st.tuples(st.integers(64, 2048), st.integers(64, 2048)),
    guidance=st.none() | st.floats(0, 50),
    output=st.sampled_from(OutputFormat),
)
def test_a_drawing_survives_the_database_as_json(
    n: int,
    seed: int | None,
    prompt: str,
    size: tuple[int, int] | None,
    guidance: float | None,
    output: OutputFormat,
) -> None:
    width, height = size if size is not None else (None, None)
    asked = request(
        n=n,
        seed=seed,
        prompt=prompt,
        width=width,
        height=height,
        guidance_scale=guidance,
        output_format=output,
    )
    drawing = planned(asked)
    assert Drawing.from_json(json.loads(json.dumps(drawing.as_json()))) == drawing
    assert drawing.out_width == drawing.width * drawing.factor


def test_a_scheduler_that_the_model_cannot_follow_is_refused_before_anything_waits() -> None:
    able = replace(MODEL, image=replace(DEFAULTS, schedulers=("unipc", "dpm++_2m")))
    assert planned(request(scheduler="unipc"), model=able).scheduler == "unipc"
    with pytest.raises(BadRequest) as refused:
        planned(request(scheduler="euler"), model=able)
    assert refused.value.field == "scheduler"
    assert "unipc, dpm++_2m" in str(refused.value.hint)


def test_the_limit_of_steps_holds_for_what_the_model_likes_too() -> None:
    drawing = plan(request(), MODEL, limits=replace(LIMITS, max_steps=5), seed=7, image_size=None)
    assert drawing.steps == 5
