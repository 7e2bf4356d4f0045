# SPDX-License-Identifier: Apache-2.0
"""The controls of the Pixels page are the fields of a recipe, no more and no fewer, with values it takes;
LoRAs and engines say what is known of them."""

from pathlib import Path
from typing import Any

import pytest

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.images.engines import EngineStatus
from inglenook.images.model import Engine
from inglenook.pixels.checking import read_recipe
from inglenook.pixels.model import Recipe, known_fields
from inglenook.web.pixel.choices import engine_choices, lora_choices
from inglenook.web.pixel.controls import COLORS, GROUPS, Control

CONTROLS = [*(one for group in GROUPS for one in group.controls), COLORS]


def test_every_field_of_a_recipe_has_one_control_the_palette_an_editor() -> None:
    names = [one.name for one in CONTROLS]
    assert len(names) == len(set(names))
    assert {*names, "palette"} == known_fields()


def test_the_form_as_it_is_at_first_asks_for_the_default_recipe() -> None:
    sent = {one.name: one.value for one in CONTROLS if one.value != ""}
    assert read_recipe(sent, palettes={}) == Recipe()


@pytest.mark.parametrize("control", CONTROLS, ids=lambda one: one.name)
def test_a_control_offers_what_the_recipe_takes(control: Control) -> None:
    offered: list[float | str]
    if control.kind == "select":
        offered = list(control.options or {})
        assert offered == [one.value for one in type(getattr(Recipe(), control.name))]
    elif control.kind in ("number", "slider"):
        offered = [number(control.low), number(control.high)]
    else:
        return
    for value in offered:
        assert getattr(read_recipe({control.name: value}, palettes={}), control.name) == value


def number(value: float) -> float:
    return int(value) if value == int(value) else value


def engine(**fields: Any) -> EngineStatus:
    usual: dict[str, Any] = {
        "name": Engine.MLX, "title": "MLX", "available": True, "why_not": None, "hint": None,
        "needs_conversion": True, "modes": ("text", "inpaint"), "loras": False, "previews": True,
        "negative_prompt": True, "families": (), "devices": ("cpu",), "models": ("a",),
    }  # fmt: skip
    return EngineStatus(**usual | fields)


def test_an_engine_says_what_it_can_and_how_a_model_is_made_to_fit() -> None:
    (here,) = engine_choices([engine()])
    assert here.words == (
        "Draws from words, inside a mask; with previews, a negative prompt; no LoRAs. "
        "Can draw with one of your models on cpu."
    )
    assert (here.masks, here.loras, here.convert) == (True, False, "inglenook models convert MODEL --to mlx")


def test_an_engine_that_is_not_here_says_why_and_what_to_do() -> None:
    missing = engine(available=False, why_not="mlx is not installed.", hint="pip install mlx")
    (gone,) = engine_choices([missing])
    assert gone.words == "mlx is not installed. Pip install mlx."


def test_a_lora_that_is_known_brings_its_weight_and_its_family() -> None:
    known, other = lora_choices([lora("nerijs/pixel-art-xl"), lora("z", fits=("sd1", "sd2"))])
    assert (known.families, known.weight) == (("sdxl",), 1.0)
    assert "8 drawn pixels" in known.about
    assert (other.families, other.about) == (("sd1", "sd2"), "")
    assert lora_choices([lora("broken", problem="it is cut off")]) == []


def lora(name: str, **fields: Any) -> ModelRecord:
    usual: dict[str, Any] = {
        "id": ModelId(name), "kind": ModelKind.LORA, "family": None, "path": Path(name), "layout": "single",
        "weights_bytes": 1, "parameters": 1, "dtype": "float16", "digest": "d", "root": Path(),
    }  # fmt: skip
    return ModelRecord(**usual | fields)
