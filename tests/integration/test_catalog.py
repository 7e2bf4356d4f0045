# SPDX-License-Identifier: Apache-2.0
"""The catalogue over real folders with real safetensors files."""

import errno
import json
import os
import shutil
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.model_files import (
    TINY_UNET,
    clip_shapes,
    flux_shapes,
    ldm_shapes,
    sd3_shapes,
    t5_shapes,
    vae_shapes,
    write_json,
    write_pipeline,
    write_tensors,
    write_transformer_pipeline,
)

from inglenook.base.ids import ModelId
from inglenook.catalog import service as service_module
from inglenook.catalog.errors import ModelAmbiguous, ModelNotFound, ModelUnusable
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.scan import MAX_DEPTH
from inglenook.catalog.service import BUILTIN_MODELS, CatalogService
from inglenook.testing.parts import require

LORA = {"x.lora_down.weight": (4, 4), "x.lora_up.weight": (4, 4)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def catalog(*roots: Path, builtin: Path | None = None, picture_model: str = "auto") -> CatalogService:
    nothing = roots[0] / "nothing here" if roots else BUILTIN_MODELS
    return CatalogService(
        roots=roots, builtin=nothing if builtin is None else builtin, picture_model=picture_model
    )


def ids(service: CatalogService) -> list[str]:
    return [record.id for record in service.list()]


def only(service: CatalogService) -> ModelRecord:
    (record,) = service.list()
    return record


# the starter model


def test_a_fresh_install_has_the_starter_model_and_it_is_the_automatic_one(root: Path) -> None:
    record = catalog(root, builtin=BUILTIN_MODELS).resolve("auto")
    assert record.builtin
    assert (record.kind, record.family, record.layout, record.dtype) == (
        ModelKind.IMAGE,
        "sd1",
        "folder",
        "float16",
    )
    assert record.problem is None
    assert record.image is not None
    assert (record.image.fixed, record.image.width) == (((32, 32),), 512)
    assert record.weights_bytes == 2 * record.parameters > 13_000_000
    assert record.components.keys() == {"unet", "vae", "text_encoder"}


def test_without_its_sidecar_the_starter_model_still_tells_its_native_size(root: Path) -> None:
    shutil.copytree(
        BUILTIN_MODELS / "starter-339", root / "copy", ignore=shutil.ignore_patterns("inglenook.json")
    )
    record = only(catalog(root))
    assert record.title == "copy"
    assert record.image is not None
    assert (record.image.native_px, record.image.width, record.image.min_px) == (32, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_what_diffusers_itself_writes_is_recognised(root: Path, family: str) -> None:
    from tests.tiny_models import write_folder, write_single

    write_folder(family, root / "folder")
    write_single(family, root / "single.safetensors", ema=True)
    folder, single = catalog(root).list()
    assert (folder.problem, single.problem) == (None, None)
    assert folder.family == single.family == family
    assert folder.components.keys() == single.components.keys() - {"ema"}
    assert folder.image is not None
    assert folder.image.native_px == 64


# ids and names


def test_ids_are_paths_below_the_root_without_suffix(root: Path) -> None:
    write_pipeline(root / "some-lab" / "sd-tiny")
    write_tensors(root / "files" / "v1.5 pruned.safetensors", ldm_shapes("sd1"))
    service = catalog(root)
    assert ids(service) == ["files/v1.5 pruned", "some-lab/sd-tiny"]
    single, folder = service.list()
    assert (single.layout, single.title) == ("single", "v1.5 pruned")
    assert (folder.layout, folder.title) == ("folder", "sd-tiny")
    assert service.get(ModelId("some-lab/sd-tiny")) is folder


def test_a_family_is_never_taken_from_a_name(root: Path) -> None:
    write_tensors(root / "sdxl-flux-lora.safetensors", ldm_shapes("sd2"))
    write_pipeline(root / "stable-diffusion-3", unet=TINY_UNET)
    assert [(record.kind, record.family) for record in catalog(root).list()] == [
        (ModelKind.IMAGE, "sd2"),
        (ModelKind.IMAGE, "sd1"),
    ]


def test_equal_names_get_a_number_in_the_order_of_the_roots(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_tensors(tmp_path / name / "fox.safetensors", ldm_shapes("sd1"))
    write_tensors(tmp_path / "b" / "fox~2.safetensors", ldm_shapes("sd1"))
    service = catalog(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert [(record.id, record.root.name) for record in service.list()] == [
        ("fox", "a"),
        ("fox~3", "b"),
        ("fox~2", "b"),
        ("fox~4", "c"),
    ]
    assert ids(service) == ids(catalog(tmp_path / "a", tmp_path / "b", tmp_path / "c"))


def test_a_model_called_auto_cannot_take_the_word(root: Path) -> None:
    write_tensors(root / "auto.safetensors", ldm_shapes("sd1"))
    assert ids(catalog(root)) == ["auto~2"]


def test_a_root_that_is_a_model_itself_has_its_own_name(root: Path) -> None:
    write_pipeline(root / "tiny")
    assert ids(catalog(root / "tiny")) == ["tiny"]


def test_a_file_name_that_is_no_text_still_makes_an_id_that_can_be_sent(root: Path) -> None:
    file = write_tensors(root / "x.safetensors", ldm_shapes("sd1"))
    try:
        file.rename(root / os.fsdecode(b"x\xff.safetensors"))
    except OSError as error:
        require(False, f"a file system that takes such names: {error}")
    record = only(catalog(root))
    assert record.id == "x\ufffd"
    assert record.problem is None


def test_an_unknown_name_is_refused_with_the_nearest_ids(root: Path) -> None:
    for name in ("lab/red-fox", "lab/grey-cat", "other"):
        write_pipeline(root / name)
    service = catalog(root)
    with pytest.raises(ModelNotFound) as caught:
        service.get(ModelId("redfox"))
    assert caught.value.code == "model.not_found"
    assert caught.value.hint == "nearest: lab/red-fox; `auto` takes the default"
    with pytest.raises(ModelNotFound, match="lists what is there"):
        service.resolve("qqqqqqqqqqqq")


def test_the_last_part_of_an_id_is_enough_unless_two_share_it(root: Path) -> None:
    write_pipeline(root / "a" / "fox")
    write_pipeline(root / "a" / "cat")
    write_pipeline(root / "b" / "cat")
    service = catalog(root)
    assert service.resolve("fox").id == "a/fox"
    assert service.resolve("b/cat").id == "b/cat"
    with pytest.raises(ModelAmbiguous, match="a/cat, b/cat") as caught:
        service.resolve("cat")
    assert caught.value.code == "model.ambiguous"


# the automatic model


def test_automatic_is_the_persons_first_usable_model_before_the_packages(root: Path) -> None:
    (root / "a-broken.safetensors").write_bytes(b"")
    write_tensors(root / "b-lora.safetensors", LORA)
    write_pipeline(root / "c-good")
    assert catalog(root, builtin=BUILTIN_MODELS).resolve("auto").id == "c-good"


def test_automatic_is_the_configured_model_and_never_silently_another(root: Path) -> None:
    write_pipeline(root / "a")
    write_pipeline(root / "b")
    assert catalog(root, picture_model="b").resolve("auto").id == "b"
    with pytest.raises(ModelNotFound):
        catalog(root, picture_model="gone").resolve("auto")


def test_automatic_without_any_model_says_so(root: Path) -> None:
    with pytest.raises(ModelNotFound, match="no usable model"):
        catalog(root).resolve("auto")


def test_a_model_of_another_kind_cannot_draw(root: Path) -> None:
    write_tensors(root / "style.safetensors", LORA)
    service = catalog(root)
    with pytest.raises(ModelUnusable, match="of kind lora"):
        service.resolve("style")
    assert service.resolve("style", kind=ModelKind.LORA).id == "style"
    assert service.list(ModelKind.IMAGE) == []


# what the walk finds


def test_hidden_and_too_deep_folders_are_passed_over(root: Path) -> None:
    deep = root.joinpath(*["d"] * MAX_DEPTH)
    for folder in (deep, deep / "d", root / ".hidden"):
        write_tensors(folder / "m.safetensors", ldm_shapes("sd1"))
    write_tensors(root / ".m.safetensors", ldm_shapes("sd1"))
    assert ids(catalog(root)) == ["/".join(["d"] * MAX_DEPTH) + "/m"]


def test_links_are_followed_and_loops_end(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_tensors(elsewhere / "blob", ldm_shapes("sd1"))
    (root / "sub").mkdir()
    (root / "sub" / "linked.safetensors").symlink_to(elsewhere / "blob")
    (root / "sub" / "up").symlink_to(root, target_is_directory=True)
    (root / "self").symlink_to(root / "self")
    (root / "dangling.safetensors").symlink_to(root / "nowhere")
    assert ids(catalog(root)) == ["sub/linked"]


def test_a_missing_root_is_passed_over(root: Path, tmp_path: Path) -> None:
    write_pipeline(root / "a")
    assert ids(catalog(tmp_path / "unplugged disk", root)) == ["a"]


def test_the_parts_of_a_folder_are_not_models_of_their_own(root: Path) -> None:
    write_pipeline(root / "one")
    assert ids(catalog(root)) == ["one"]


def test_a_vae_folder_and_a_vae_file_are_vaes(root: Path) -> None:
    shapes = {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 4, 3, 3)}
    write_json(root / "folder" / "config.json", {"_class_name": "AutoencoderKL"})
    write_tensors(root / "folder" / "diffusion_pytorch_model.safetensors", shapes)
    write_tensors(root / "file.safetensors", shapes)
    assert [(one.id, one.kind, one.layout) for one in catalog(root).list()] == [
        ("file", ModelKind.VAE, "single"),
        ("folder", ModelKind.VAE, "folder"),
    ]


# what a record says


def test_sizes_are_counted_by_component(root: Path) -> None:
    shapes = ldm_shapes("sdxl") | {
        "conditioner.embedders.1.model.ln_final.weight": (10,),
        "model_ema.decay": (7,),
        "alphas_cumprod": (3,),
    }
    record = only(catalog(write_tensors(root / "m.safetensors", shapes).parent))
    assert record.components == {
        "unet": 2 * (4 * 4 * 9 + 4 * 2048),
        "vae": 2 * (4 * 4 * 9 + 4 * 3 * 9),
        "text_encoder": 2 * 4,
        "text_encoder_2": 2 * 10,
        "ema": 2 * 7,
        "other": 2 * 3,
    }
    assert record.weights_bytes == sum(record.components.values())
    assert record.parameters * 2 == record.weights_bytes


def test_the_dtype_is_that_of_most_scalars(root: Path) -> None:
    write_pipeline(root / "m")
    write_tensors(
        root / "m" / "unet" / "diffusion_pytorch_model.safetensors",
        {"conv_in.weight": (32, 4, 3, 3)},
        "float32",
    )
    assert only(catalog(root)).dtype == "float32"


def test_the_digest_follows_the_headers_and_not_the_name(root: Path) -> None:
    one = write_tensors(root / "one.safetensors", ldm_shapes("sd1"))
    shutil.copy(one, root / "two.safetensors")
    write_tensors(root / "three.safetensors", ldm_shapes("sd1") | {"more": (1,)})
    by_id = {record.id: record.digest for record in catalog(root).list()}
    assert by_id["one"] == by_id["two"] != by_id["three"]
    assert len(by_id["one"]) == 64


def test_only_one_of_several_sets_of_weights_is_counted(root: Path) -> None:
    write_pipeline(root / "m")
    before = only(catalog(root)).weights_bytes
    for extra in ("diffusion_pytorch_model.fp16", "diffusion_pytorch_model.non_ema"):
        shutil.copy(
            root / "m" / "unet" / "diffusion_pytorch_model.safetensors",
            root / "m" / "unet" / f"{extra}.safetensors",
        )
    assert only(catalog(root)).weights_bytes == before


def test_a_folder_in_half_precision_only_is_usable(root: Path) -> None:
    record = only(catalog(write_pipeline(root / "m", variant=".fp16").parent))
    assert record.problem is None
    assert record.weights_bytes > 0


def test_shards_are_read_as_one(root: Path) -> None:
    unet = write_pipeline(root / "m") / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    write_tensors(unet / names[0], {"conv_in.weight": (32, 4, 3, 3)})
    write_tensors(unet / names[1], {"conv_out.weight": (5,)})
    index = unet / "diffusion_pytorch_model.safetensors.index.json"
    write_json(index, {"weight_map": {"conv_in.weight": names[0], "conv_out.weight": names[1]}})
    service = catalog(root)
    assert only(service).problem is None
    assert only(service).components["unet"] == 2 * (32 * 4 * 9 + 5)

    (unet / names[1]).unlink()
    service.refresh()
    assert f"{names[1]} is missing" in str(only(service).problem)

    write_json(index, {"weight_map": {"conv_in.weight": "../../../../etc/x.safetensors"}})
    service.refresh()
    assert "no plain file name" in str(only(service).problem)


def test_a_sidecar_beside_a_single_file_is_used(root: Path) -> None:
    write_tensors(root / "fox.safetensors", ldm_shapes("sd1"))
    write_json(root / "fox.safetensors.inglenook.json", {"schema": 1, "title": "Fox", "image": {"steps": 4}})
    record = only(catalog(root))
    assert (record.title, record.problem) == ("Fox", None)
    assert record.image is not None
    assert (record.image.steps, record.image.guidance_scale) == (4, 7.5)


# models in pieces


def flux_file(root: Path, name: str = "unet/dev", **shapes: bool) -> Path:
    return write_tensors(root / f"{name}.safetensors", flux_shapes(**shapes))


def test_a_comfyui_folder_is_read_in_place_and_its_pieces_find_each_other(root: Path) -> None:
    flux_file(root)
    write_tensors(root / "checkpoints" / "old.safetensors", ldm_shapes("sd1"))
    write_tensors(root / "text_encoders" / "clip_l.safetensors", clip_shapes())
    write_tensors(root / "text_encoders" / "t5xxl.safetensors", t5_shapes())
    write_tensors(root / "vae" / "ae.safetensors", vae_shapes())
    write_tensors(root / "loras" / "style.safetensors", LORA)
    write_tensors(root / "embeddings" / "bad-hands.safetensors", {"emb_params": (4, 768)})
    records = {record.id: record for record in catalog(root).list()}
    assert {model_id: (record.kind.value, record.problem) for model_id, record in records.items()} == {
        "checkpoints/old": ("image", None),
        "embeddings/bad-hands": ("embedding", None),
        "loras/style": ("lora", None),
        "text_encoders/clip_l": ("text_encoder", None),
        "text_encoders/t5xxl": ("text_encoder", None),
        "unet/dev": ("image", None),
        "vae/ae": ("vae", None),
    }
    dev = records[ModelId("unet/dev")]
    assert dev.parts == {
        "text_encoder": root / "text_encoders" / "clip_l.safetensors",
        "text_encoder_2": root / "text_encoders" / "t5xxl.safetensors",
        "vae": root / "vae" / "ae.safetensors",
    }
    assert dev.components.keys() == {"transformer"}
    assert dev.part_parameters["vae"] == records[ModelId("vae/ae")].parameters


def test_a_part_that_comes_or_goes_counts_at_the_next_look_and_nothing_else_is_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_transformer_pipeline(root / "folder", "flux", "FluxPipeline")
    flux_file(root)
    service = catalog(root)
    assert service.resolve("dev").problem is None
    shutil.move(root / "folder", root.parent / "away")
    service.refresh()
    with pytest.raises(ModelUnusable, match="it needs the CLIP-L text encoder"):
        service.resolve("dev")

    read: list[Path] = []
    real = service_module.read_model
    monkeypatch.setattr(
        service_module, "read_model", lambda path, **rest: read.append(path) or real(path, **rest)
    )
    shutil.move(root.parent / "away", root / "again")
    service.refresh()
    assert service.resolve("dev").parts["text_encoder_2"] == root / "again" / "text_encoder_2"
    assert read == [root / "again"]


def test_a_folder_lends_across_roots_but_the_own_root_comes_first(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    flux_file(here)
    write_transformer_pipeline(there / "folder", "flux", "FluxPipeline")
    service = catalog(here, there)
    assert service.get(ModelId("unet/dev")).parts["vae"] == there / "folder" / "vae"
    write_tensors(here / "vae" / "ae.safetensors", vae_shapes())
    service.refresh()
    assert service.get(ModelId("unet/dev")).parts["vae"] == here / "vae" / "ae.safetensors"


def test_the_sidecar_chooses_parts_and_the_variant(root: Path) -> None:
    write_transformer_pipeline(root / "folder", "flux", "FluxPipeline")
    file = flux_file(root)
    write_tensors(root / "vae" / "other.safetensors", vae_shapes())
    write_json(
        file.with_name(f"{file.name}.inglenook.json"),
        {"schema": 1, "image": {"variant": "kontext", "parts": {"vae": "other"}}},
    )
    dev = catalog(root).get(ModelId("unet/dev"))
    assert (dev.problem, dev.variant) == (None, "kontext")
    assert dev.parts["vae"] == root / "vae" / "other.safetensors"
    assert dev.image is not None
    assert dev.image.modes == frozenset({"text", "edit", "inpaint"})
    assert dev.image.guidance_scale == 2.5


@pytest.mark.parametrize(
    ("shapes", "variant", "says"),
    [
        ({}, "turbo", "has no variant 'turbo'; it has '', 'schnell', 'fill', 'kontext'"),
        ({}, "fill", "it says 'fill', but the weights' shapes say 'plain'"),
        ({"columns": 384}, "kontext", "it says 'kontext', but the weights' shapes say 'fill'"),
    ],
)
def test_a_variant_that_cannot_be_is_a_problem(
    root: Path, shapes: dict[str, int], variant: str, says: str
) -> None:
    file = write_tensors(root / "m.safetensors", flux_shapes(**shapes))
    write_json(file.with_name(f"{file.name}.inglenook.json"), {"schema": 1, "image": {"variant": variant}})
    assert says in str(only(catalog(root)).problem)


@pytest.mark.parametrize(
    ("family", "class_name", "without"),
    [
        ("flux", "FluxPipeline", ()),
        ("sd3", "StableDiffusion3Pipeline", ()),
        ("sd3", "StableDiffusion3Pipeline", ("text_encoder_3",)),
        ("qwen-image", "QwenImageEditPlusPipeline", ()),
    ],
)
def test_folders_with_a_transformer_are_usable(
    root: Path, family: str, class_name: str, without: tuple[str, ...]
) -> None:
    write_transformer_pipeline(root / "m", family, class_name, without=without)
    record = only(catalog(root))
    assert (record.family, record.problem) == (family, None)
    assert record.image is not None
    assert record.image.multiple == 16
    assert ("text_encoder_3" in record.components) == (family == "sd3" and not without)


def test_stable_diffusion_3_in_one_file_draws_without_t5(root: Path) -> None:
    write_tensors(root / "m.safetensors", sd3_shapes() | vae_shapes(prefix="first_stage_model."))
    write_tensors(root / "l.safetensors", clip_shapes())
    write_tensors(root / "g.safetensors", clip_shapes(1280))
    record = catalog(root).get(ModelId("m"))
    assert record.problem is None
    assert record.parts == {
        "text_encoder": root / "l.safetensors",
        "text_encoder_2": root / "g.safetensors",
    }


def test_a_text_encoder_folder_is_one_part_with_all_its_shards(root: Path) -> None:
    folder = root / "t5"
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    first, *rest = t5_shapes().items()
    write_tensors(folder / names[0], dict([first]))
    write_tensors(folder / names[1], dict(rest))
    weight_map = {first[0]: names[0], **{name: names[1] for name, _ in rest}}
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    write_json(folder / "config.json", {"d_model": 4096})
    record = only(catalog(root))
    assert (record.kind, record.role, record.problem) == (ModelKind.TEXT_ENCODER, "t5", None)


def test_a_config_among_loose_files_does_not_make_them_one_model(root: Path) -> None:
    write_json(root / "loras" / "config.json", {})
    for name in ("a", "b"):
        write_tensors(root / "loras" / f"{name}.safetensors", LORA)
    assert ids(catalog(root)) == ["loras/a", "loras/b"]


def test_a_resolution_and_a_licence_in_the_metadata_count_where_no_sidecar_speaks(root: Path) -> None:
    told = {
        "modelspec.resolution": "768x768",
        "modelspec.license": "MIT",
        "modelspec.description": "Foxes. " * 500,
    }
    write_tensors(root / "m.safetensors", ldm_shapes("sd1"), metadata=told)
    record = only(catalog(root))
    assert record.image is not None
    assert (record.image.width, record.licence, len(record.description)) == (768, "MIT", 500)


def test_gguf_files_are_named_and_not_used(root: Path) -> None:
    (root / "flux-q4.gguf").write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 20) + b"general.architecture"
        + struct.pack("<IQ", 8, 4) + b"flux"
    )  # fmt: skip
    (root / "broken.gguf").write_bytes(b"GGUF")
    broken, flux = catalog(root).list()
    assert (flux.kind, flux.family) == (ModelKind.IMAGE, "flux")
    assert "not drawn from GGUF files yet" in str(flux.problem)
    assert "ends inside its header" in str(broken.problem)


# broken models stay in the list


def broken_folders(root: Path) -> Sequence[tuple[str, str]]:
    """Makes one folder for each fault; returns (id, what its problem must say), in the order of ids."""
    write_pipeline(root / "a-truncated")
    file = root / "a-truncated" / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    shutil.rmtree(write_pipeline(root / "b-no-vae") / "vae")
    folder = write_pipeline(root / "c-pickle")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02.")
    (write_pipeline(root / "d-bad-config") / "unet" / "config.json").write_text("{", encoding="utf-8")
    shutil.rmtree(write_pipeline(root / "e-no-tokenizer") / "tokenizer")
    write_json(
        write_pipeline(root / "f-sidecar") / "inglenook.json", {"schema": 1, "image": {"steps": "many"}}
    )
    write_json(root / "g-flux" / "model_index.json", {"_class_name": "FluxPipeline"})
    (root / "h-index").mkdir()
    (root / "h-index" / "model_index.json").write_text("[]", encoding="utf-8")
    return [
        ("a-truncated", "are there"),
        ("b-no-vae", "vae: the folder is missing"),
        ("c-pickle", "unet: diffusion_pytorch_model.bin is a PyTorch checkpoint"),
        ("d-bad-config", "unet: config.json is not JSON"),
        ("e-no-tokenizer", "tokenizer: the folder is missing"),
        ("f-sidecar", "inglenook.json: image.steps"),
        ("g-flux", "transformer: the folder is missing"),
        ("h-index", "model_index.json does not hold a JSON object"),
    ]


def test_a_broken_folder_stays_in_the_list_with_its_reason_and_the_others_work(root: Path) -> None:
    expected = broken_folders(root)
    write_pipeline(root / "z-good")
    service = catalog(root)
    assert ids(service) == [model_id for model_id, _ in expected] + ["z-good"]
    for model_id, says in expected:
        assert says in str(service.get(ModelId(model_id)).problem)
        with pytest.raises(ModelUnusable) as caught:
            service.resolve(model_id)
        assert caught.value.code == "model.unusable"
        assert says in caught.value.message
    assert service.resolve("auto").id == "z-good"


def test_the_way_to_convert_a_pickle_arrives_as_the_hint(root: Path) -> None:
    (root / "old.ckpt").write_bytes(b"\x80\x02.")
    with pytest.raises(ModelUnusable) as caught:
        catalog(root).resolve("old")
    assert "old.ckpt is a PyTorch checkpoint" in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("convert it with:")


def test_a_pickle_is_not_listed_beside_what_it_was_converted_to(root: Path) -> None:
    (root / "old.ckpt").write_bytes(b"\x80\x02.")
    write_tensors(root / "old.safetensors", ldm_shapes("sd1"))
    assert ids(catalog(root)) == ["old"]


def test_a_file_that_the_system_refuses_to_read_is_named_and_the_rest_is_still_known(root: Path) -> None:
    config = write_pipeline(root / "m") / "vae" / "config.json"
    config.unlink()
    config.mkdir()
    record = only(catalog(root))
    assert record.problem == f"vae: config.json cannot be read: {os.strerror(errno.EISDIR)}"
    assert (record.kind, record.family) == (ModelKind.IMAGE, "sd1")


# looking again


def test_an_unchanged_model_is_not_read_again_and_a_changed_one_is(root: Path) -> None:
    folder = write_pipeline(root / "m")
    service = catalog(root)
    first = only(service)

    config = folder / "unet" / "config.json"
    status, text = config.stat(), config.read_text(encoding="utf-8")
    config.write_text(text.replace('"sample_size": 8', '"sample_size": 9'), encoding="utf-8")
    os.utime(config, ns=(status.st_atime_ns, status.st_mtime_ns))
    service.refresh()
    assert only(service) is first  # the same times and sizes: nothing was opened

    os.utime(config, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    service.refresh()
    assert only(service).image != first.image


def test_new_and_removed_models_are_seen_in_the_next_list_and_by_name(root: Path) -> None:
    file = write_tensors(root / "a.safetensors", ldm_shapes("sd1"))
    service = catalog(root)
    assert ids(service) == ["a"]
    write_json(root / "a.safetensors.inglenook.json", {"schema": 1, "title": "New"})
    write_tensors(root / "b.safetensors", ldm_shapes("sd1"))
    assert service.resolve("b").id == "b"
    assert [record.title for record in service.list()] == ["New", "b"]
    file.unlink()
    assert ids(service) == ["b"]


def test_many_threads_may_look_at_once(root: Path) -> None:
    for number in range(5):
        write_pipeline(root / f"m{number}")
    service = catalog(root)
    seen: list[list[str]] = []

    def look() -> None:
        for _ in range(20):
            service.refresh()
            seen.append(ids(service))

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 120
    assert all(one == [f"m{number}" for number in range(5)] for one in seen)


def test_a_record_of_every_model_can_be_written_as_json(root: Path) -> None:
    broken_folders(root)
    for record in catalog(root, builtin=BUILTIN_MODELS).list():
        assert (
            json.loads(json.dumps([record.id, record.title, record.problem, record.components]))[0]
            == record.id
        )
