# SPDX-License-Identifier: Apache-2.0
"""From a vision model to a plan: memory, devices, and files that were replaced."""

import os
from pathlib import Path

import pytest
from tests.onnx_files import write_colours

from inglenook.base.errors import Unavailable
from inglenook.base.units import GIB, MIB
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.service import CatalogService
from inglenook.prediction.planning import load_plan
from inglenook.runtime.contracts import LoadPlan

pytest.importorskip("onnx")


def record(folder: Path, **how: object) -> ModelRecord:
    write_colours(folder / "m.onnx", **how)
    (found,) = CatalogService(roots=[folder], builtin=folder / "none").list()
    return found


def planned(found: ModelRecord, *devices: str) -> LoadPlan:
    return load_plan(found, pinned=False, max_pixels=10**6, devices=devices)


def test_memory_grows_with_the_input_and_with_pictures_at_a_time(tmp_path: Path) -> None:
    small = planned(record(tmp_path), "cpu", "cuda").footprint_bytes
    large = planned(record(tmp_path, side=512, told={}), "cpu").footprint_bytes
    single = planned(record(tmp_path, side=512, told={}, batch=1), "cpu").footprint_bytes
    assert 64 * MIB < small["cpu"] < 70 * MIB
    assert small["cuda"] > GIB
    assert large["cpu"] - single["cpu"] == 7 * 512 * 512 * 600
    assert "cuda" not in large


def test_without_onnxruntime_the_reason_and_the_way_to_get_it_are_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="onnxruntime, which is not installed"):
        planned(record(tmp_path))


def test_another_file_under_the_same_name_gets_a_process_of_its_own(tmp_path: Path) -> None:
    before = planned(record(tmp_path), "cpu")
    assert planned(record(tmp_path), "cpu").model == before.model
    os.utime(tmp_path / "m.onnx", (10**9, 10**9))
    (same_place,) = CatalogService(roots=[tmp_path], builtin=tmp_path / "none").list()
    after = planned(same_place, "cpu")
    assert after.key != before.key
    assert after.use == before.use, "what was learned about its memory counts for both"
