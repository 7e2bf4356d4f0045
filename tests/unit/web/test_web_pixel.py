# SPDX-License-Identifier: Apache-2.0
"""The controls of the Pixels page are the fields of a recipe, no more and no fewer, with values it takes."""

import pytest

from inglenook.pixels.checking import read_recipe
from inglenook.pixels.model import Recipe, known_fields
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
