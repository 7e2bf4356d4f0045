# SPDX-License-Identifier: Apache-2.0
"""The estimate of memory, against what was measured and against itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.base.ids import ModelId
from inglenook.base.units import GIB, MIB
from inglenook.catalog.defaults import image_defaults
from inglenook.catalog.footprint import (
    RUNTIME_BYTES,
    activation_bytes,
    footprint,
    weights_by_component,
    weights_bytes,
)
from inglenook.catalog.model import ModelKind, ModelRecord

sides = st.integers(1, 4096)
dtypes = st.sampled_from(["float32", "float16", "bfloat16"])


def record(parameters: int, stored_bytes: int, **components: int) -> ModelRecord:
    return ModelRecord(
        id=ModelId("m"),
        kind=ModelKind.IMAGE,
        family="sd1",
        path=Path("m"),
        layout="single",
        weights_bytes=stored_bytes,
        parameters=parameters,
        dtype="float16",
        digest="",
        root=Path(),
        components=components,
    )


SD1 = record(1_066_235_307, 2_132_470_614, vae=167_307_726)
"""Stable Diffusion 1.5 as float16."""


def test_weights_count_at_the_dtype_they_are_loaded_in_not_at_the_stored_one() -> None:
    assert weights_bytes(SD1, "float32") == pytest.approx(4 * SD1.parameters, rel=1e-6)
    half = weights_bytes(SD1, "float16")
    assert half == pytest.approx(2 * SD1.parameters + 167_307_726, rel=1e-6)  # the VAE counts four bytes


def test_an_averaged_copy_in_the_file_is_not_counted() -> None:
    both = record(200, 800, ema=400)
    assert weights_bytes(both, "float32") == 400


@pytest.mark.parametrize(
    ("side_px", "unet_mib", "vae_mib"), [(256, 190, 321), (384, 0, 629), (512, 474, 1002), (768, 855, 0)]
)
def test_activations_cover_what_was_measured(side_px: int, unet_mib: int, vae_mib: int) -> None:
    """The table in the module: growth of a process in float32."""
    assert activation_bytes(SD1, side_px, side_px, "float32") + 100 * MIB >= max(unet_mib, vae_mib) * MIB


def transformer(family: str, width: int, **fields: Any) -> ModelRecord:
    known = replace(
        SD1, family=family, widths={"transformer": width}, components={"transformer": 1}, **fields
    )
    return replace(known, weights_bytes=1)


@pytest.mark.parametrize(
    ("family", "width", "side_px", "step_mib", "vae_mib"),
    [
        ("flux", 3072, 256, 167, 264),
        ("flux", 3072, 384, 0, 543),
        ("flux", 3072, 512, 278, 0),
        ("qwen-image", 3072, 128, 0, 131),
        ("qwen-image", 3072, 256, 88, 508),
        ("qwen-image", 3072, 512, 204, 0),
        ("sd3", 1536, 256, 87, 264),
        ("sd3", 1536, 512, 202, 0),
    ],
)
def test_what_was_measured_of_transformers_and_their_vaes_is_covered(
    family: str, width: int, side_px: int, step_mib: int, vae_mib: int
) -> None:
    estimate = activation_bytes(transformer(family, width), side_px, side_px, "float32")
    assert estimate >= max(step_mib, vae_mib) * MIB


def test_reference_pictures_take_as_much_room_as_pictures() -> None:
    plain = transformer("qwen-image", 3072)
    one = image_defaults("qwen-image", {}, {}, {}, "edit")
    three = image_defaults("qwen-image", {}, {}, {}, "edit-plus")
    needs = [
        activation_bytes(replace(plain, image=image), 256, 256, "bfloat16") for image in (None, one, three)
    ]
    assert needs[0] < needs[1] < needs[2]
    assert needs[2] - needs[1] == 2 * (1024 // 16) ** 2 * 20 * 3072 * 2 * 2


def test_borrowed_parts_count_at_the_dtype_that_they_are_loaded_in() -> None:
    alone = transformer("flux", 3072, parameters=12)
    lent = replace(alone, part_parameters={"text_encoder_2": 5, "vae": 3, "tokenizer_2": 0})
    assert weights_by_component(lent, "float16") == {"transformer": 24, "text_encoder_2": 10, "vae": 6}
    assert weights_bytes(lent, "float16") == weights_bytes(alone, "float16") + 16


def test_flux_in_half_precision_needs_about_what_its_three_networks_weigh() -> None:
    flux = transformer(
        "flux",
        3072,
        parameters=11_901_408_320,
        part_parameters={"text_encoder": 123_060_480, "text_encoder_2": 4_762_310_656, "vae": 83_819_683},
    )
    assert 33 * 10**9 < footprint(flux, 1024, 1024, "bfloat16") < 42 * 10**9


def test_stable_diffusion_in_half_precision_fits_a_card_of_six_gibibytes() -> None:
    assert 3 * GIB < footprint(SD1, 512, 512, "float16") < 6 * GIB


@given(width=sides, height=sides, dtype=dtypes)
def test_a_larger_picture_never_needs_less(width: int, height: int, dtype: str) -> None:
    here = footprint(SD1, width, height, dtype)
    assert here > RUNTIME_BYTES
    assert footprint(SD1, width + 8, height, dtype) >= here
    assert footprint(SD1, width, height, "float32") >= here


def test_a_model_without_tensors_needs_the_runtime_alone() -> None:
    assert weights_bytes(record(0, 0), "float32") == 0


def test_a_load_reads_borrowed_parts_as_well() -> None:
    alone = record(100, 200)
    assert alone.read_bytes == 200
    assert replace(alone, part_parameters={"vae": 50}).read_bytes == 300
    assert record(0, 0).read_bytes == 0
