# SPDX-License-Identifier: Apache-2.0
"""What a request for sprites becomes: words, sizes, recipe, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest

from inglenook.base.ids import BlobId
from inglenook.catalog.model import ImageDefaults, ModelRecord
from inglenook.images.model import Engine, LoraChoice, Mode
from inglenook.images.request import Limits
from inglenook.images.request import plan as drawn
from inglenook.pixels.model import Background, Fit, GridMode, Recipe
from inglenook.sprites import plan
from inglenook.sprites.canvas import Window
from inglenook.sprites.errors import BadSprite
from inglenook.sprites.model import Side, SpriteRequest
from inglenook.sprites.plan import Ground, Order
from inglenook.sprites.presets import MOTIONS, PRESETS, STYLES, known_lora, posed, worded
from tests.unit.images.test_request import MODEL

STARTER = replace(
    MODEL,
    image=ImageDefaults(
        native_px=32,
        multiple=8,
        width=512,
        height=512,
        steps=14,
        guidance_scale=3.0,
        min_px=32,
        fixed=((32, 32),),
    ),
)
LIMITS = Limits(max_side_px=2048, max_pixels=2048 * 2048, max_pictures=8, max_steps=150)
CANVAS = BlobId("a" * 64)


def request(**fields: Any) -> SpriteRequest:
    return SpriteRequest(**{"prompt": "a fox"} | fields)


def ordered(asked: SpriteRequest, record: ModelRecord = MODEL) -> Order:
    recipe, notes = plan.sprite_recipe(asked, record, None, ground=None)
    size = plan.base_size(asked, record, recipe, most_px=2048)
    wanted = plan.image_request(asked, record, engine=Engine.TORCH, size=size)
    drawing = drawn(wanted, record, limits=LIMITS, seed=7, image_size=None)
    return plan.order(asked, record, drawing, engine=Engine.TORCH, recipe=recipe, ground=None, notes=notes)


# -- words -------------------------------------------------------------------------------------------------


def test_words_for_pixel_art_are_put_to_a_prompt_that_lacks_them() -> None:
    assert worded("a fox", MODEL, preset=None, style=None) == "a fox, pixel art, 8bit style, game sprite"
    assert worded("a fox, Pixel Art", MODEL, preset=None, style=None) == "a fox, Pixel Art"


def test_the_starter_gets_the_plain_noun() -> None:
    assert worded("a fox", STARTER, preset=None, style="16-bit") == "a fox"
    assert worded("", STARTER, preset="vehicle", style=None) == "a red car"
    assert ordered(request(), STARTER).drawing.negative_prompt == ""


def test_ones_own_words_stand_before_those_of_a_preset_and_a_style_is_put_around_both() -> None:
    assert worded("a cat", MODEL, preset="robot", style=None).startswith("a cat, pixel art")
    styled = worded("", MODEL, preset="robot", style="isometric")
    assert styled.startswith(f"isometric {PRESETS['robot'].prompt}")
    assert styled.count("pixel art") == 1


@pytest.mark.parametrize(("field", "known"), [("preset", PRESETS), ("style", STYLES)])
def test_a_name_that_nobody_knows_is_refused_with_those_that_are(field: str, known: dict[str, Any]) -> None:
    names = {"preset": None, "style": None} | {field: "cubist"}
    with pytest.raises(BadSprite, match="cubist") as refused:
        worded("a fox", MODEL, **names)
    assert refused.value.field == field
    assert refused.value.hint is not None
    assert all(name in refused.value.hint for name in known)


def test_a_negative_prompt_is_the_families_own_unless_one_is_named() -> None:
    assert "antialiased" in ordered(request()).drawing.negative_prompt
    assert ordered(request(negative_prompt="")).drawing.negative_prompt == ""


def test_every_frame_of_a_walk_has_a_pose_of_its_own() -> None:
    made = ordered(request(frames=8, motion="walk"))
    assert len(set(made.prompts)) == 8
    assert all(prompt.startswith("a fox, pixel art") for prompt in made.prompts)
    assert [move[1] for move in made.moves] == [0, 16, -32, 0, 16, 16, -32, 0], "a thirty-second of 512"
    assert made.drawing.prompt == made.prompts[0]


@pytest.mark.parametrize(("motion", "frames"), [("walk", 4), ("walk", 8), ("idle", 2), ("idle", 4)])
def test_a_figure_goes_up_and_down_in_any_number_of_frames(motion: str, frames: int) -> None:
    moves = [move[1] for move in ordered(request(frames=frames, motion=motion)).moves]
    assert any(moves)
    assert abs(sum(moves)) <= 16, "at the end it is near where it began"


def test_fewer_frames_take_poses_evenly_and_more_go_round_again() -> None:
    poses = MOTIONS["walk"].poses
    assert [MOTIONS["walk"].pose(frame, 4) for frame in range(4)] == [poses[0], poses[2], poses[4], poses[6]]
    assert MOTIONS["walk"].pose(8, 9) == poses[0]


def test_free_words_of_motion_go_to_every_frame_and_no_pose_to_the_starter() -> None:
    assert posed("a fox", MODEL, "spinning on its tail", 3, 4)[0] == "a fox, spinning on its tail"
    assert posed("a fox", STARTER, "walk", 1, 4)[0] == "a fox"
    made = ordered(request(frames=4, motion="walk"), STARTER)
    assert set(made.prompts) == {"a fox"}
    assert any("real walk needs a larger model" in note for note in made.notes)


def test_loras_for_pixel_art_are_known_by_their_names() -> None:
    known = known_lora("loras/pixel-art-xl-v1.1")
    assert known is not None
    assert (known.family, known.cell_px) == ("sdxl", 8)
    assert known_lora("watercolour") is None


# -- sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sprite", "drawing"),
    [((64, 64), (512, 512)), ((64, 96), (448, 672)), ((320, 180), (640, 360)), ((48, 48), (528, 528))],
)
def test_a_sprite_is_drawn_in_its_own_shape_with_whole_cells(
    sprite: tuple[int, int], drawing: tuple[int, int]
) -> None:
    recipe = Recipe(width=sprite[0], height=sprite[1])
    assert plan.base_size(request(), MODEL, recipe, most_px=2048) == drawing
    assert drawing[0] % sprite[0] == 0


def test_a_size_whose_cells_cannot_be_whole_is_drawn_near_its_shape() -> None:
    width, height = plan.base_size(request(), MODEL, Recipe(width=50, height=37), most_px=2048) or (0, 0)
    assert width % 8 == height % 8 == 0
    assert abs(width / height - 50 / 37) < 0.03


def test_a_base_size_that_is_named_is_taken() -> None:
    assert plan.base_size(
        request(base_width=848, base_height=480), MODEL, Recipe(width=32, height=32), most_px=2048
    ) == (
        848,
        480,
    )


@pytest.mark.parametrize("size", [(2048, 64), (4096, 1), (1, 4096)])
def test_a_ribbon_is_drawn_as_the_model_likes_it(size: tuple[int, int]) -> None:
    recipe = Recipe(width=size[0], height=size[1])
    assert plan.base_size(request(), MODEL, recipe, most_px=2048) is None


@pytest.mark.parametrize("side", [1, 4096])
def test_the_smallest_and_the_largest_sprite_are_drawn_at_the_models_size(side: int) -> None:
    recipe = Recipe(width=side, height=side)
    assert plan.base_size(request(), MODEL, recipe, most_px=2048) == (512, 512)


def test_without_a_size_the_starter_makes_what_it_draws() -> None:
    made = ordered(request(), STARTER)
    assert (made.recipe.width, made.recipe.height) == (32, 32)
    assert (made.drawing.width, made.drawing.height) == (32, 32)
    assert made.notes == (), "nobody asked for another size"
    assert (ordered(request()).recipe.width, ordered(request()).recipe.height) == (64, 64)


# -- recipe ------------------------------------------------------------------------------------------------


def test_a_redrawn_part_has_the_canvas_s_pixels_and_not_those_that_were_asked_for() -> None:
    place = Window((8, 0, 40, 32), (512, 512), (512, 512))
    asked = request(recipe=Recipe(width=99, height=48, trim=True), mask=CANVAS)
    recipe, notes = plan.sprite_recipe(asked, MODEL, (64, 48), ground=place)
    assert (recipe.width, recipe.height, recipe.fit, recipe.grid) == (32, 32, Fit.STRETCH, GridMode.OFF)
    assert not recipe.trim
    assert len(notes) == 2


def test_a_subject_that_stood_free_is_cut_free_again() -> None:
    recipe, notes = plan.sprite_recipe(request(image=CANVAS), MODEL, (32, 32), ground=None, free=True)
    assert recipe.background is Background.BORDER
    assert notes
    matte = request(image=CANVAS, recipe=Recipe(background=Background.MATTE))
    assert (
        plan.sprite_recipe(matte, MODEL, (32, 32), ground=None, free=True)[0].background is Background.MATTE
    )


def test_a_tile_keeps_to_the_colours_of_the_one_before_unless_a_palette_is_named() -> None:
    place = Window((0, 0, 16, 16), (512, 512), (512, 512))
    colors = ((0, 0, 0), (9, 9, 9))
    asked = request(image=CANVAS, continue_tile=Side.RIGHT)
    recipe, _ = plan.sprite_recipe(asked, MODEL, (16, 16), ground=place, colors=colors)
    assert (recipe.palette, recipe.colors) == (colors, None)
    own = replace(asked, recipe=Recipe(palette=((1, 1, 1),), colors=None))
    assert plan.sprite_recipe(own, MODEL, (16, 16), ground=place, colors=colors)[0].palette == ((1, 1, 1),)


def test_a_canvas_within_the_locked_palette_keeps_that_palette_and_any_other_keeps_its_colours() -> None:
    locked = Recipe(palette=((0, 0, 0), (255, 0, 0)), colors=None)
    assert plan.final_recipe(locked, ((0, 0, 0),)).palette == locked.palette
    assert plan.final_recipe(locked, ((1, 2, 3),)).colors == 256
    assert plan.final_recipe(locked, ((1, 2, 3),)).palette is None
    assert plan.final_recipe(locked, None).colors == 0


# -- keeping -----------------------------------------------------------------------------------------------


def test_an_order_is_the_same_after_it_was_kept() -> None:
    asked = request(
        frames=4,
        n=2,
        motion="walk",
        loras=(LoraChoice(MODEL.id, 0.5),),
        recipe=Recipe(
            palette=((1, 2, 3),), colors=None, background=Background.MATTE, outline_color=(9, 9, 9)
        ),
    )
    made = replace(
        ordered(asked),
        ground=Ground(CANVAS, None, Window((0, 0, 8, 8), (64, 64), (64, 64)), Side.LEFT),
    )
    assert Order.from_json(made.as_json()) == made


def test_a_frame_is_drawn_over_the_one_before_with_the_variant_s_seed() -> None:
    made = ordered(request(frames=3, motion="walk", frame_strength=0.3))
    following = made.follow(2, 9, CANVAS, None)
    assert (following.mode, following.image, following.strength, following.seeds) == (
        Mode.IMAGE,
        CANVAS,
        0.3,
        (9,),
    )
    assert following.prompt == made.prompts[2]
    assert made.follow(2, 9, CANVAS, BlobId("b" * 64)).mode is Mode.INPAINT


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"frames": 0}, "frames"),
        ({"frames": 65}, "frames"),
        ({"frame_ms": 9}, "frame_ms"),
        ({"frame_strength": 0.0}, "frame_strength"),
        ({"frame_strength": float("nan")}, "frame_strength"),
        ({"n": 32, "frames": 9}, "n"),
        ({"motion": "walk"}, "frames"),
        ({"motion": "x" * 201, "frames": 2}, "motion"),
        ({"base_width": 512}, "base_width"),
        ({"mask": CANVAS}, "mask"),
        ({"strength": 0.5}, "strength"),
        ({"continue_tile": Side.UP}, "continue_tile"),
        ({"image": CANVAS, "continue_tile": Side.UP, "mask": CANVAS}, "mask"),
        ({"image": CANVAS, "continue_tile": Side.UP, "frames": 2}, "frames"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadSprite) as refused:
        plan.check(request(**fields), max_frames=64)
    assert refused.value.field == field
    assert refused.value.code == "sprite.invalid"


def test_the_setting_bounds_the_frames() -> None:
    with pytest.raises(BadSprite, match="between 1 and 8"):
        plan.check(request(frames=9), max_frames=8)


def test_a_model_that_cannot_draw_over_a_picture_makes_no_frames_and_no_tiles() -> None:
    assert MODEL.image is not None
    only_text = replace(MODEL, image=replace(MODEL.image, modes=frozenset({"text"})))
    for asked in (request(frames=2), request(image=CANVAS, continue_tile=Side.UP)):
        with pytest.raises(BadSprite):
            plan.require_modes(asked, only_text)
        plan.require_modes(asked, MODEL)
