# SPDX-License-Identifier: Apache-2.0
"""A compiled network, and what happens where it cannot be compiled."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.workers.image.bench import Bench, a_draw, opened

from inglenook.testing.parts import require
from inglenook.wire.image import Drawn, Notice, SavingLevel
from inglenook.workers.image import amd
from inglenook.workers.image.compiling import Compiled
from inglenook.workers.image.device import Device


@pytest.fixture
def one(benches: dict[str, Bench], tmp_path: Path) -> Bench:
    """A model of its own: what is compiled stays so."""
    return opened(benches["sd1"].folder, "sd1", tmp_path)


@pytest.mark.slow
def test_without_a_compiler_it_is_drawn_uncompiled_and_a_notice_says_so_once(
    one: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = one.ours(scheduler="euler")
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    cache = tmp_path / "compiled"
    cache.mkdir()
    one.family.compile("default", cache)
    with torch._inductor.config.patch({"cpp.cxx": (str(tmp_path / "no-compiler"),)}):
        assert np.array_equal(one.ours(scheduler="euler"), plain)
    (notice,) = one.said(Notice)
    assert "could not be compiled and is used as it is" in notice.text
    assert np.array_equal(one.ours(scheduler="euler"), plain)
    assert one.said(Notice) == []


@pytest.mark.slow
def test_a_compiled_network_draws_the_same_picture_and_its_code_is_kept(one: Bench, tmp_path: Path) -> None:
    require(shutil.which("g++"), "a C++ compiler")
    plain = one.ours(scheduler="euler")
    cache = tmp_path / "compiled"
    cache.mkdir()
    one.family.compile("default", cache)
    assert isinstance(one.execute(scheduler="euler"), Drawn)
    assert one.said(Notice) == []
    assert np.abs(one.pictures()[0] - plain).max() <= 1
    assert any(place.is_file() for place in cache.rglob("*"))


def test_that_it_is_being_compiled_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def at_once(network: torch.nn.Module, **_: str) -> None:
        """In place of torch's own, which takes minutes on a busy machine."""
        network._compiled_call_impl = network.forward

    monkeypatch.setattr(torch.nn.Module, "compile", at_once)
    caplog.set_level(logging.INFO, logger="inglenook.workers.image.compiling")
    network = torch.nn.Linear(2, 2)
    compiled = Compiled(network, "max-autotune", None, Device("cpu"))
    assert caplog.messages == []
    for _ in range(2):
        assert network(torch.ones(1, 2)).shape == (1, 2)
    assert caplog.messages == ["the network is being compiled (max-autotune); the first step waits for it"]
    assert compiled.trouble() is None


@pytest.mark.parametrize(("asked", "begun", "ends"), [(0, 0, 0), (2, 0, 2), (1, 2, 2)])
def test_a_draw_says_how_much_is_spared_at_least(
    benches: dict[str, Bench], asked: SavingLevel, begun: SavingLevel, ends: SavingLevel, tmp_path: Path
) -> None:
    one = opened(benches["sd1"].folder, "sd1", tmp_path)
    last = one.studio(saving=begun).execute(a_draw(saving=asked))
    assert isinstance(last, Drawn)
    assert last.saving == ends


def test_a_gpu_is_taken_for_another_only_where_there_are_no_programs_for_it() -> None:
    profile = {amd.PROFILE: "gfx1103", amd.OVERRIDE: "11.0.0"}
    native, foreign, set_by_hand = (
        dict(profile),
        dict(profile),
        {**profile, "HSA_OVERRIDE_GFX_VERSION": "11.0.2"},
    )
    amd.override(native, ["gfx1100", "gfx1103"])
    amd.override(foreign, ["gfx1100"])
    amd.override(set_by_hand, ["gfx1100"])
    assert "HSA_OVERRIDE_GFX_VERSION" not in native
    assert foreign["HSA_OVERRIDE_GFX_VERSION"] == "11.0.0"
    assert set_by_hand["HSA_OVERRIDE_GFX_VERSION"] == "11.0.2"


def test_without_a_profile_nothing_is_changed() -> None:
    environ: dict[str, str] = {}
    amd.prepare(environ)
    assert environ == {}
    assert torch.backends.cudnn.enabled
