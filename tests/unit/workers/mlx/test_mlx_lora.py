# SPDX-License-Identifier: Apache-2.0
"""LoRAs on MLX: the same files, the same pictures as with torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.workers.image import lora_files
from tests.unit.workers.image.lora_files import EVERYTHING, FULL
from tests.unit.workers.mlx.bench import Pair

from inglenook.wire.image import DrawFailed, LoraUse

pytestmark = pytest.mark.slow

FAMILIES = ("sd1", "sd2", "sdxl")


def drawn(one: Pair, *uses: LoraUse, **more: Any) -> tuple[np.ndarray, np.ndarray]:
    request: dict[str, Any] = {"scheduler": "euler", "steps": 3, "loras": uses, **more}
    return one.theirs(**request), one.ours(**request)


def assert_same_and_other_than_plain(one: Pair, *uses: LoraUse) -> None:
    plain = one.ours(scheduler="euler", steps=3)
    theirs, ours = drawn(one, *uses)
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - plain).max() > 10, "it changes the picture"
    assert (one.ours(scheduler="euler", steps=3) == plain).all(), "nothing of it stays"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_of_kohyas_trainer(pairs: dict[str, Pair], family: str, tmp_path: Path) -> None:
    one = pairs[family]
    path = lora_files.kohya(one.torch.family, tmp_path / "k.safetensors", wanted=FULL)
    assert_same_and_other_than_plain(one, LoraUse(path=str(path), weight=0.8))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_of_diffusers(pairs: dict[str, Pair], family: str, tmp_path: Path) -> None:
    one = pairs[family]
    told = {"unet.lora_alpha": 8, "unet.r": 4, "text_encoder.lora_alpha": 2}
    path = lora_files.peft(one.torch.family, tmp_path / "p.safetensors", settings=told)
    assert_same_and_other_than_plain(one, LoraUse(path=str(path), weight=1.0))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_lora_that_changes_convolutions_too(pairs: dict[str, Pair], family: str, tmp_path: Path) -> None:
    one = pairs[family]
    path = lora_files.kohya(one.torch.family, tmp_path / "c.safetensors", wanted=EVERYTHING, strength=0.2)
    assert_same_and_other_than_plain(one, LoraUse(path=str(path), weight=0.7))


def test_two_at_once_and_one_of_them_turned_round(pairs: dict[str, Pair], tmp_path: Path) -> None:
    one = pairs["sd1"]
    first = lora_files.kohya(one.torch.family, tmp_path / "a.safetensors", seed=1)
    second = lora_files.kohya(one.torch.family, tmp_path / "b.safetensors", seed=2, alpha=None)
    assert_same_and_other_than_plain(
        one, LoraUse(path=str(first), weight=0.5), LoraUse(path=str(second), weight=-0.4)
    )


def test_a_weight_of_nothing_changes_nothing(pairs: dict[str, Pair], tmp_path: Path) -> None:
    one = pairs["sd1"]
    path = lora_files.kohya(one.torch.family, tmp_path / "a.safetensors")
    plain = one.ours(scheduler="euler", steps=3)
    assert (drawn(one, LoraUse(path=str(path), weight=0.0))[1] == plain).all()


def refused(one: Pair, path: Path, weight: float = 1.0) -> DrawFailed:
    last = one.execute(loras=(LoraUse(path=str(path), weight=weight),))
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"
    assert path.name in last.message
    return last


def test_a_lora_for_another_family_is_refused_by_its_layers(pairs: dict[str, Pair], tmp_path: Path) -> None:
    path = lora_files.kohya(pairs["sdxl"].torch.family, tmp_path / "xl.safetensors")
    assert "does not fit this model (sd1)" in refused(pairs["sd1"], path).message


def test_damaged_and_foreign_files_are_refused(pairs: dict[str, Pair], tmp_path: Path) -> None:
    one = pairs["sd1"]
    whole = lora_files.kohya(one.torch.family, tmp_path / "a.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:5000])
    refused(one, cut)
    pickle = tmp_path / "pickle.safetensors"
    pickle.write_bytes(b"\x80\x04K\x01.")
    refused(one, pickle)
    loha = lora_files.written(
        {"lora_unet_conv_in.hada_w1_a": torch.ones(2, 2)}, tmp_path / "loha.safetensors"
    )
    assert "LoHa" in refused(one, loha).message
    half = lora_files.written(
        {"lora_unet_conv_in.lora_down.weight": torch.ones(2, 2)}, tmp_path / "h.safetensors"
    )
    assert "other half" in refused(one, half).message
    down, up = torch.full((4, 4, 3, 3), torch.nan), torch.ones(32, 4, 1, 1)
    nan = lora_files.written(
        {"lora_unet_conv_in.lora_down.weight": down, "lora_unet_conv_in.lora_up.weight": up},
        tmp_path / "nan.safetensors",
    )
    assert "not finite" in refused(one, nan).message
