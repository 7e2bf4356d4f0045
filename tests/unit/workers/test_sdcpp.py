# SPDX-License-Identifier: Apache-2.0
"""What the worker of stable-diffusion.cpp decides without the library."""

from pathlib import Path

import numpy as np
import pytest

from inglenook.engines import sdcpp
from inglenook.wire.image import Draw, EmbeddingUse, Hires, LoraUse
from inglenook.wire.schedulers import SCHEDULERS, SIGMAS
from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.sdcpp.drawing import check_here, kept_outside
from inglenook.workers.sdcpp.painting import Painting
from inglenook.workers.sdcpp.samplers import METHODS, SCHEDULES, sampler

DRAW = Draw(job="j", prompt="a fox", width=64, height=64, steps=4, guidance_scale=7.0, seeds=(1,))


def painting(**more: object) -> Painting:
    usual: dict[str, object] = {
        "prompt": "a fox", "negative_prompt": "", "width": 2, "height": 2, "steps": 10, "guidance_scale": 7.0,
        "seed": 1,
    }  # fmt: skip
    return Painting(**usual | more)  # type: ignore[arg-type]  # as the fields are named


def test_every_name_it_takes_is_one_of_ours() -> None:
    assert METHODS.keys() <= SCHEDULERS.keys()
    assert SCHEDULES.keys() <= SIGMAS.keys()


def test_schedulers_and_sigma_schedules_go_by_name() -> None:
    assert sampler(None, None) == (None, None)
    assert sampler("euler_a", None) == ("euler_a", None)
    assert sampler("dpm++_2m", "exponential") == ("dpm++2m", "exponential")
    assert sampler("dpm++_2m_karras", None) == ("dpm++2m", "karras")
    assert sampler(None, "karras") == (None, "karras")


@pytest.mark.parametrize(
    ("scheduler", "sigmas", "named"),
    [("unipc", None, "unipc"), ("euler", "beta", "beta"), ("pndm", None, "pndm")],
)
def test_a_name_that_it_has_not_is_refused_by_name(scheduler: str, sigmas: str | None, named: str) -> None:
    with pytest.raises(DrawInvalid, match=named):
        sampler(scheduler, sigmas)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"loras": (LoraUse(path="a", weight=1.0),)}, "loras"),
        ({"embeddings": (EmbeddingUse(word="a", path="a"),)}, "prompt"),
        ({"vae": "a"}, "vae"),
        ({"hires": Hires(width=128, height=128)}, "hires"),
    ],
)
def test_what_it_cannot_do_is_refused_and_not_ignored(more: dict[str, object], field: str) -> None:
    check_here(DRAW)
    told = {name: getattr(DRAW, name) for name in Draw.__struct_fields__}
    with pytest.raises(DrawInvalid) as refused:
        check_here(Draw(**told | more))
    assert refused.value.field == field


@pytest.mark.parametrize(("strength", "taken"), [(1.0, 10), (0.99, 10), (0.5, 6), (0.25, 3), (0.01, 1)])
def test_a_picture_to_begin_from_leaves_fewer_steps(strength: float, taken: int) -> None:
    assert painting(image=np.zeros((2, 2, 3), np.uint8), strength=strength).steps_taken == taken
    assert painting(strength=strength).steps_taken == 10, "without a picture all are taken"


def test_outside_of_the_mask_the_picture_stays_as_it_was() -> None:
    image = np.full((2, 2, 3), 7, np.uint8)
    mask = np.array([[0, 255], [255, 0]], np.uint8)
    found = kept_outside(np.full((2, 2, 3), 200, np.uint8), painting(image=image, mask=mask))
    assert found[..., 0].tolist() == [[7, 200], [200, 7]]


def test_it_draws_with_whole_single_files_of_its_families() -> None:
    def can(**more: object) -> bool:
        usual: dict[str, object] = {
            "layout": "single", "family": "sd1", "variant": "", "lent": {}, "path": Path("m.safetensors"),
        }  # fmt: skip
        return sdcpp.draws(**usual | more)  # type: ignore[arg-type]  # as the parameters are named

    assert can()
    assert can(family="sdxl", variant="turbo")
    assert not can(layout="folder")
    assert not can(family="flux")
    assert not can(variant="inpaint")
    assert not can(lent={"vae": Path("vae.safetensors")})
    assert not can(path=Path("m.ckpt"))


def test_what_is_missing_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdcpp, "find_spec", lambda _: None)
    fact, hint = sdcpp.missing() or ("", "")
    assert "cyllama is not installed" in fact
    assert "pip install 'inglenook[sdcpp]'" in hint
