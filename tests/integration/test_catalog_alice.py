# SPDX-License-Identifier: Apache-2.0
"""The `.yaml` that ALICE reads beside a model is read as it is."""

from pathlib import Path

import pytest
from tests.model_files import (
    ldm_shapes,
    qwen_shapes,
    qwen_vl_shapes,
    wan_vae_shapes,
    write_json,
    write_tensors,
)

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.service import CatalogService

SIDECAR = """\
model_type: qwen-image
vae: mine_vae.safetensors
llm: {llm}
llm_vision: mmproj.gguf
flags: [--flow-shift, "3"]
defaults:
  steps: 8
  guidance_scale: 2.5
  scheduler: euler
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def catalog(root: Path) -> CatalogService:
    return CatalogService(roots=(root,), builtin=root / "nothing here")


def fox(root: Path, service: CatalogService | None = None) -> ModelRecord:
    return (catalog(root) if service is None else service).get(ModelId("fox"))


def qwen(root: Path, *, llm: str) -> None:
    """A transformer with two of each part, of which the sidecar names the second."""
    write_tensors(root / "fox.safetensors", qwen_shapes())
    for name in ("a_vae", "mine_vae"):
        write_tensors(root / f"{name}.safetensors", wan_vae_shapes())
    for name in ("a_llm", "mine_llm"):
        write_tensors(root / f"{name}.safetensors", qwen_vl_shapes())
    (root / "fox.yaml").write_text(SIDECAR.format(llm=llm))


def test_it_chooses_the_parts_and_the_numbers(root: Path) -> None:
    qwen(root, llm="mine_llm.safetensors")
    found = fox(root)
    assert found.problem is None
    assert found.parts["vae"] == root / "mine_vae.safetensors"
    assert found.parts["text_encoder"] == root / "mine_llm.safetensors"
    assert found.image is not None
    assert (found.image.steps, found.image.guidance_scale) == (8, 2.5)


@pytest.mark.parametrize("llm", ["Qwen2.5-VL.gguf", "nowhere.safetensors", "x" * 5000 + ".safetensors"])
def test_a_component_that_is_not_there_is_passed_over_as_alice_does(root: Path, llm: str) -> None:
    qwen(root, llm=llm)
    found = fox(root)
    assert found.problem is None
    assert found.parts["text_encoder"] == root / "a_llm.safetensors"
    assert found.parts["vae"] == root / "mine_vae.safetensors"


@pytest.mark.parametrize("name", ["fox.yaml", "fox.yml", "model_config.yaml", "model_config.yml"])
def test_it_is_found_where_alice_looks_and_a_change_is_seen(root: Path, name: str) -> None:
    write_tensors(root / "fox.safetensors", ldm_shapes("sd1"))
    service = catalog(root)
    before = fox(root, service).image
    (root / name).write_text("defaults: {steps: 3}\n")
    service.refresh()
    after = fox(root, service).image
    assert before is not None
    assert after is not None
    assert (after.steps, after.guidance_scale) == (3, before.guidance_scale)


def test_our_own_sidecar_comes_first(root: Path) -> None:
    write_tensors(root / "fox.safetensors", ldm_shapes("sd1"))
    (root / "fox.yaml").write_text("defaults: {steps: 3}\n")
    write_json(root / "fox.safetensors.inglenook.json", {"schema": 1, "image": {"steps": 4}})
    image = fox(root).image
    assert image is not None
    assert image.steps == 4


@pytest.mark.parametrize(
    "text",
    [
        "model:\n  params: {parameterization: v}\ndefaults: {steps: 3}\n",  # Stable Diffusion's own
        "- 1\n",
        "steps: 3\n",
        "vae: [",
        "a: " + "[" * 3000,
        "# " + "x" * 70_000 + "\ndefaults: {steps: 3}\n",
        "defaults: null\nvae: 3\n",
    ],
)
def test_another_programs_file_changes_nothing(root: Path, text: str) -> None:
    write_tensors(root / "fox.safetensors", ldm_shapes("sd1"))
    plain = fox(root)
    (root / "fox.yaml").write_text(text)
    found = fox(root)
    assert found.problem is None
    assert (found.image, found.variant, found.parts) == (plain.image, plain.variant, plain.parts)


@pytest.mark.parametrize("text", ["defaults: {steps: 0}", "defaults: {steps: many}", "defaults: 3"])
def test_a_number_that_may_not_be_is_named(root: Path, text: str) -> None:
    write_tensors(root / "fox.safetensors", ldm_shapes("sd1"))
    (root / "fox.yaml").write_text(text)
    problem = fox(root).problem
    assert problem is not None
    assert problem.startswith("fox.yaml: defaults")
