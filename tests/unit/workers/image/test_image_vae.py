# SPDX-License-Identifier: Apache-2.0
"""Another VAE for one Draw, and a VAE that works in host memory."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.tiny_models import build, ldm_tensors
from tests.unit.workers.image.bench import PIPELINES, SIDE_PX, STEPS, Bench, a_draw

from inglenook.wire.image import DrawFailed, LoadImageModel, Progress
from inglenook.workers.image.device import Device
from inglenook.workers.image.families.registry import load_family

OTHER_SEED = 77


def as_folder(place: Path) -> Path:
    build("sd1", seed=OTHER_SEED).vae.save_pretrained(place)
    return place


def as_model_folder(place: Path) -> Path:
    as_folder(place / "vae")
    return place


def as_diffusers_file(place: Path) -> Path:
    return as_folder(place) / "diffusion_pytorch_model.safetensors"


def with_prefix(prefix: str) -> Callable[[Path], Path]:
    """A file in the names of the first latent diffusion models."""

    def write(place: Path) -> Path:
        tensors = ldm_tensors(build("sd1", seed=OTHER_SEED, vocabulary=49408))
        own = "first_stage_model."
        place.mkdir()
        save_file(
            {prefix + key.removeprefix(own): value.contiguous().clone()
             for key, value in tensors.items() if key.startswith(own)},
            place / "other.safetensors",
        )  # fmt: skip
        return place / "other.safetensors"

    return write


FORMS: dict[str, Callable[[Path], Path]] = {
    "a folder": as_folder,
    "the folder of a model": as_model_folder,
    "diffusers' names": as_diffusers_file,
    "the first names": with_prefix(""),
    "the first names in a checkpoint": with_prefix("first_stage_model."),
    "the first names below vae": with_prefix("vae."),
}
EVERY_DAY = {"a folder", "the first names"}


@pytest.fixture
def sd1(benches: dict[str, Bench]) -> Bench:
    return benches["sd1"]


def drawn_by_diffusers(one: Bench, vae: Any, mode: str) -> np.ndarray:
    pipeline = PIPELINES[False, mode].from_pretrained(
        one.folder, local_files_only=True, safety_checker=None, vae=vae
    )
    pipeline.set_progress_bar_config(disable=True)
    request = a_draw()
    given = {"image": Image.open(one.spool / "given.png"), "strength": 0.6}
    return np.asarray(
        pipeline(
            request.prompt,
            num_inference_steps=STEPS,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(request.seeds[0]),
            **(given if mode == "image" else {"width": SIDE_PX, "height": SIDE_PX}),
        ).images[0]
    ).astype(int)


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=() if form in EVERY_DAY else pytest.mark.slow) for form in FORMS]
)
def test_the_picture_is_decoded_by_the_other_vae_in_each_form(sd1: Bench, tmp_path: Path, form: str) -> None:
    path = FORMS[form](tmp_path / "other")
    before = sd1.ours()
    ours = sd1.ours(vae=str(path))
    theirs = drawn_by_diffusers(sd1, build("sd1", seed=OTHER_SEED).vae, "text")
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - before).mean() > 5
    assert np.array_equal(sd1.ours(), before), "the next Draw has the model's own"


@pytest.mark.slow
def test_a_given_picture_is_encoded_by_it_too(sd1: Bench, tmp_path: Path) -> None:
    path = as_folder(tmp_path / "other")
    ours = sd1.ours(vae=str(path), mode="image", image="given.png", strength=0.6)
    theirs = drawn_by_diffusers(sd1, build("sd1", seed=OTHER_SEED).vae, "image")
    assert np.abs(ours - theirs).max() <= 1


def a_tiny_one(place: Path) -> AutoencoderTiny:
    torch.manual_seed(5)
    tiny = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    tiny.save_pretrained(place)
    return tiny


@pytest.mark.parametrize("alone", [False, True])
def test_a_tiny_autoencoder_decodes_from_its_folder_and_from_its_file_alone(
    sd1: Bench, tmp_path: Path, alone: bool
) -> None:
    tiny = a_tiny_one(tmp_path / "tiny")
    path = tmp_path / "tiny" / "diffusion_pytorch_model.safetensors" if alone else tmp_path / "tiny"
    theirs = drawn_by_diffusers(sd1, tiny.eval(), "text")
    assert np.abs(sd1.ours(vae=str(path)) - theirs).max() <= 1


@pytest.mark.slow
def test_previews_have_its_colours(sd1: Bench, tmp_path: Path) -> None:
    path = as_folder(tmp_path / "other")

    def last_preview(**request: Any) -> np.ndarray:
        sd1.execute(preview_every=STEPS, scheduler="euler", **request)
        return sd1.pixels(str([p.preview for p in sd1.said(Progress) if p.preview][-1]))

    own = last_preview()
    assert not np.array_equal(last_preview(vae=str(path)), own)
    assert np.array_equal(last_preview(), own)


@pytest.mark.slow
def test_it_is_read_once_and_again_when_its_file_has_changed(
    sd1: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_diffusers_file(tmp_path / "other")
    reads: list[Path] = []
    real = sd1.family.vaes._read
    monkeypatch.setattr(sd1.family.vaes, "_read", lambda place: reads.append(place) or real(place))
    first = sd1.ours(vae=str(path))
    sd1.ours()
    assert np.array_equal(sd1.ours(vae=str(path)), first)
    assert len(reads) == 1
    save_file({key: value * 1.5 for key, value in load_file(path).items()}, path)
    os.utime(path, ns=(1, 1))
    assert not np.array_equal(sd1.ours(vae=str(path)), first)
    assert len(reads) == 2


def other_channels(place: Path) -> Path:
    AutoencoderKL(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=16,
    ).save_pretrained(place)  # fmt: skip
    return place


def other_scale(place: Path) -> Path:
    AutoencoderKL(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4,
    ).save_pretrained(place)  # fmt: skip
    return place


def cut_short(place: Path) -> Path:
    path = as_diffusers_file(place)
    path.write_bytes(path.read_bytes()[:-10])
    return path


def something_else(place: Path) -> Path:
    place.mkdir()
    save_file({"what.is.this": torch.zeros(1)}, place / "other.safetensors")
    return place / "other.safetensors"


def a_pickle(place: Path) -> Path:
    place.mkdir()
    torch.save({"x": torch.zeros(1)}, place / "other.safetensors")
    return place / "other.safetensors"


REFUSED = {
    "its latents have 16 channels and stand for 8 x 8 pixels each, the model's have 4": other_channels,
    "stand for 2 x 2 pixels each, the model's have 4 and 8 x 8": other_scale,
    "is not a whole safetensors file": cut_short,
    "holds no VAE that is known here": something_else,
    "is a pickle": a_pickle,
    "cannot be read: No such file": lambda place: place / "absent.safetensors",
}


@pytest.mark.parametrize("words", REFUSED)
def test_one_that_does_not_fit_is_refused_and_the_own_one_works_on(
    sd1: Bench, tmp_path: Path, words: str
) -> None:
    before = sd1.ours()
    last = sd1.execute(vae=str(REFUSED[words](tmp_path / "other")))
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"
    assert words in last.message
    assert np.array_equal(sd1.ours(), before)


def test_a_vae_in_host_memory_computes_in_float32_whatever_the_rest_does(
    benches: dict[str, Bench], tmp_path: Path
) -> None:
    one = benches["sdxl"]
    request = LoadImageModel(
        path=str(one.folder), layout="folder", family="sdxl", device="cpu", dtype="bfloat16",
        saving=3, vae_on_cpu=True, spool=str(tmp_path),
    )  # fmt: skip
    family = load_family(request, Device("cpu"))
    parts = family._parts.modules  # type: ignore[attr-defined]
    assert {p.dtype for p in parts["vae"].parameters()} == {torch.float32}
    assert {p.dtype for p in parts["unet"].parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        posterior = family.posterior(torch.zeros(1, 3, SIDE_PX, SIDE_PX))
        plain = copy.deepcopy(parts["vae"])
        expected = plain.encode(torch.zeros(1, 3, SIDE_PX, SIDE_PX)).latent_dist.mean
    assert torch.equal(posterior.mean, expected)
    family.vaes.apply(str(as_folder(tmp_path / "other")))
    assert {p.dtype for p in parts["vae"].parameters()} == {torch.float32}
