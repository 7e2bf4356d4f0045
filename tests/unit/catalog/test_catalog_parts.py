# SPDX-License-Identifier: Apache-2.0
"""Which file or folder lends a model what it lacks."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ModelKind, ModelRecord, Need
from inglenook.catalog.parts import with_parts

ROOT, OTHER = Path("/models"), Path("/elsewhere")
NEEDS = (
    Need("text_encoder", "clip_l", 768),
    Need("text_encoder_2", "t5", 4096),
    Need("vae", "vae", 16),
    Need("tokenizer_2", "tokenizer", required=False),
)


def record(name: str, kind: ModelKind, root: Path = ROOT, **fields: Any) -> ModelRecord:
    given: dict[str, Any] = {
        "family": None, "layout": "single", "weights_bytes": 100, "parameters": 50, "dtype": "float16",
        "digest": "", "path": root / f"{name}.safetensors",
    }  # fmt: skip
    return ModelRecord(id=ModelId(name), kind=kind, root=root, **given | fields)


def transformer(**fields: Any) -> ModelRecord:
    return record("unet/dev", ModelKind.IMAGE, **{"family": "flux", "needs": NEEDS} | fields)


def encoder(name: str, role: str, width: int, root: Path = ROOT, **fields: Any) -> ModelRecord:
    return record(name, ModelKind.TEXT_ENCODER, root, role=role, widths={role: width}, **fields)


def vae(
    name: str = "vae/ae", *, fits: tuple[str, ...] = ("flux", "sd3"), root: Path = ROOT, **fields: Any
) -> ModelRecord:
    return record(name, ModelKind.VAE, root, role="vae", fits=fits, widths={"vae": 16}, **fields)


CLIP, T5 = encoder("clip/clip_l", "clip_l", 768), encoder("clip/t5", "t5", 4096)


def folder(tmp_path: Path, name: str = "FLUX", **fields: Any) -> ModelRecord:
    (tmp_path / name / "tokenizer_2").mkdir(parents=True)
    given: dict[str, Any] = {
        "family": "flux", "layout": "folder", "weights_bytes": 100, "parameters": 50,
        "components": {"transformer": 40, "text_encoder": 10, "text_encoder_2": 30, "vae": 20},
        "widths": {"text_encoder": 768, "text_encoder_2": 4096, "vae": 16},
    }  # fmt: skip
    return record(name, ModelKind.IMAGE, tmp_path, path=tmp_path / name, **given | fields)


def equipped(model: ModelRecord, *others: ModelRecord) -> ModelRecord:
    return with_parts([*others, model])[-1]


def test_a_file_draws_with_parts_that_lie_anywhere() -> None:
    found = equipped(transformer(), CLIP, T5, vae(root=OTHER))
    assert found.problem is None
    assert found.parts == {
        "text_encoder": CLIP.path,
        "text_encoder_2": T5.path,
        "vae": OTHER / "vae/ae.safetensors",
    }
    assert found.part_parameters == {"text_encoder": 50, "text_encoder_2": 50, "vae": 50}


def test_what_is_missing_is_named_with_what_to_get_and_where_to_put_it() -> None:
    problem = str(equipped(transformer(), CLIP).problem)
    assert "it needs the T5 text encoder (4096 columns) and the VAE (16 latent channels)" in problem
    assert "CLIP" not in problem
    fact, hint = problem.split("\nhint: ")
    assert "t5xxl" in hint
    assert "model folder" in fact


def test_what_is_not_required_is_not_missed() -> None:
    optional = (Need("text_encoder_3", "t5", 4096, required=False),)
    assert equipped(transformer(needs=optional)).problem is None
    assert equipped(transformer(needs=optional), T5).parts == {"text_encoder_3": T5.path}


@pytest.mark.parametrize(
    "wrong",
    [
        encoder("t5-small", "t5", 512),
        encoder("umt5", "umt5", 4096),
        encoder("broken", "t5", 4096, problem="it is broken"),
        vae(fits=("sd3",)),
    ],
)
def test_what_does_not_fit_lends_nothing(wrong: ModelRecord) -> None:
    others = [one for one in (CLIP, T5, vae()) if one.kind is not wrong.kind or one.role != "t5"]
    others = [one for one in others if one.kind is not ModelKind.VAE or wrong.kind is not ModelKind.VAE]
    assert equipped(transformer(), *others, wrong).problem is not None


def test_a_complete_folder_of_the_family_lends_its_components_and_its_tokenizer(tmp_path: Path) -> None:
    lender = folder(tmp_path)
    found = equipped(transformer(), lender)
    assert found.problem is None
    assert found.parts == {slot: lender.path / slot for slot in (
        "text_encoder", "text_encoder_2", "vae", "tokenizer_2")}  # fmt: skip
    assert found.part_parameters == {"text_encoder": 5, "text_encoder_2": 15, "vae": 10, "tokenizer_2": 0}


@pytest.mark.parametrize(
    "fields", [{"family": "sd3"}, {"problem": "vae: the folder is missing"}, {"widths": {"vae": 4}}]
)
def test_a_folder_of_another_family_a_broken_one_and_one_of_other_widths_lend_nothing(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    assert equipped(transformer(), folder(tmp_path, **fields)).problem is not None


def test_the_same_root_comes_first_then_folders_then_the_surest_then_the_nearest(tmp_path: Path) -> None:
    model = transformer(root=tmp_path, path=tmp_path / "unet" / "dev.safetensors")
    sure = vae("vae/sure", fits=("flux",), root=tmp_path)
    near = vae("unet/near", root=tmp_path)
    far = vae("a/far", root=tmp_path)
    float8 = vae("unet/a-float8", root=tmp_path, dtype="float8_e4m3fn")
    away = vae("away", fits=("flux",), root=OTHER)
    lender = folder(tmp_path)
    order = [lender.path / "vae", sure.path, near.path, far.path, float8.path, away.path]
    others = [away, float8, far, near, sure, lender]
    while others:
        assert equipped(model, CLIP, T5, *others).parts["vae"] == order.pop(0)
        others.pop()


@given(order=st.permutations([CLIP, T5, *(vae(f"{name}/ae") for name in "abc")]))
def test_the_choice_does_not_hang_on_the_order_of_the_list(order: list[ModelRecord]) -> None:
    assert equipped(transformer(), *order).parts["vae"] == ROOT / "a/ae.safetensors"


def test_the_sidecar_names_a_part_by_id_or_last_part_and_nothing_else_is_taken() -> None:
    others = (CLIP, T5, vae("a/first"), vae("b/second"))
    for name in ("b/second", "second"):
        found = equipped(transformer(named_parts={"vae": name}), *others)
        assert found.parts["vae"] == ROOT / "b/second.safetensors"


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"vae": "third"}, "there is no such model"),
        ({"vae": "t5"}, "that is not the VAE that fits"),
        ({"unet": "x"}, "it can name text_encoder, text_encoder_2, vae, tokenizer_2"),
    ],
)
def test_a_sidecar_that_names_the_wrong_thing_is_a_problem(named: dict[str, str], says: str) -> None:
    found = equipped(transformer(named_parts=named), CLIP, T5, vae())
    assert says in str(found.problem)


def test_a_model_that_is_broken_itself_keeps_its_own_problem() -> None:
    assert equipped(transformer(problem="it is broken")).problem == "it is broken"


def test_models_that_lack_nothing_stay_as_they_are() -> None:
    records = [CLIP, T5, vae()]
    assert with_parts(records) == records
