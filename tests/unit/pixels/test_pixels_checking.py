# SPDX-License-Identifier: Apache-2.0
"""Recipes out of what somebody sent."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.base.errors import Invalid
from inglenook.pixels.checking import read_recipe
from inglenook.pixels.model import (
    Alpha,
    Background,
    Dither,
    Fit,
    GridMode,
    Outline,
    Quantiser,
    Recipe,
    Reduction,
    Symmetry,
    Tile,
    known_fields,
)


@dataclass(frozen=True)
class Named:
    colors: tuple[tuple[int, int, int], ...]


PALETTES = {"two": Named(((0, 0, 0), (255, 255, 255)))}

triples = st.tuples(*[st.integers(0, 255)] * 3)
sides = st.none() | st.integers(1, 4096)
palettes = st.none() | st.lists(triples, min_size=1, max_size=256).map(tuple)
recipes = st.builds(
    Recipe,
    width=sides,
    height=sides,
    fit=st.sampled_from(Fit),
    grid=st.sampled_from(GridMode),
    reduction=st.sampled_from(Reduction),
    colors=st.none() | st.integers(1, 256),
    palette=palettes,
    quantiser=st.sampled_from(Quantiser),
    dither=st.sampled_from(Dither),
    dither_strength=st.floats(0, 1),
    merge_rare=st.floats(0, 0.5),
    alpha=st.sampled_from(Alpha),
    alpha_threshold=st.integers(1, 255),
    background=st.sampled_from(Background),
    background_color=triples,
    despeckle=st.integers(0, 4096),
    fill_holes=st.integers(0, 4096),
    clean_edges=st.booleans(),
    outline=st.sampled_from(Outline),
    outline_color=st.none() | triples,
    keep_outline=st.booleans(),
    symmetry=st.sampled_from(Symmetry),
    tile=st.sampled_from(Tile),
    trim=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)


def read(**fields: Any) -> Recipe:
    return read_recipe(fields, palettes=PALETTES)


@settings(max_examples=60, deadline=None)
@given(recipes)
def test_a_recipe_that_travels_as_json_arrives_as_it_was(recipe: Recipe) -> None:
    assert read_recipe(recipe.as_json(), palettes={}) == recipe


def test_without_fields_it_has_its_defaults() -> None:
    assert read() == Recipe()


def test_every_field_of_a_recipe_is_read() -> None:
    assert set(Recipe().as_json()) == known_fields()
    assert read(**Recipe().as_json()) == Recipe()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0),
        ("width", -1),
        ("width", 4097),
        ("height", 0),
        ("height", 4097),
        ("width", True),
        ("width", 12.5),
        ("width", "64"),
        ("width", float("nan")),
        ("fit", "fill"),
        ("fit", None),
        ("grid", True),
        ("reduction", "mode"),
        ("colors", -1),
        ("colors", 257),
        ("colors", 300),
        ("colors", True),
        ("palette", []),
        ("palette", [[0, 0, 0]] * 257),
        ("palette", "pico"),
        ("palette", 8),
        ("palette", ["#12345"]),
        ("palette", [[0, 0]]),
        ("palette", [[0, 0, 256]]),
        ("palette", [[0, 0, True]]),
        ("palette", {"a": 1}),
        ("quantiser", "kmeans"),
        ("dither", "bayer"),
        ("dither_strength", 1.1),
        ("dither_strength", float("inf")),
        ("dither_strength", "1"),
        ("merge_rare", 0.6),
        ("alpha", "soft"),
        ("alpha_threshold", 0),
        ("alpha_threshold", 256),
        ("background", "remove"),
        ("background_color", "white"),
        ("background_color", None),
        ("despeckle", -1),
        ("despeckle", 4097),
        ("fill_holes", 0.5),
        ("clean_edges", 1),
        ("outline", "both"),
        ("outline_color", "#gg0000"),
        ("keep_outline", "yes"),
        ("symmetry", "x"),
        ("tile", True),
        ("trim", None),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(Invalid) as caught:
        read(**{field: value})
    assert caught.value.field == field
    assert caught.value.hint
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("side", [1, 2, 63, 4096])
def test_a_side_may_be_anything_from_1_to_4096(side: int) -> None:
    assert read(width=side, height=1).width == side


@pytest.mark.parametrize("colors", [0, 1, 256])
def test_colors_may_be_0_for_all_and_1_to_256(colors: int) -> None:
    assert read(colors=colors).colors == colors


def test_a_client_that_knows_no_whole_numbers_may_send_64_point_0() -> None:
    assert read(width=64.0) == read(width=64)


def test_300_colours_are_told_what_is_possible() -> None:
    with pytest.raises(Invalid, match="colors is 300") as caught:
        read(colors=300)
    assert "1 to 256" in str(caught.value.hint)


def test_an_unknown_field_is_told_the_nearest_one() -> None:
    with pytest.raises(Invalid) as caught:
        read(colours=16)
    assert caught.value.hint == "did you mean colors?"


def test_an_unknown_name_of_a_method_is_told_the_nearest_one() -> None:
    with pytest.raises(Invalid) as caught:
        read(dither="floyd-steinburg")
    assert caught.value.hint == "did you mean floyd-steinberg?"


def test_a_palette_is_a_list_in_any_notation_or_a_name() -> None:
    assert read(palette=["#fff", "1a1C2c", [1, 2, 3], (4.0, 5, 6)]).palette == (
        (255, 255, 255),
        (26, 28, 44),
        (1, 2, 3),
        (4, 5, 6),
    )
    assert read(palette="two").palette == ((0, 0, 0), (255, 255, 255))


def test_a_palette_without_a_number_of_colours_means_all_of_it() -> None:
    assert read(palette="two").colors is None
    assert read(palette="two", colors=1).colors == 1


def test_every_colour_and_a_palette_cannot_both_be_asked_for() -> None:
    with pytest.raises(Invalid) as caught:
        read(palette="two", colors=0)
    assert caught.value.field == "colors"


def test_a_name_that_no_palette_has_is_told_those_that_there_are() -> None:
    with pytest.raises(Invalid) as caught:
        read(palette="one-hundred")
    assert caught.value.hint == "there are two"


def test_a_value_of_a_million_characters_is_not_repeated_in_the_message() -> None:
    with pytest.raises(Invalid) as caught:
        read(background_color="x" * 1_000_000)
    assert len(caught.value.message) < 200
