# SPDX-License-Identifier: Apache-2.0
"""Files that are not what they should be, each refused with its own words."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_models import write_folder, write_single

from inglenook.base.errors import InglenookError
from inglenook.wire.image import LoadImageModel
from inglenook.workers.image.device import Device
from inglenook.workers.image.families.registry import load_family
from inglenook.workers.image.weights import refuse_pickle

UNET = "unet/diffusion_pytorch_model.safetensors"


def refusal(path: Path, family: str = "sd1", dtype: str = "float32") -> InglenookError:
    request = LoadImageModel(
        path=str(path),
        layout="folder" if path.is_dir() else "single",
        family=family,
        device="cpu",
        dtype=dtype,
        spool="unused",
    )
    with pytest.raises(InglenookError) as raised:
        load_family(request, Device("cpu"))
    return raised.value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_single("sd1", tmp_path_factory.mktemp("whole") / "whole.safetensors")


def test_a_truncated_file_is_corrupt(whole: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-1000])
    error = refusal(cut)
    assert error.code == "load.corrupt"
    assert str(cut.stat().st_size) in error.message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 4) + b"nope",
        b"A" * 64,
    ],
)
def test_a_header_that_is_none_is_corrupt(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    assert refusal(path).code == "load.corrupt"


@pytest.mark.parametrize("new_zip_format", [True, False])
@pytest.mark.parametrize("name", ["model.ckpt", "renamed.safetensors"])
def test_a_pickle_is_refused_by_name_and_by_content_with_the_way_to_convert(
    tmp_path: Path, name: str, new_zip_format: bool
) -> None:
    path = tmp_path / name
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=new_zip_format)
    error = refusal(path)
    assert error.code == "load.unsupported"
    assert "pickle" in error.message
    assert "safetensors.torch.save_file" in str(error.hint)


def test_a_file_that_is_absent_is_said_to_be(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.safetensors").code == "load.corrupt"


def edit(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path.with_name("edited.safetensors"))
    return path.with_name("edited.safetensors")


@pytest.mark.parametrize(
    "key",
    [
        "model.diffusion_model.out.2.bias",
        "first_stage_model.decoder.conv_out.bias",
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
    ],
)
def test_a_single_file_that_lacks_a_tensor_is_corrupt(whole: Path, key: str) -> None:
    error = refusal(edit(whole, lambda tensors: tensors.__delitem__(key)))
    assert error.code == "load.corrupt"
    assert "lacks" in error.message


def test_a_file_of_another_family_is_refused(whole: Path) -> None:
    for family in ("sd2", "sdxl"):
        error = refusal(whole, family)
        assert error.code == "load.unsupported"
        assert family in error.message


def test_a_file_that_holds_only_a_unet_is_refused(whole: Path) -> None:
    def keep_unet(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if not key.startswith("model.")]:
            del tensors[key]

    assert "holds no VAE" in refusal(edit(whole, keep_unet)).message


def test_an_unknown_family_or_precision_is_refused(whole: Path) -> None:
    assert "sd1, sd2, sdxl" in refusal(whole, "sd9").message
    assert "float32, float16, bfloat16" in refusal(whole, dtype="float8").message


def test_a_folder_with_a_truncated_part_is_corrupt(tmp_path: Path) -> None:
    folder = write_folder("sd1", tmp_path / "model")
    weights = folder / UNET
    weights.write_bytes(weights.read_bytes()[:-1])
    error = refusal(folder)
    assert error.code == "load.corrupt"


def test_a_folder_with_pickles_only_is_refused_with_the_way_to_convert(tmp_path: Path) -> None:
    folder = write_folder("sd1", tmp_path / "model")
    torch.save(load_file(folder / UNET), folder / "unet/diffusion_pytorch_model.bin")
    (folder / UNET).unlink()
    error = refusal(folder)
    assert error.code == "load.unsupported"
    assert "save_file" in str(error.hint)


def test_a_pickle_beside_the_safetensors_is_not_opened(tmp_path: Path) -> None:
    folder = write_folder("sd1", tmp_path / "model")
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"\x80\x04 would fail if opened")
    request = LoadImageModel(
        path=str(folder), layout="folder", family="sd1", device="cpu", dtype="float32", spool="unused"
    )
    assert load_family(request, Device("cpu")).weights_bytes > 0


def test_a_folder_whose_weights_are_those_of_another_size_is_corrupt(tmp_path: Path) -> None:
    folder = write_folder("sd1", tmp_path / "model")
    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps(config | {"cross_attention_dim": 48}))
    error = refusal(folder)
    assert (error.code, "do not fit" in error.message) == ("load.corrupt", True)


def test_a_folder_that_lacks_a_tensor_is_corrupt(tmp_path: Path) -> None:
    folder = write_folder("sd1", tmp_path / "model")
    for part, key in (("vae", "decoder.conv_out.bias"), ("text_encoder", "final_layer_norm.weight")):
        (file,) = (folder / part).glob("*.safetensors")
        tensors = load_file(file)
        (found,) = [name for name in tensors if name.endswith(key)]
        kept = file.read_bytes()
        del tensors[found]
        save_file(tensors, file, metadata={"format": "pt"})
        error = refusal(folder)
        assert (error.code, "lacks" in error.message) == ("load.corrupt", True)
        file.write_bytes(kept)


@pytest.mark.parametrize(
    "part", ["unet/config.json", "model_index.json", "scheduler/scheduler_config.json", UNET]
)
def test_a_folder_that_lacks_a_file_is_corrupt(tmp_path: Path, part: str) -> None:
    folder = write_folder("sd1", tmp_path / "model")
    (folder / part).unlink()
    error = refusal(folder)
    assert error.code == "load.corrupt"
    assert part.split("/", maxsplit=1)[0] in error.message


def test_a_folder_of_another_pipeline_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = write_folder("sdxl", tmp_path / "model")
    error = refusal(folder, "sd1")
    assert error.code == "load.unsupported"
    assert "StableDiffusionXLPipeline" in error.message


def test_a_scheduler_that_does_not_exist_is_refused_at_load(tmp_path: Path) -> None:
    folder = write_folder("sd1", tmp_path / "model")
    (folder / "scheduler/scheduler_config.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert refusal(folder).code == "load.unsupported"


def test_a_folder_with_only_the_half_precision_variant_loads(tmp_path: Path) -> None:
    folder = write_folder("sd1", tmp_path / "model", dtype=torch.float16)
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    request = LoadImageModel(
        path=str(folder), layout="folder", family="sd1", device="cpu", dtype="float32", spool="unused"
    )
    assert load_family(request, Device("cpu")).weights_bytes > 0


def test_a_folder_whose_text_encoder_is_of_another_size_is_corrupt(tmp_path: Path) -> None:
    folder = write_folder("sd1", tmp_path / "model")
    config = json.loads((folder / "text_encoder/config.json").read_text())
    (folder / "text_encoder/config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    assert refusal(folder).code == "load.corrupt"


@pytest.mark.parametrize("length", [128, 384, 640, 1152])
def test_a_header_whose_length_begins_like_a_pickle_is_none(tmp_path: Path, length: int) -> None:
    text = b"{}".ljust(length)
    path = tmp_path / "sound.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + text)
    assert path.read_bytes()[0] == 0x80
    refuse_pickle(path)
