# SPDX-License-Identifier: Apache-2.0
"""What a person writes beside a model, and what follows without it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model_files import TINY_UNET, TINY_VAE

from inglenook.catalog.defaults import image_defaults
from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.model import ImageDefaults
from inglenook.catalog.service import BUILTIN_MODELS
from inglenook.catalog.sidecar import (
    MAX_BYTES,
    SidecarImage,
    apply,
    parse_sidecar,
    read_sidecar,
    sidecar_path,
)

PLAIN = ImageDefaults(native_px=512, multiple=8, width=512, height=512, steps=25, guidance_scale=7.5)


def parsed(document: object) -> object:
    return parse_sidecar(json.dumps(document).encode(), name="inglenook.json")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"schema": 2}, "schema"),
        ({}, "schema"),
        ({"schema": 1, "tittle": "x"}, "tittle"),
        ({"schema": 1, "title": 3}, "title"),
        ({"schema": 1, "image": {"steps": 0}}, "image.steps"),
        ({"schema": 1, "image": {"steps": 2.5}}, "image.steps"),
        ({"schema": 1, "image": {"guidance_scale": -1}}, "image.guidance_scale"),
        ({"schema": 1, "image": {"fixed": [[32]]}}, "image.fixed"),
        ({"schema": 1, "image": {"fixed": [[32, 0]]}}, "image.fixed"),
        ({"schema": 1, "image": {"native": 32}}, "native"),
        ({"schema": 1, "image": {"variant": 3}}, "image.variant"),
        ({"schema": 1, "image": {"parts": ["ae"]}}, "image.parts"),
        ({"schema": 1, "image": {"parts": {"vae": ""}}}, "image.parts"),
    ],
)
def test_a_bad_field_is_named(document: object, field: str) -> None:
    with pytest.raises(CorruptModel, match=field.replace(".", r"\.")) as caught:
        parsed(document)
    assert caught.value.message.startswith("inglenook.json: ")


@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_noise_in_a_sidecar_raises_nothing_but_our_error(data: bytes) -> None:
    with pytest.raises(CorruptModel):
        parse_sidecar(data, name="inglenook.json")


def test_a_deep_sidecar_raises_nothing_but_our_error() -> None:
    with pytest.raises(CorruptModel):
        parse_sidecar(b'{"schema":1,"image":' + b"[" * 50_000, name="inglenook.json")


def test_a_long_sidecar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inglenook.json").write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(CorruptModel, match="longer than"):
        read_sidecar(tmp_path)


def test_a_byte_order_mark_is_allowed() -> None:
    assert parse_sidecar(b'\xef\xbb\xbf{"schema":1,"title":"x"}', name="n").title == "x"


def test_a_single_files_sidecar_carries_its_whole_name(tmp_path: Path) -> None:
    assert sidecar_path(tmp_path / "fox.safetensors").name == "fox.safetensors.inglenook.json"
    assert sidecar_path(tmp_path).name == "inglenook.json"


def test_what_the_sidecar_leaves_out_stays() -> None:
    assert apply(PLAIN, SidecarImage(), name="n") == PLAIN
    assert apply(PLAIN, SidecarImage(guidance_scale=0), name="n").guidance_scale == 0


def test_a_native_size_alone_is_also_the_default_size() -> None:
    new = apply(PLAIN, SidecarImage(native_px=48), name="n")
    assert (new.native_px, new.width, new.height, new.min_px) == (48, 48, 48, 48)


def test_fixed_sizes_alone_tell_the_rest() -> None:
    new = apply(PLAIN, SidecarImage(fixed=((64, 32), (32, 32))), name="n")
    assert (new.native_px, new.width, new.height, new.min_px) == (64, 64, 32, 32)


def test_width_without_height_is_refused() -> None:
    with pytest.raises(CorruptModel, match=r"image\.height"):
        apply(PLAIN, SidecarImage(width=100), name="n")


def test_the_starter_models_sidecar_says_what_it_can_do() -> None:
    sidecar = read_sidecar(BUILTIN_MODELS / "starter-339")
    assert sidecar is not None
    new = apply(PLAIN, sidecar.image, name="n")
    assert (new.native_px, new.fixed, new.width, new.height) == (32, ((32, 32),), 512, 512)
    assert (new.steps, new.guidance_scale, new.min_px) == (14, 3.0, 32)
    assert "MIT" in str(sidecar.licence)


@pytest.mark.parametrize(
    ("family", "unet", "vae", "native", "multiple"),
    [
        ("sd1", {"sample_size": 64}, {"block_out_channels": [1, 2, 3, 4]}, 512, 8),
        ("sd2", {"sample_size": 96}, {"block_out_channels": [1, 2, 3, 4]}, 768, 8),
        ("sdxl", {"sample_size": 128}, {"block_out_channels": [1, 2, 3, 4]}, 1024, 8),
        ("sd1", TINY_UNET, TINY_VAE, 16, 8),
        ("sd1", {"sample_size": 8}, {"block_out_channels": [1] * 5}, 128, 16),
        ("sdxl", {}, {}, 1024, 8),
        ("sd1", {"sample_size": "64"}, {"block_out_channels": 3}, 512, 8),
        ("sd1", {"sample_size": 10**9}, {}, 512, 8),
    ],
)
def test_sizes_come_from_the_models_own_configuration(
    family: str, unet: dict[str, object], vae: dict[str, object], native: int, multiple: int
) -> None:
    defaults = image_defaults(family, unet, vae, {})
    assert (defaults.native_px, defaults.width, defaults.height, defaults.multiple) == (
        native,
        native,
        native,
        multiple,
    )
    assert defaults.min_px == min(64, native)


def test_a_sample_size_of_two_numbers_is_height_then_width() -> None:
    defaults = image_defaults("sd1", {"sample_size": [64, 96]}, {}, {})
    assert (defaults.width, defaults.height, defaults.native_px) == (768, 512, 768)


@pytest.mark.parametrize(
    ("family", "variant", "network", "vae", "native", "multiple", "steps", "guidance"),
    [
        ("flux", "", {}, {}, 1024, 16, 28, 3.5),
        ("flux", "schnell", {"patch_size": 1}, {"block_out_channels": [1] * 4}, 1024, 16, 4, 0.0),
        ("flux", "fill", {}, {}, 1024, 16, 50, 30.0),
        ("flux", "", {}, {"block_out_channels": [1] * 2}, 256, 16, 28, 3.5),
        ("flux", "", {}, {"block_out_channels": [1] * 5}, 2048, 32, 28, 3.5),
        ("sd3", "", {"sample_size": 128, "patch_size": 2}, {}, 1024, 16, 28, 4.5),
        ("sd3", "turbo", {"sample_size": 128}, {}, 1024, 16, 4, 1.0),
        ("sd3", "", {"sample_size": 16, "patch_size": 4}, {}, 128, 32, 28, 4.5),
        ("qwen-image", "", {}, {"dim_mult": [1, 2, 4, 4]}, 1328, 16, 50, 4.0),
        ("qwen-image", "edit-plus", {}, {}, 1024, 16, 50, 4.0),
        ("sdxl", "turbo", {}, {}, 512, 8, 4, 1.0),
    ],
)
def test_defaults_of_families_and_variants(
    family: str,
    variant: str,
    network: dict[str, object],
    vae: dict[str, object],
    native: int,
    multiple: int,
    steps: int,
    guidance: float,
) -> None:
    told = image_defaults(family, network, vae, {}, variant)
    assert (told.native_px, told.multiple, told.steps, told.guidance_scale) == (
        native, multiple, steps, guidance)  # fmt: skip
    assert told.sizes[0] == (told.width, told.height)
    assert all(side % told.multiple == 0 for size in told.sizes for side in size)


def test_a_model_of_another_size_than_its_family_offers_the_familys_shapes_in_its_own_size() -> None:
    told = image_defaults("sdxl", {"sample_size": 64}, {}, {}, "turbo")
    assert told.sizes[:3] == ((512, 512), (576, 448), (448, 576))
    assert image_defaults("sd1", TINY_UNET, TINY_VAE, {}).sizes == ((16, 16),)


def test_a_sidecar_that_changes_the_size_replaces_what_is_offered() -> None:
    told = image_defaults("sd1", {}, {}, {})
    assert len(told.sizes) > 1
    assert apply(told, SidecarImage(native_px=32), name="n").sizes == ()
    assert apply(told, SidecarImage(fixed=((32, 32),)), name="n").sizes == ((32, 32),)
    assert apply(told, SidecarImage(steps=3), name="n").sizes == told.sizes


def test_flow_models_take_flow_schedulers_only() -> None:
    assert "flow_match_euler" in image_defaults("flux", {}, {}, {}).schedulers
    assert "ddim" not in image_defaults("sd3", {}, {}, {}).schedulers
    assert "ddim" in image_defaults("sdxl", {}, {}, {}).schedulers
