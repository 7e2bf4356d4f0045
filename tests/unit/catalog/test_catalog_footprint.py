# SPDX-License-Identifier: Apache-2.0
"""The estimate of memory, against what was measured and against itself."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.base.ids import ModelId
from inglenook.base.units import GIB, MIB
from inglenook.catalog.footprint import RUNTIME_BYTES, activation_bytes, footprint, weights_bytes
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
    assert weights_bytes(SD1, "float32") == 4 * SD1.parameters
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
    assert activation_bytes(side_px, side_px, "float32") + 100 * MIB >= max(unet_mib, vae_mib) * MIB


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
