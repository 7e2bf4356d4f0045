# SPDX-License-Identifier: Apache-2.0
"""From pictures to sprites: what each field does, and what is said where it cannot be done."""

from typing import Any

import numpy as np
import pytest

from inglenook.pixels.histogram import MAX_COLORS_APART
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
    Sprite,
    Symmetry,
    Tile,
)
from inglenook.pixels.pipeline import Rgba, pixelate
from inglenook.pixels.tile import TILES

RED, GREEN, BLUE = (255, 0, 0), (0, 200, 0), (0, 0, 255)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
LETTERS = {
    ".": (0, 0, 0, 0),
    "r": (*RED, 255),
    "g": (*GREEN, 255),
    "b": (*BLUE, 255),
    "k": (*BLACK, 255),
    "w": (*WHITE, 255),
}


def picture(*rows: str, cell: int = 8) -> Rgba:
    """One letter a cell."""
    small = np.array([[LETTERS[one] for one in row] for row in rows], np.uint8)
    return small.repeat(cell, 0).repeat(cell, 1)


def rows(sprite: Sprite) -> list[str]:
    names: dict[tuple[int, ...], str] = {color: letter for letter, color in LETTERS.items()}
    return ["".join(names[tuple(map(int, one))] for one in row) for row in sprite.pixels]


def made(pixels: Rgba, matte: "np.ndarray[Any, Any] | None" = None, **fields: Any) -> Sprite:
    (sprite,) = pixelate([pixels], [matte], Recipe(**({"grid": GridMode.OFF} | fields)))
    return sprite


def noise(side: int = 48, seed: int = 4) -> Rgba:
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:side, :side] / side * 180
    rgba = np.stack([down, right, down + right / 2, np.full_like(down, 255)], axis=2)
    rgba[..., :3] += rng.integers(0, 60, (side, side, 3))
    return rgba.astype(np.uint8)


@pytest.mark.parametrize("how", list(Reduction))
def test_every_reduction_gives_a_picture_of_cells_back(how: Reduction) -> None:
    drawn = ("rrg.", "bkww", "...r")
    assert rows(made(picture(*drawn), width=4, height=3, reduction=how)) == list(drawn)


def test_the_grid_of_a_picture_gives_its_size() -> None:
    rng = np.random.default_rng(2)
    small = rng.integers(0, 256, (24, 20, 4), np.uint8)
    small[..., 3] = 255
    sprite = made(small.repeat(7, 0).repeat(7, 1), grid=GridMode.AUTO, colors=0)
    assert (sprite.pixels == small).all()
    assert sprite.grid is not None
    assert sprite.grid.period_x == pytest.approx(7, rel=0.02)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (40, 1), (64, 96), (7, 5)])
@pytest.mark.parametrize("fit", list(Fit))
def test_any_size_is_met_exactly_by_any_fit(width: int, height: int, fit: Fit) -> None:
    sprite = made(noise(33), width=width, height=height, fit=fit)
    assert (sprite.proof.width, sprite.proof.height) == (width, height)


def test_what_is_contained_stands_on_a_clear_canvas_and_what_covers_does_not() -> None:
    wide = picture("rr", "rr", cell=16)[:16]
    assert made(wide, width=8, height=8).proof.alphas == (0, 255)
    assert made(wide, width=8, height=8, fit=Fit.COVER).proof.alphas == (255,)


@pytest.mark.parametrize("side", [4096])
def test_the_largest_sprite_is_made(side: int) -> None:
    sprite = made(noise(16), width=side, height=2, fit=Fit.STRETCH, colors=3)
    assert (sprite.proof.width, sprite.proof.height, sprite.proof.within_palette) == (side, 2, True)


def test_padding_never_counts_as_a_colour() -> None:
    """The original put transparent padding as black into the palette."""
    wide = picture("rgrg", cell=8)
    sprite = made(wide, width=4, height=4, colors=2)
    assert set(sprite.palette or ()) == {RED, GREEN}
    assert rows(sprite).count("....") >= 2


@pytest.mark.parametrize("quantiser", list(Quantiser))
@pytest.mark.parametrize("colors", [1, 2, 16, 256])
def test_so_many_colours_at_most(quantiser: Quantiser, colors: int) -> None:
    sprite = made(noise(), colors=colors, quantiser=quantiser, fit=Fit.CONTAIN, width=48, height=60)
    assert sprite.palette is not None
    assert len(sprite.palette) <= colors
    assert sprite.proof.colors <= colors
    assert sprite.proof.within_palette
    assert sprite.proof.alphas == (0, 255)


def test_0_colours_keep_every_one() -> None:
    before = noise()
    sprite = made(before, colors=0, width=48, height=48)
    assert (sprite.pixels == before).all()
    assert (sprite.palette, sprite.proof.within_palette) == (None, None)


def test_a_picture_of_few_colours_keeps_exactly_those() -> None:
    assert set(made(picture("rgb", "kwr"), width=3, height=2, colors=16).palette or ()) == {
        RED,
        GREEN,
        BLUE,
        BLACK,
        WHITE,
    }


@pytest.mark.parametrize("dither", list(Dither))
def test_a_fixed_palette_keeps_its_order_its_doubles_and_what_nobody_uses(dither: Dither) -> None:
    palette = (WHITE, RED, RED, (1, 2, 3), BLACK)
    sprite = made(noise(), palette=palette, colors=None, dither=dither, width=20, height=20)
    assert sprite.palette == palette
    assert sprite.proof.within_palette
    assert sprite.proof.counts is not None
    assert sprite.proof.counts[2] == 0


def test_of_a_fixed_palette_so_many_are_used_and_that_is_said() -> None:
    sprite = made(picture("rrrg", "bkrr"), palette=(RED, GREEN, BLUE, BLACK), colors=2, width=4, height=2)
    assert sprite.palette is not None
    assert len(sprite.palette) == 2
    assert RED in sprite.palette
    assert any("2 of the palette's 4" in note for note in sprite.notes)


def test_a_palette_of_one_colour_is_enough() -> None:
    assert rows(made(picture("rg", ".b"), palette=(WHITE,), width=2, height=2)) == ["ww", ".w"]


def test_a_transparent_picture_is_an_empty_sprite_and_that_is_said() -> None:
    clear = picture("...", "...")
    for fields in (
        {},
        {"colors": 0},
        {"palette": (RED,)},
        {"trim": True},
        {"outline": Outline.OUTSIDE},
        {"tile": Tile.BOTH},
        {"symmetry": Symmetry.LEFT},
        {"dither": Dither.ATKINSON},
        {"despeckle": 4, "fill_holes": 4, "clean_edges": True, "merge_rare": 0.5},
    ):
        sprite = made(clear, width=3, height=2, **fields)
        assert rows(sprite) == ["...", "..."]
        assert (sprite.proof.colors, sprite.proof.alphas, sprite.pivot) == (0, (0,), (1, 1))
    assert any("opaque" in note for note in made(clear, width=3, height=2).notes)


def test_a_picture_of_one_colour_is_a_sprite_of_one_colour() -> None:
    for fields in ({}, {"colors": 1}, {"dither": Dither.BAYER_4}, {"tile": Tile.BOTH}, {"clean_edges": True}):
        sprite = made(picture("rr", "rr"), width=2, height=2, **fields)
        assert (rows(sprite), sprite.palette) == (["rr", "rr"], (RED,))


def test_half_transparent_pixels_are_cut_at_the_threshold_or_laid_on_the_background() -> None:
    rgba = picture("rr", "rr")
    rgba[:8, :, 3] = 100
    assert rows(made(rgba, width=2, height=2)) == ["..", "rr"]
    assert rows(made(rgba, width=2, height=2, alpha_threshold=100)) == ["rr", "rr"]
    laid = made(rgba, width=2, height=2, alpha=Alpha.OPAQUE, background_color=BLUE)
    assert laid.proof.alphas == (255,)
    assert tuple(map(int, laid.pixels[0, 0, :3])) != RED


def test_a_matte_is_cut_out_before_anything_is_reduced() -> None:
    matte = np.zeros((32, 32), np.uint8)
    matte[:, :21] = 255
    sprite = made(picture("rrrr", "rrrr", "rrrr", "rrrr"), matte, width=4, height=4)
    assert rows(sprite) == ["rrr."] * 4


def test_a_plain_border_is_cut_out_and_where_there_is_none_that_is_said() -> None:
    plain = picture("wwww", "wrgw", "wwww")
    for background in (Background.BORDER, Background.MATTE):
        sprite = made(plain, width=4, height=3, background=background)
        assert rows(sprite) == ["....", ".rg.", "...."]
    assert any("no matte" in note for note in sprite.notes)
    busy = made(noise(), background=Background.BORDER)
    assert busy.proof.alphas == (255,)
    assert any("background was kept" in note for note in busy.notes)


def test_opaque_specks_go_before_they_can_claim_a_colour() -> None:
    sprite = made(picture("rrr..", "rrr..", "rrr.b"), width=5, height=3, despeckle=1, colors=1)
    assert rows(sprite) == ["rrr..", "rrr..", "rrr.."]
    assert sprite.palette == (RED,)


def test_specks_of_another_colour_join_and_holes_are_filled() -> None:
    sprite = made(
        picture("rrrr", "rgrr", "rr.r", "rrrr"), width=4, height=4, despeckle=1, fill_holes=1, colors=8
    )
    assert rows(sprite) == ["rrrr"] * 4


def test_dithering_is_not_despeckled_and_that_is_said() -> None:
    sprite = made(noise(), width=24, height=24, colors=2, dither=Dither.BAYER_2, despeckle=3)
    plain = made(noise(), width=24, height=24, colors=2, dither=Dither.BAYER_2)
    assert (sprite.pixels == plain.pixels).all()
    assert any("dithering" in note for note in sprite.notes)


def test_rare_colours_join_their_nearest() -> None:
    drawn = picture("rrrrrrrr", "rrrrrrrr", "rrrrrrrb")
    assert set(made(drawn, width=8, height=3).palette or ()) == {RED, BLUE}
    every: tuple[dict[str, Any], ...] = ({}, {"colors": 0})
    for fields in every:
        assert made(drawn, width=8, height=3, merge_rare=0.1, **fields).proof.colors == 1
    fixed = made(drawn, width=8, height=3, merge_rare=0.1, palette=(BLUE, RED))
    assert (fixed.palette, fixed.proof.counts) == ((BLUE, RED), (0, 24))


@pytest.mark.parametrize("colors", [1, 2, 3])
def test_the_outline_is_in_the_palette_and_within_the_number_of_colours(colors: int) -> None:
    drawn = picture("......", ".rggb.", ".rwwb.", "......")
    sprite = made(drawn, width=6, height=4, colors=colors, outline=Outline.OUTSIDE, outline_color=BLACK)
    assert sprite.palette is not None
    assert len(sprite.palette) <= colors
    assert sprite.proof.within_palette
    assert (BLACK in sprite.palette) == (colors > 1)
    assert any("outline" in note for note in sprite.notes) == (colors == 1)
    assert sprite.pixels[0, 1, 3] == 255


def test_an_outline_without_a_colour_takes_the_darkest() -> None:
    sprite = made(picture("....", ".rk.", "...."), width=4, height=3, outline=Outline.OUTSIDE)
    assert rows(sprite) == [".kk.", "krkk", ".kk."]


def test_an_outline_of_a_colour_that_a_fixed_palette_lacks_takes_the_nearest_and_says_so() -> None:
    sprite = made(
        picture("...", ".r.", "..."),
        width=3,
        height=3,
        palette=(RED, WHITE),
        outline=Outline.OUTSIDE,
        outline_color=(250, 250, 240),
    )
    assert rows(sprite) == [".w.", "wrw", ".w."]
    assert any("#fafaf0" in note for note in sprite.notes)


def test_an_outline_where_every_colour_is_kept_has_its_own() -> None:
    drawn = picture("...", ".r.", "...")
    sprite = made(drawn, width=3, height=3, colors=0, outline=Outline.OUTSIDE, outline_color=BLUE)
    assert rows(sprite) == [".b.", "brb", ".b."]


def test_an_outline_that_finds_no_room_says_so() -> None:
    full = made(picture("rr", "rr"), width=2, height=2, outline=Outline.OUTSIDE)
    assert any("no pixel is transparent" in note for note in full.notes)
    cut = made(picture("r..", "...", "..."), width=3, height=3, outline=Outline.OUTSIDE)
    assert any("border of its canvas" in note for note in cut.notes)
    inside = made(picture("...", ".r.", "..."), width=3, height=3, outline=Outline.OUTSIDE)
    assert inside.notes == ()


def test_a_mirrored_half_and_its_outline_are_symmetric() -> None:
    sprite = made(
        picture("......", ".r....", ".rrg..", ".....r", "......"),
        width=6,
        height=5,
        symmetry=Symmetry.LEFT,
        outline=Outline.OUTSIDE,
        outline_color=BLACK,
    )
    assert (sprite.pixels == sprite.pixels[:, ::-1]).all()
    assert rows(sprite)[2] == "krrrrk"


def test_a_tile_has_a_lower_seam_than_without_and_is_a_tile() -> None:
    before = made(noise(64), width=32, height=32, colors=12)
    after = made(noise(64), width=32, height=32, colors=12, tile=Tile.BOTH)
    assert before.proof.seam_x is not None
    assert before.proof.seam_x > TILES
    assert after.proof.seam_x is not None
    assert after.proof.seam_x <= TILES
    assert after.proof.seam_y is not None
    assert after.proof.seam_y <= TILES
    assert after.notes == ()
    assert after.proof.within_palette


def test_a_tile_that_cannot_be_made_is_said_not_to_be_one() -> None:
    sprite = made(picture("kkkkkw"), width=6, height=1, tile=Tile.X)
    assert sprite.proof.seam_x is not None
    said = any("does not tile well" in note for note in sprite.notes)
    assert said == (sprite.proof.seam_x > TILES)
    two = made(picture("kw", "wk", "kk"), width=2, height=3, tile=Tile.Y)
    assert two.proof.seam_y is not None


def test_trimming_tells_from_where_and_the_pivot_stands_on_the_lowest_row() -> None:
    drawn = picture(".....", "..r..", ".rrr.", ".....")
    sprite = made(drawn, width=5, height=4, trim=True)
    assert rows(sprite) == [".r.", "rrr"]
    assert (sprite.offset, sprite.pivot) == ((1, 1), (1, 1))
    whole = made(drawn, width=5, height=4)
    assert (whole.offset, whole.pivot) == ((0, 0), (2, 2))


def test_a_tile_is_not_trimmed_along_the_axis_that_tiles() -> None:
    drawn = picture("....", ".rr.", "....")
    sprite = made(drawn, width=4, height=3, trim=True, tile=Tile.X)
    assert rows(sprite) == [".rr."]
    assert sprite.offset == (0, 1)
    assert any("not trimmed" in note for note in sprite.notes)


def test_frames_share_palette_size_crop_and_each_its_own_without() -> None:
    one, other = picture("....", ".r..", "...."), picture("....", "..g.", "....")
    recipe = Recipe(width=4, height=3, grid=GridMode.OFF, trim=True)
    together = pixelate([one, other], [None, None], recipe, whole_animation=True)
    assert [rows(sprite) for sprite in together] == [["r."], [".g"]]
    assert {sprite.palette for sprite in together} == {(GREEN, RED)} or {
        sprite.palette for sprite in together
    } == {(RED, GREEN)}
    apart = pixelate([one, other], [None, None], recipe)
    assert [rows(sprite) for sprite in apart] == [["r"], ["g"]]
    assert [sprite.palette for sprite in apart] == [(RED,), (GREEN,)]


def test_frames_of_other_shapes_take_the_size_of_the_first() -> None:
    recipe = Recipe(width=6, colors=4)
    frames = [noise(24), noise(48)[:30], noise(5)]
    sprites = pixelate(frames, [None] * 3, recipe, whole_animation=True)
    assert {sprite.pixels.shape for sprite in sprites} == {(6, 6, 4)}


def test_work_can_be_ended_between_two_steps() -> None:
    class Enough(Exception):
        pass

    looked = []

    def look() -> None:
        looked.append(1)
        if len(looked) == 3:
            raise Enough

    with pytest.raises(Enough):
        pixelate([noise()] * 5, [None] * 5, Recipe(width=8), whole_animation=True, look=look)


def test_the_number_of_mattes_is_that_of_the_pictures() -> None:
    with pytest.raises(ValueError, match="zip"):
        pixelate([noise()], [], Recipe())


def test_a_palette_that_was_chosen_from_bins_says_so() -> None:
    numbers = np.arange(184 * 184, dtype=np.uint32) * 17
    rgba = np.full((184, 184, 4), 255, np.uint8)
    for channel in range(3):
        rgba[..., channel] = (numbers >> 8 * channel & 255).reshape(184, 184)
    assert MAX_COLORS_APART < 184 * 184
    (note,) = made(rgba, quantiser=Quantiser.MEDIAN_CUT, colors=4).notes
    assert note.startswith("33856 different colours")
    assert made(rgba, quantiser=Quantiser.OCTREE, colors=4).notes == ()
    assert made(rgba[:100, :100], quantiser=Quantiser.MEDIAN_CUT, colors=4).notes == ()
