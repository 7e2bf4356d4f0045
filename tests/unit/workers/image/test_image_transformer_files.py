# SPDX-License-Identifier: Apache-2.0
"""FLUX and Stable Diffusion 3 out of single files: whole, or in pieces that lie elsewhere."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel
from diffusers.loaders import single_file_utils as theirs
from safetensors.torch import load_file
from tests.tiny_transformers import (
    WHOLE,
    all_in_one,
    clip_tensors,
    flux_parts,
    flux_to_bfl,
    flux_transformer,
    network_tensors,
    sd3_parts,
    sd3_to_stability,
    vae_tensors,
    write_flux,
    write_sd3,
    write_single,
)
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from inglenook.base.errors import InglenookError
from inglenook.wire.image import LoadImageModel
from inglenook.workers.image.device import Device
from inglenook.workers.image.families import components, flux_files, sd3_files, t5
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.families.registry import load_family
from inglenook.workers.image.families.renaming import renamed

PUBLISHED_PARAMETERS = {
    ("flux", "transformer"): 11_901_408_320,
    ("flux", "vae"): 83_819_683,
    ("sd3", "transformer"): 2_028_328_000,
    ("sd3", "vae"): 83_819_683,
    ("t5", ""): 4_762_310_656,
}


def load(
    path: Path,
    family: str,
    *,
    parts: Mapping[str, Path] | None = None,
    variant: str = "",
    dtype: str = "float32",
) -> Any:
    return load_family(
        LoadImageModel(
            path=str(path),
            layout="single",
            family=family,
            variant=variant,
            parts={role: str(place) for role, place in (parts or {}).items()},
            device="cpu",
            dtype=dtype,
            spool="unused",
        ),
        Device("cpu"),
    )


def refusal(path: Path, family: str, **options: Any) -> InglenookError:
    with pytest.raises(InglenookError) as raised:
        load(path, family, **options)
    return raised.value


def assert_holds(loaded: Any, parts: Mapping[str, Any]) -> None:
    """All weights of `parts` have arrived, unchanged."""
    for part, module in loaded._parts.modules.items():
        expected, found = parts[part].state_dict(), module.state_dict()
        if part == "text_encoder":  # CLIP ViT-L is read before its projection
            expected = {key.removeprefix("text_model."): tensor for key, tensor in expected.items()}
            expected.pop("text_projection.weight", None)
        assert set(found) == set(expected), part
        assert all(torch.equal(found[key], expected[key]) for key in expected), part


@pytest.fixture(scope="module")
def flux() -> dict[str, Any]:
    return flux_parts("", **WHOLE)


@pytest.fixture(scope="module")
def sd3() -> dict[str, Any]:
    return sd3_parts(medium=True, **WHOLE)


@pytest.fixture(scope="module")
def flux_file(flux: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_single(tmp_path_factory.mktemp("flux") / "whole.safetensors", all_in_one("flux", flux))


@pytest.fixture(scope="module")
def sd3_file(sd3: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    tensors = all_in_one("sd3", sd3, vae_at="first_stage_model.")
    return write_single(tmp_path_factory.mktemp("sd3") / "whole.safetensors", tensors)


def pieces(family: str, parts: Mapping[str, Any], place: Path) -> dict[str, Path]:
    """Each text encoder and the VAE as a file of its own, by the name under which a model asks for it."""
    t5_part = "text_encoder_2" if family == "flux" else "text_encoder_3"
    tensors = {
        "vae": vae_tensors(parts["vae"]),
        "text_encoder": clip_tensors(parts["text_encoder"]),
        t5_part: parts[t5_part].state_dict(),
    }
    if family == "sd3":
        tensors["text_encoder_2"] = clip_tensors(parts["text_encoder_2"])
    return {part: write_single(place / f"{part}.safetensors", piece) for part, piece in tensors.items()}


def test_a_whole_flux_in_one_file_loads(flux: dict[str, Any], flux_file: Path) -> None:
    loaded = load(flux_file, "flux")
    assert_holds(loaded, flux)
    assert loaded.schedulers.make(None).config["use_dynamic_shifting"] is True


def test_a_whole_sd3_in_one_file_loads(sd3: dict[str, Any], sd3_file: Path) -> None:
    assert_holds(load(sd3_file, "sd3"), sd3)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_a_transformer_alone_takes_the_rest_from_files_beside_it(
    flux: dict[str, Any], tmp_path: Path, prefix: str
) -> None:
    named = {prefix + key: tensor for key, tensor in network_tensors("flux", flux).items()}
    alone = write_single(tmp_path / "alone.safetensors", named)
    assert_holds(load(alone, "flux", parts=pieces("flux", flux, tmp_path)), flux)


@pytest.mark.slow
def test_an_sd3_transformer_alone_takes_the_rest_from_files_beside_it(
    sd3: dict[str, Any], tmp_path: Path
) -> None:
    alone = write_single(tmp_path / "alone.safetensors", network_tensors("sd3", sd3))
    assert_holds(load(alone, "sd3", parts=pieces("sd3", sd3, tmp_path)), sd3)


def test_an_sd3_without_t5_loads(sd3: dict[str, Any], tmp_path: Path) -> None:
    tensors = all_in_one("sd3", {**sd3, "text_encoder_3": None})
    loaded = load(write_single(tmp_path / "no_t5.safetensors", tensors), "sd3")
    assert "text_encoder_3" not in loaded._parts.modules
    with torch.inference_mode():
        text = loaded.encode_text("a fox", "", guidance_scale=4.0, width=64, height=64)
    assert text.embeds.shape[1] == 77 + 256
    assert not text.embeds[:, 77:].any()


def test_a_transformer_in_the_names_of_diffusers_loads(flux: dict[str, Any], tmp_path: Path) -> None:
    named = {f"transformer.{key}": tensor for key, tensor in flux["transformer"].state_dict().items()}
    alone = write_single(tmp_path / "alone.safetensors", named)
    assert_holds(load(alone, "flux", parts=pieces("flux", flux, tmp_path)), flux)


@pytest.mark.slow
def test_components_come_from_folders_of_diffusers_with_their_own_tokenizers(tmp_path: Path) -> None:
    folder = write_flux("", tmp_path / "model")
    alone = write_single(tmp_path / "alone.safetensors", network_tensors("flux", flux_parts("")))
    parts = {part: folder / part for part in ("text_encoder", "text_encoder_2", "vae")}
    loaded = load(alone, "flux", parts=parts)
    assert_holds(loaded, flux_parts(""))
    assert len(loaded._tokenizers["text_encoder_2"]) == len(flux_parts("")["tokenizer_2"])


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2", "vae"])
def test_what_is_nowhere_is_named(flux: dict[str, Any], tmp_path: Path, part: str) -> None:
    alone = write_single(tmp_path / "alone.safetensors", network_tensors("flux", flux))
    parts = pieces("flux", flux, tmp_path)
    del parts[part]
    error = refusal(alone, "flux", parts=parts)
    assert error.code == "load.unsupported"
    assert f"holds no {part} (" in error.message
    assert "models folder" in str(error.hint)


def test_a_part_that_is_something_else_is_named(flux: dict[str, Any], flux_file: Path) -> None:
    error = refusal(flux_file, "flux", parts={"vae": write_vae_of(4, flux_file.parent)})
    assert "4 channels" in error.message
    error = refusal(flux_file, "flux", parts={"text_encoder_2": flux_file.parent / "vae4.safetensors"})
    assert "holds no T5 XXL" in error.message


@pytest.mark.slow
def test_a_text_encoder_of_another_family_is_refused_at_load(
    sd3: dict[str, Any], flux_file: Path, sd3_file: Path, tmp_path: Path
) -> None:
    narrow = write_single(tmp_path / "narrow.safetensors", clip_tensors(sd3["text_encoder"]))
    error = refusal(flux_file, "flux", parts={"text_encoder": narrow})
    assert (error.code, "of 48 numbers" in error.message) == ("load.unsupported", True)
    error = refusal(sd3_file, "sd3", parts={"text_encoder_2": narrow})
    assert "the text encoders give 64" in error.message


def write_vae_of(channels: int, place: Path) -> Path:
    vae = AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=32,
    )
    return write_single(place / f"vae{channels}.safetensors", vae_tensors(vae))


@pytest.mark.slow
def test_schnell_fill_and_dev_are_told_apart_by_their_tensors(tmp_path: Path) -> None:
    folder = write_flux("", tmp_path / "model")
    parts = {part: folder / part for part in ("text_encoder", "text_encoder_2", "vae")}
    for variant, shown, guided in (("schnell", False, False), ("fill", True, True), ("", False, True)):
        tensors = flux_to_bfl(flux_transformer(variant))
        loaded = load(write_single(tmp_path / "m.safetensors", tensors), "flux", parts=parts)
        assert loaded.sees_masked_picture is shown
        assert loaded._network_config["guidance_embeds"] is guided
        assert loaded.schedulers.make(None).config["use_dynamic_shifting"] is guided


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_in_float8_are_scaled_and_converted(flux: dict[str, Any], tmp_path: Path, dtype: str) -> None:
    tensors = dict(all_in_one("flux", flux))
    key = "model.diffusion_model.double_blocks.0.img_attn.qkv.weight"
    scale = tensors[key].abs().max() / 448.0
    stored = (tensors[key] / scale).to(torch.float8_e4m3fn)
    tensors |= {key: stored, key.replace(".weight", ".scale_weight"): scale}
    tensors["model.diffusion_model.scaled_fp8"] = torch.zeros(0, dtype=torch.float8_e4m3fn)
    loaded = load(write_single(tmp_path / "fp8.safetensors", tensors), "flux", dtype=dtype)
    block = loaded._parts.modules["transformer"].transformer_blocks[0].attn
    rows = (stored.float() * scale).to(block.to_q.weight.dtype).chunk(3)[0]
    assert torch.equal(block.to_q.weight, rows)
    assert {p.dtype for p in loaded._parts.modules["transformer"].parameters()} == {getattr(torch, dtype)}


@pytest.mark.slow
def test_t5_keeps_its_overflowing_matrices_in_float32(flux_file: Path, tmp_path: Path) -> None:
    folder = write_flux("", tmp_path / "model") / "text_encoder_2"
    for parts in ({}, {"text_encoder_2": folder}):
        encoder = load(flux_file, "flux", dtype="float16", parts=parts)._parts.modules["text_encoder_2"]
        kept = {key for key, tensor in encoder.named_parameters() if tensor.dtype == torch.float32}
        assert kept
        assert all(".wo." in key for key in kept)


@pytest.mark.parametrize(
    "key",
    [
        "model.diffusion_model.double_blocks.1.txt_attn.norm.key_norm.scale",
        "vae.decoder.conv_out.bias",
        "text_encoders.clip_l.transformer.text_model.final_layer_norm.weight",
        "text_encoders.t5xxl.transformer.encoder.block.1.layer.1.DenseReluDense.wo.weight",
    ],
)
def test_a_file_that_lacks_a_tensor_is_corrupt(flux_file: Path, tmp_path: Path, key: str) -> None:
    tensors = load_file(flux_file)
    del tensors[key]
    error = refusal(write_single(tmp_path / "m.safetensors", tensors), "flux")
    assert (error.code, "lacks" in error.message) == ("load.corrupt", True)


def test_a_tensor_of_another_shape_is_corrupt(flux_file: Path, tmp_path: Path) -> None:
    tensors = load_file(flux_file)
    tensors["model.diffusion_model.double_blocks.0.img_mlp.0.weight"] = torch.ones(3, 3)
    error = refusal(write_single(tmp_path / "m.safetensors", tensors), "flux")
    assert (error.code, "do not fit" in error.message) == ("load.corrupt", True)


def test_a_truncated_file_is_corrupt(flux_file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(flux_file.read_bytes()[:-1000])
    assert refusal(cut, "flux").code == "load.corrupt"


def test_a_file_of_another_family_is_refused(flux_file: Path, sd3_file: Path) -> None:
    for path, family in ((flux_file, "sd3"), (sd3_file, "flux")):
        error = refusal(path, family)
        assert error.code == "load.unsupported"
        assert f"family {family}" in error.message


def test_our_names_for_sd3_are_those_of_diffusers(sd3: dict[str, Any]) -> None:
    named = sd3_to_stability(sd3["transformer"])
    expected = theirs.convert_sd3_transformer_checkpoint_to_diffusers(dict(named))
    found = renamed(named, sd3_files._layout(2))
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_our_names_for_flux_are_those_of_diffusers() -> None:
    with torch.device("meta"):
        model = FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True)
    named = flux_to_bfl(model)
    expected = theirs.convert_flux_transformer_checkpoint_to_diffusers(dict(named))
    found = renamed(named, flux_files._LAYOUT)
    assert {k: t.shape for k, t in found.items()} == {k: t.shape for k, t in expected.items()}


@pytest.mark.parametrize(("family", "part"), PUBLISHED_PARAMETERS)
def test_our_configurations_have_the_published_number_of_parameters(family: str, part: str) -> None:
    numbers = sum(p.numel() for p in of_real_size(family, part).parameters())
    assert numbers == PUBLISHED_PARAMETERS[family, part]


@pytest.mark.parametrize(("family", "settings"), [("flux", flux_files.settings), ("sd3", sd3_files.settings)])
def test_the_shapes_of_a_real_transformer_give_our_configuration_back(
    family: str, settings: Callable[[Mapping[str, torch.Tensor]], dict[str, Any]]
) -> None:
    model = of_real_size(family, "transformer")
    told = settings(model.state_dict())
    config = json.loads((CONFIGS / family / "transformer" / "config.json").read_text())
    assert told == {key: config[key] for key in told}


def of_real_size(family: str, part: str) -> Any:
    """A part as our configuration describes it, without memory for its weights."""
    config = json.loads((CONFIGS / family / part / "config.json").read_text())
    with torch.device("meta"):
        match family, part:
            case _, "vae":
                return AutoencoderKL.from_config(config)
            case "flux", _:
                return FluxTransformer2DModel.from_config(config)
            case "sd3", _:
                return SD3Transformer2DModel.from_config(config)
            case _:
                return T5EncoderModel(T5Config(**config))


@pytest.mark.slow
def test_a_t5_of_another_vocabulary_needs_the_tokenizer_that_belongs_to_it(tmp_path: Path) -> None:
    folder = write_flux("", tmp_path / "model")
    alone = write_single(tmp_path / "alone.safetensors", network_tensors("flux", flux_parts("")))
    encoder = write_single(tmp_path / "t5.safetensors", flux_parts("")["text_encoder_2"].state_dict())
    parts = {part: folder / part for part in ("text_encoder", "vae")} | {"text_encoder_2": encoder}
    assert "knows 260 tokens" in refusal(alone, "flux", parts=parts).message
    loaded = load(alone, "flux", parts={**parts, "tokenizer_2": folder / "tokenizer_2"})
    assert len(loaded._tokenizers["text_encoder_2"]) == 260


def test_our_t5_tokenizer_is_the_one_that_transformers_reads_from_a_folder(tmp_path: Path) -> None:
    ours = t5.tokenizer()
    ours.save_pretrained(tmp_path)
    again = T5Tokenizer.from_pretrained(tmp_path, local_files_only=True)
    for text in ("A red fox, 35mm; ﬁne  spaces\n and ünïcode — 北京", "", "x" * 3000):
        assert ours(text).input_ids == again(text).input_ids


def test_t5_reads_words_as_published() -> None:
    """Ids that T5 is known by: the pieces of its vocabulary and the mark that ends a text."""
    ids = t5.tokenizer()("Studies have been shown that owning a dog is good for you").input_ids
    assert ids == [6536, 43, 118, 2008, 24, 293, 53, 3, 9, 1782, 19, 207, 21, 25, 1]


@pytest.mark.slow
def test_sd3_pools_as_diffusers_does_whose_first_projection_changes_nothing(
    sd3: dict[str, Any], sd3_file: Path
) -> None:
    loaded = load(sd3_file, "sd3")
    encoder = sd3["text_encoder"]
    kept = encoder.text_projection.weight.clone()
    with torch.inference_mode():
        ids, _ = loaded.tokens("text_encoder", "a red fox")
        encoder.text_projection.weight.copy_(torch.eye(len(kept)))
        first = encoder(ids).text_embeds
        encoder.text_projection.weight.copy_(kept)
        second = sd3["text_encoder_2"](loaded.tokens("text_encoder_2", "a red fox")[0]).text_embeds
        text = loaded.encode_text("a red fox", "", guidance_scale=None, width=64, height=64)
    assert torch.allclose(text.added["pooled_projections"], torch.cat([first, second], dim=1), atol=1e-5)


def test_clip_of_another_pipeline_serves(tmp_path: Path) -> None:
    """CLIP ViT-L lies in folders with and without its projection; either is read without."""
    place = write_sd3(tmp_path / "sd3") / "text_encoder"
    encoder = components.read_clip_l(place, torch.float32).module
    expected = sd3_parts()["text_encoder"].text_model.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in encoder.state_dict().items())
