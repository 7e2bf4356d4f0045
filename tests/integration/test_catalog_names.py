# SPDX-License-Identifier: Apache-2.0
"""Names as clients of other programs write them."""

from pathlib import Path

import pytest
from tests.model_files import ldm_shapes, write_pipeline, write_tensors

from inglenook.base.ids import ModelId
from inglenook.catalog.errors import ModelAmbiguous, ModelNotFound
from inglenook.catalog.model import ModelKind
from inglenook.catalog.service import CatalogService

LORA = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 768),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": (320, 4),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.alpha": (),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def catalog(root: Path) -> CatalogService:
    return CatalogService(roots=[root], builtin=root / "nothing here")


def test_alices_prefix_may_stand_before_every_model(root: Path) -> None:
    write_pipeline(root / "lab" / "fox")
    write_pipeline(root / "cat")
    service = catalog(root)
    assert service.get(ModelId("sd/cat")).id == "cat"
    assert service.find("sd/cat").id == "cat"
    assert service.resolve("sd/fox").id == "lab/fox"
    assert service.resolve("sd/lab/fox").id == "lab/fox"
    with pytest.raises(ModelNotFound, match="nonexistent"):
        service.resolve("sd/nonexistent-model")


def test_a_model_whose_id_begins_like_the_prefix_goes_first(root: Path) -> None:
    write_pipeline(root / "sd" / "cat")
    write_pipeline(root / "cat")
    assert catalog(root).find("sd/cat").id == "sd/cat"


def test_a_single_file_may_be_called_by_its_folder(root: Path) -> None:
    write_tensors(root / "dream" / "model.safetensors", ldm_shapes("sd1"))
    write_tensors(root / "two" / "a.safetensors", ldm_shapes("sd1"))
    write_tensors(root / "two" / "b.safetensors", ldm_shapes("sd1"))
    service = catalog(root)
    assert service.resolve("sd/dream").id == "dream/model"
    with pytest.raises(ModelAmbiguous, match="two/a, two/b"):
        service.resolve("two")


def test_case_and_separators_count_only_where_nothing_fits_better(root: Path) -> None:
    write_pipeline(root / "Red_Fox v2")
    write_pipeline(root / "red-fox-v2")
    write_pipeline(root / "Grey Cat")
    service = catalog(root)
    assert service.resolve("red-fox-v2").id == "red-fox-v2"
    assert service.resolve("grey_cat").id == "Grey Cat"
    with pytest.raises(ModelAmbiguous):
        service.resolve("redfoxv2")
    with pytest.raises(ModelNotFound):
        service.resolve("-_ -")


def test_a_lora_is_found_with_its_prefix_in_any_spelling(root: Path) -> None:
    write_tensors(root / "loras" / "Water_Colour.safetensors", LORA)
    write_pipeline(root / "water colour")
    service = catalog(root)
    for name in ("lora/Water_Colour", "lora/water-colour", "WATER COLOUR", "loras/water_colour"):
        assert service.resolve_part(name, ModelKind.LORA).id == "loras/Water_Colour", name
    with pytest.raises(ModelNotFound, match="nearest: loras/Water_Colour"):
        service.resolve_part("lora/watercolor", ModelKind.LORA)
