# SPDX-License-Identifier: Apache-2.0
"""LoRAs, VAEs and embeddings that a request names must fit the model's family."""

from dataclasses import replace
from pathlib import Path

import pytest

from inglenook.base.ids import ModelId
from inglenook.catalog.errors import ModelUnusable
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.images.errors import BadRequest
from inglenook.images.model import ImageRequest
from inglenook.images.request import Found, Limits, plan

LIMITS = Limits(max_side_px=2048, max_pixels=2048 * 2048, max_pictures=10, max_steps=150)
MODEL = ModelRecord(
    id=ModelId("model"),
    kind=ModelKind.IMAGE,
    family="flux",
    path=Path("model"),
    layout="folder",
    weights_bytes=1,
    parameters=1,
    dtype="float16",
    digest="",
    root=Path(),
    image=ImageDefaults(512, 16, 512, 512, 4, 1.0),
)
VAE = replace(MODEL, id=ModelId("ae"), kind=ModelKind.VAE, family=None, image=None)


def with_vae(vae: ModelRecord) -> ModelId | None:
    asked = ImageRequest(model=MODEL.id, prompt="a cat", vae="ae")
    return plan(asked, MODEL, limits=LIMITS, seed=7, image_size=None, found=Found("a cat", "", vae=vae)).vae


@pytest.mark.parametrize(
    ("family", "fits"),
    [(None, ()), (None, ("flux", "sd3")), ("flux", ("flux",)), ("flux", ())],
)
def test_a_part_that_fits_or_may_fit_is_taken(family: str | None, fits: tuple[str, ...]) -> None:
    assert with_vae(replace(VAE, family=family, fits=fits)) == "ae"


@pytest.mark.parametrize(
    ("family", "fits", "says"),
    [
        (None, ("sd1", "sd2"), "The VAE ae is for Stable Diffusion 1.x or Stable Diffusion 2.x; model is of"),
        ("sdxl", ("sdxl",), "for Stable Diffusion XL"),
        ("wan", (), "is for wan; model is of the family FLUX.1"),
    ],
)
def test_a_part_for_other_families_is_refused_by_name(
    family: str | None, fits: tuple[str, ...], says: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        with_vae(replace(VAE, family=family, fits=fits))
    assert says in caught.value.message
    assert caught.value.field == "vae"


def test_a_part_with_a_problem_is_refused_with_it() -> None:
    with pytest.raises(ModelUnusable, match="it is a tiny VAE"):
        with_vae(replace(VAE, problem="it is a tiny VAE"))
