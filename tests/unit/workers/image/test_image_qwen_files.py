# SPDX-License-Identifier: Apache-2.0
"""Qwen-Image out of single files: the transformer alone with its other parts elsewhere, or all in one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from tests import tiny_qwen
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from inglenook.base.errors import InglenookError
from inglenook.wire.image import LoadImageModel
from inglenook.workers.image import denoise
from inglenook.workers.image.denoise import Plan
from inglenook.workers.image.device import Device
from inglenook.workers.image.families import qwen_files
from inglenook.workers.image.families.held import Held
from inglenook.workers.image.families.registry import load_family
from inglenook.workers.image.weights import Checkpoint

PUBLISHED_PARAMETERS = {"transformer": 20_430_401_088, "text_encoder": 8_292_166_656, "vae": 126_892_531}
MARKER = "__index_timestep_zero__"


@pytest.fixture(scope="module")
def tiny() -> Any:
    return tiny_qwen.build("edit")


@pytest.fixture(scope="module")
def places(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The parts of one model, each in a file of its own and in a folder of its own."""
    root = tmp_path_factory.mktemp("parts")
    tiny.save_pretrained(root / "folder")
    return {
        "transformer": tiny_qwen.write_tensors(
            root / "transformer.safetensors", tiny_qwen.transformer_tensors(tiny)
        ),
        "text_encoder": tiny_qwen.write_tensors(
            root / "qwen_2.5_vl.safetensors", tiny_qwen.encoder_tensors(tiny)
        ),
        "vae": tiny_qwen.write_tensors(root / "qwen_image_vae.safetensors", tiny_qwen.vae_tensors(tiny)),
        "tokenizer": root / "folder" / "tokenizer",
        "folder": root / "folder",
    }


def load(path: Path, variant: str = "edit", *, dtype: str = "float32", **parts: Path) -> Any:
    return load_family(
        LoadImageModel(
            path=str(path),
            layout="single",
            family="qwen-image",
            variant=variant,
            parts={role: str(place) for role, place in parts.items()},
            device="cpu",
            dtype=dtype,
            spool="unused",
        ),
        Device("cpu"),
    )


def refusal(path: Path, **parts: Path) -> InglenookError:
    with pytest.raises(InglenookError) as raised:
        load(path, **parts)
    return raised.value


def assert_loaded(loaded: Any, tiny: Any) -> None:
    modules = loaded._parts.modules
    expected = {
        "transformer": tiny.transformer.state_dict(),
        "vae": tiny.vae.state_dict(),
        "text_encoder": tiny.text_encoder.model.state_dict(),
    }
    for part, tensors in expected.items():
        found = modules[part].state_dict()
        assert set(found) == set(tensors), part
        assert all(torch.equal(found[key], tensors[key]) for key in tensors), part


def only(places: dict[str, Path], *roles: str) -> dict[str, Path]:
    return {role: places[role] for role in roles}


def test_every_weight_of_single_files_arrives_unchanged(tiny: Any, places: dict[str, Path]) -> None:
    parts = only(places, "text_encoder", "vae", "tokenizer")
    loaded = load(places["transformer"], **parts)
    assert_loaded(loaded, tiny)
    assert loaded.max_references == 1
    assert loaded.schedulers.make(None).config["shift_terminal"] == 0.02


@pytest.mark.slow
def test_a_picture_from_single_files_is_that_of_the_folder(places: dict[str, Path]) -> None:
    request = LoadImageModel(
        path=str(places["folder"]),
        layout="folder",
        family="qwen-image",
        device="cpu",
        dtype="float32",
        spool="unused",
    )
    both = [
        load_family(request, Device("cpu")),
        load(places["transformer"], **only(places, "text_encoder", "vae", "tokenizer")),
    ]
    reference = np.arange(32 * 48 * 3, dtype=np.uint8).reshape(32, 48, 3)
    drawn = []
    for family in both:
        family.seen_px = family.drawn_px = 64 * 64
        with torch.inference_mode():
            text = family.encode_instruction("x", "", [reference], guidance_scale=3.0, width=64, height=64)
            picture = denoise.begin(family, Plan(text, None, 2, 64, 64), seed=1)
            while not picture.finished:
                denoise.advance(family, picture)
            drawn.append(family.decode(picture.latents))
    assert drawn[0].std() > 5
    assert np.array_equal(*drawn)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", "transformer."])
def test_the_transformer_may_stand_under_a_prefix(
    tiny: Any, places: dict[str, Path], tmp_path: Path, prefix: str
) -> None:
    path = tiny_qwen.write_tensors(tmp_path / "m.safetensors", tiny_qwen.transformer_tensors(tiny, prefix))
    folder = places["folder"]
    loaded = load(path, text_encoder=folder / "text_encoder", vae=folder / "vae")
    assert_loaded(loaded, tiny)


def test_all_parts_may_be_in_one_file(tiny: Any, places: dict[str, Path], tmp_path: Path) -> None:
    tensors = {
        **tiny_qwen.transformer_tensors(tiny, "model.diffusion_model."),
        **tiny_qwen.encoder_tensors(tiny, "text_encoders.qwen25_7b.transformer."),
        **tiny_qwen.vae_tensors(tiny, "vae."),
    }
    path = tiny_qwen.write_tensors(tmp_path / "m.safetensors", tensors)
    assert_loaded(load(path, tokenizer=places["tokenizer"]), tiny)


def test_a_vae_in_the_names_of_diffusers_and_an_encoder_in_todays_names_are_read(
    tiny: Any, places: dict[str, Path], tmp_path: Path
) -> None:
    vae = tiny_qwen.write_tensors(tmp_path / "vae.safetensors", tiny.vae.state_dict())
    encoder = tiny_qwen.write_tensors(tmp_path / "te.safetensors", tiny.text_encoder.state_dict())
    parts = {"vae": vae, "text_encoder": encoder, "tokenizer": places["tokenizer"]}
    assert_loaded(load(places["transformer"], **parts), tiny)


def test_an_encoder_without_the_head_that_speaks_is_whole(
    tiny: Any, places: dict[str, Path], tmp_path: Path
) -> None:
    tensors = {k: v for k, v in tiny_qwen.encoder_tensors(tiny).items() if not k.startswith("lm_head")}
    encoder = tiny_qwen.write_tensors(tmp_path / "te.safetensors", tensors)
    parts = {**only(places, "vae", "tokenizer"), "text_encoder": encoder}
    assert_loaded(load(places["transformer"], **parts), tiny)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_in_8_bits_load_in_the_precision_asked_for(
    tiny: Any, places: dict[str, Path], tmp_path: Path, dtype: str
) -> None:
    path = tiny_qwen.write_tensors(
        tmp_path / "m.safetensors", tiny_qwen.transformer_tensors(tiny), torch.float8_e4m3fn
    )
    loaded = load(path, dtype=dtype, **only(places, "text_encoder", "vae", "tokenizer"))
    transformer = loaded._parts.modules["transformer"]
    assert {tensor.dtype for tensor in transformer.parameters()} == {getattr(torch, dtype)}
    stored = tiny.transformer.img_in.weight.to(torch.float8_e4m3fn)
    assert torch.equal(transformer.img_in.weight.float(), stored.float())


@pytest.mark.parametrize("marked", [False, True])
def test_a_mark_says_that_references_are_taken_for_finished_pictures(
    tiny: Any, places: dict[str, Path], tmp_path: Path, marked: bool
) -> None:
    tensors = {**tiny_qwen.transformer_tensors(tiny), **({MARKER: torch.empty(0)} if marked else {})}
    path = tiny_qwen.write_tensors(tmp_path / "m.safetensors", tensors)
    loaded = load(path, "edit-plus", **only(places, "text_encoder", "vae", "tokenizer"))
    assert loaded._parts.modules["transformer"].zero_cond_t is marked
    assert loaded.max_references == 3


@pytest.mark.parametrize(("absent", "word"), [("text_encoder", "Qwen2.5-VL"), ("vae", "a VAE")])
def test_a_part_that_is_nowhere_is_named_with_what_to_do(
    places: dict[str, Path], absent: str, word: str
) -> None:
    parts = only(places, "text_encoder", "vae", "tokenizer")
    del parts[absent]
    error = refusal(places["transformer"], **parts)
    assert error.code == "load.unsupported"
    assert word in error.message
    assert "models folder" in str(error)


@pytest.mark.parametrize("role", ["text_encoder", "vae"])
def test_a_part_that_is_another_is_refused_by_its_name(places: dict[str, Path], role: str) -> None:
    parts = {**only(places, "text_encoder", "vae", "tokenizer"), role: places["transformer"]}
    assert places["transformer"].name in refusal(places["transformer"], **parts).message


@pytest.mark.parametrize("role", ["transformer", "text_encoder", "vae"])
@pytest.mark.parametrize("damage", ["a tensor less", "a tensor of another shape"])
def test_a_damaged_part_is_named(
    tiny: Any, places: dict[str, Path], tmp_path: Path, role: str, damage: str
) -> None:
    tensors = {
        "transformer": tiny_qwen.transformer_tensors,
        "text_encoder": tiny_qwen.encoder_tensors,
        "vae": tiny_qwen.vae_tensors,
    }[role](tiny)
    marked = ("layers.1.mlp.up_proj.weight", "norm_q.weight", "to_qkv.weight")
    key = max(key for key in tensors if key.endswith(marked))
    if damage == "a tensor less":
        del tensors[key]
    else:
        tensors[key] = torch.zeros(3)
    damaged = tiny_qwen.write_tensors(tmp_path / "damaged.safetensors", tensors)
    parts = {**only(places, "transformer", "text_encoder", "vae", "tokenizer"), role: damaged}
    error = refusal(parts.pop("transformer"), **parts)
    assert error.code == "load.corrupt"
    assert role in error.message


def test_a_text_encoder_that_knows_fewer_tokens_than_the_tokenizer_is_refused(
    places: dict[str, Path],
) -> None:
    error = refusal(places["transformer"], **only(places, "text_encoder", "vae"))
    assert "263 tokens" in error.message


def test_a_file_of_another_family_is_refused(tmp_path: Path) -> None:
    path = tiny_qwen.write_tensors(tmp_path / "m.safetensors", {"double_blocks.0.x": torch.zeros(2)})
    assert "no transformer of the family qwen-image" in refusal(path).message


@pytest.mark.parametrize("part", PUBLISHED_PARAMETERS)
def test_our_configurations_have_the_published_number_of_parameters(part: str) -> None:
    assert sum(p.numel() for p in of_real_size(part).parameters()) == PUBLISHED_PARAMETERS[part]


@pytest.mark.slow
def test_the_shapes_of_the_real_parts_give_our_configuration_back() -> None:
    transformer = of_real_size("transformer")
    told = qwen_files._transformer_settings(held(transformer.state_dict()))
    assert told == {key: transformer.config[key] for key in told}
    encoder = of_real_size("text_encoder")
    told = qwen_files._encoder_settings(held(encoder.state_dict()))
    assert Qwen2_5_VLConfig(**told).to_dict() == encoder.config.to_dict()


def of_real_size(part: str) -> Any:
    """A part as our configuration describes it, without memory for its weights."""
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    config = json.loads((qwen_files.CONFIGS / "qwen-image" / part / name).read_text())
    with torch.device("meta"):
        match part:
            case "transformer":
                return QwenImageTransformer2DModel.from_config(config)
            case "vae":
                return AutoencoderKLQwenImage.from_config(config)
            case _:
                return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config))


def held(tensors: dict[str, torch.Tensor]) -> Held:
    """A file that has only names and shapes."""
    file = Checkpoint.__new__(Checkpoint)
    file.path, file.metadata = Path("shapes.safetensors"), {}
    file.shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    return Held(file, "")
