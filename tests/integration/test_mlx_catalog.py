# SPDX-License-Identifier: Apache-2.0
"""Converted models in the catalogue, and `inglenook models convert`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.mlx_models import STARTER, converted

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.service import BUILTIN_MODELS, CatalogService
from inglenook.cli.models import models
from inglenook.engines import diffusers, mlx
from inglenook.images.errors import EngineMissing
from inglenook.images.work import _require_engine, load_plan
from inglenook.wire.mlx import FLOW_SCHEDULERS, MANIFEST, Source

pytestmark = pytest.mark.slow


def catalog(root: Path) -> CatalogService:
    return CatalogService(roots=[root], builtin=BUILTIN_MODELS)


def digest_of_the_starter() -> str:
    return catalog(BUILTIN_MODELS).get(ModelId("starter-339")).digest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A models folder with the starter, converted, under another name."""
    source = Source(model="starter-339", path=str(STARTER), digest=digest_of_the_starter())
    notes = str(STARTER / "inglenook.json")
    converted(
        STARTER, tmp_path / "mlx" / "fox", source=source, title="Starter", licence="Apache-2.0", notes=notes
    )
    return tmp_path


def record(root: Path) -> ModelRecord:
    return catalog(root).get(ModelId("mlx/fox"))


def test_a_converted_model_is_known_by_its_manifest(root: Path) -> None:
    found = record(root)
    assert (found.kind, found.family, found.engine, found.problem) == (ModelKind.IMAGE, "sd1", "mlx", None)
    original = catalog(root).get(ModelId("starter-339"))
    assert (found.title, found.licence) == (f"{original.title} (MLX)", original.licence)
    assert set(found.components) == {"unet", "vae", "text_encoder"}
    assert found.image is not None
    assert set(found.image.schedulers) == set(FLOW_SCHEDULERS)
    assert original.image is not None
    assert (found.image.fixed, found.image.width) == (original.image.fixed, original.image.width)
    shutil.move(root / "mlx" / "fox", root / "renamed")
    assert catalog(root).get(ModelId("renamed")).engine == "mlx", "by its content, not by its name"


def test_the_conversion_of_a_model_is_found_from_the_model(root: Path) -> None:
    found = catalog(root)
    made = found.converted(ModelId("starter-339"))
    assert made is not None
    assert made.id == "mlx/fox"
    assert found.converted(ModelId("mlx/fox")) == made
    (root / "mlx" / "fox" / "vae.safetensors").unlink()
    assert catalog(root).converted(ModelId("starter-339")) is None


def test_names_and_auto_go_on_meaning_the_original(root: Path) -> None:
    shutil.copytree(STARTER, root / "sd" / "fox")
    found = catalog(root)
    assert found.resolve("fox").id == "sd/fox"
    assert found.resolve("mlx/fox").engine == "mlx"
    assert found.resolve("auto").engine == "diffusers"
    shutil.rmtree(root / "sd")
    assert catalog(root).resolve("fox").id == "mlx/fox", "the only one of that name"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "unet.safetensors").unlink(), "unet.safetensors is missing"),
        (lambda folder: (folder / "vae.safetensors").write_bytes(b"x"), "vae.safetensors has 1 bytes"),
        (lambda folder: (folder / MANIFEST).write_text("{"), MANIFEST),
        (lambda folder: edit(folder, family="flux"), MANIFEST),
        (lambda folder: edit(folder, variant="turbo"), "no variant 'turbo'"),
        (lambda folder: edit(folder, variant="inpaint"), "4 channels; 9 are needed"),
        (lambda folder: edit(folder, schema=2), MANIFEST),
        (lambda folder: edit(folder, surprise=1), "surprise"),
    ],
)
def test_a_damaged_one_is_listed_with_what_is_wrong(root: Path, change: Any, words: str) -> None:
    change(root / "mlx" / "fox")
    found = record(root)
    assert found.problem is not None
    assert words in found.problem


def edit(folder: Path, **fields: Any) -> None:
    told = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**told, **fields}))


def a_plan(found: ModelRecord) -> Any:
    from tests.unit.images.test_request import planned, request

    return load_plan(found, planned(request()), pinned=False)


def test_a_plan_names_the_engine_of_the_record_and_its_devices(root: Path) -> None:
    plan = a_plan(record(root))
    assert plan.engine == "mlx"
    assert set(plan.footprint_bytes) == mlx.kinds_of_devices()
    assert plan.options["stored"] == "float32"
    assert "vae_on_cpu" not in plan.options
    original = a_plan(catalog(root).get(ModelId("starter-339")))
    assert original.engine == "diffusers"
    assert set(original.footprint_bytes) == set(diffusers.DTYPES)


def test_without_the_package_the_refusal_says_how_to_get_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlx, "find_spec", lambda name: None if name == "mlx" else object())
    assert mlx.kinds_of_devices() == frozenset()
    with pytest.raises(EngineMissing, match="mlx not installed") as refused:
        _require_engine(record(root))
    assert refused.value.code == "engine.not_installed"
    assert "inglenook[mlx]" in str(refused.value.hint)
    _require_engine(catalog(root).get(ModelId("starter-339")))


def test_apple_silicon_draws_on_its_gpu_and_others_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlx.sys, "platform", "darwin")
    monkeypatch.setattr(mlx.platform, "machine", lambda: "arm64")
    assert mlx.dtypes("float16") == {"mps": "float16"}
    assert mlx.dtypes("float32") == {"mps": "float32"}
    monkeypatch.setattr(mlx.platform, "machine", lambda: "x86_64")
    assert mlx.dtypes("bfloat16") == {"cpu": "float32"}


# ── the terminal ──────────────────────────────────────────────────────────────────────────────────────────


def convert(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(models, ["convert", *arguments, "--to", "mlx", "--data", str(data)])


def test_the_terminal_converts_into_the_models_folder(tmp_path: Path) -> None:
    done = convert(tmp_path, "starter-339", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["model"] == "mlx/starter-339"
    folder = tmp_path / "models" / "mlx" / "starter-339"
    assert Path(told["path"]) == folder
    found = catalog(tmp_path / "models").converted(ModelId("starter-339"))
    assert found is not None
    assert found.dtype == "float16"
    assert (folder / "inglenook.json").read_bytes() == (STARTER / "inglenook.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing-like-it",), "There is no model"),
        (("mlx/fox",), "converted for MLX already"),
        (("starter-339", "--name", "../up"), "letters, digits"),
        (("starter-339", "--name", "fox"), "already"),
        (("broken",), "cannot be used"),
        (("vae",), "of kind vae"),
    ],
)
def test_the_terminal_refuses_in_words(root: Path, tmp_path: Path, arguments: Any, words: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(root / "mlx", data / "models" / "mlx")
    broken = shutil.copytree(STARTER, data / "models" / "broken")
    (broken / "vae" / "config.json").unlink()
    from tests.model_files import vae_shapes, write_tensors

    write_tensors(data / "models" / "vae.safetensors", vae_shapes())
    done = convert(data, *arguments)
    assert done.exit_code != 0
    assert words in (done.output + str(done.exception))
