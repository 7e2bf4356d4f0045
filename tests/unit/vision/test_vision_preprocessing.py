# SPDX-License-Identifier: Apache-2.0
"""Preprocessing without torch: bit for bit what torchvision makes of the same picture."""

import io
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inglenook.base.errors import Invalid
from inglenook.vision.applying import prepared, upright
from inglenook.vision.preprocessing import (
    CenterCrop,
    Grayscale,
    Normalize,
    Preprocessing,
    Resize,
    customary,
    resized,
    sound,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_the_shorter_side_is_exact_and_the_longer_one_is_rounded_down() -> None:
    assert resized((256,), 480, 641) == (256, 341)
    assert resized((256,), 641, 480) == (341, 256)
    assert resized((256,), 100, 1000, max_size=300) == (30, 300)
    assert resized((7, 9), 100, 1000) == (7, 9)


def test_a_crop_larger_than_the_picture_is_black_around_it() -> None:
    made = prepared(
        Image.new("RGB", (2, 2), (255, 255, 255)), Preprocessing(steps=(CenterCrop(size=(4, 5)),))
    )
    assert made.shape == (3, 4, 5)
    assert made[0].tolist() == [[0] * 5, [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0] * 5]


def test_a_picture_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    file = io.BytesIO()
    picture(40, 20).save(file, "JPEG", exif=exif)
    assert upright(Image.open(io.BytesIO(file.getvalue()))).size == (20, 40)


def test_a_strip_whose_shorter_side_would_be_enlarged_beyond_measure_is_refused() -> None:
    wanted = Preprocessing(steps=(Resize(size=(256,)), CenterCrop(size=(224, 224))))
    with pytest.raises(Invalid, match="30000 x 1 pixels would be enlarged to 7680000 x 256"):
        prepared(Image.new("RGB", (30_000, 1)), wanted)


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((Resize(size=(8,)),), "depends on the picture"),
        ((Resize(size=(8, 9)),), "it makes 9 x 8 pixels"),
        ((Resize(size=(8, 8)), Grayscale()), "it makes 1 channels"),
        ((Normalize(mean=MEAN, std=STD), Resize(size=(8, 8))), "once, and last"),
        ((Resize(size=(8, 8)), Normalize(mean=(0.5, 0.5), std=(1.0,))), "2 means"),
        ((Resize(size=(8, 8)), Normalize(mean=(0.5,), std=(1.0,))), None),
        ((Resize(size=(9,)), CenterCrop(size=(8, 8)), Normalize(mean=MEAN, std=STD)), None),
    ],
)
def test_steps_that_do_not_fit_the_model_are_told(steps: Any, problem: str | None) -> None:
    found = sound(Preprocessing(steps=steps), channels=3, height=8, width=8)
    assert found is None if problem is None else problem in (found or "")


def test_it_travels_as_json_and_refuses_what_it_does_not_know() -> None:
    wanted = customary(224, 224, 3, raw=False)
    text = msgspec.json.encode(wanted)
    assert msgspec.json.decode(text, type=Preprocessing) == wanted
    with pytest.raises(msgspec.ValidationError, match="blur"):
        msgspec.json.decode(text.replace(b'"center_crop"', b'"blur"'), type=Preprocessing)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.one_of(st.tuples(st.integers(1, 40)), st.tuples(st.integers(1, 40), st.integers(1, 40))),
    crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]),
    gray=st.booleans(),
)
def test_every_step_is_torchvisions_bit_for_bit(
    width: int, height: int, size: Any, crop: Any, interpolation: Any, gray: bool
) -> None:
    torch = pytest.importorskip("torch")
    from torchvision.transforms import InterpolationMode, v2

    given_picture = picture(width, height, seed=width * 100 + height)
    steps = [Resize(size=size, interpolation=interpolation), CenterCrop(size=crop)]
    theirs = [v2.Resize(list(size), InterpolationMode(interpolation)), v2.CenterCrop(list(crop))]
    if gray:
        steps.append(Grayscale(channels=3))
        theirs.append(v2.Grayscale(3))
    wanted = Preprocessing(steps=(*steps, Normalize(mean=MEAN, std=STD)))
    transform = v2.Compose(
        [*theirs, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    ours = prepared(given_picture, wanted)
    assert np.array_equal(ours, transform(given_picture).numpy())
