# SPDX-License-Identifier: Apache-2.0
"""Models, cards, pictures and the fire as values for the templates."""

from dataclasses import replace

import pytest
from tests.unit.web.services import LIMITS, SDXL, STARTER, Jobs, Runtime, model, picture, resident

from inglenook.base.ids import ModelId
from inglenook.jobs.model import JobError, JobState
from inglenook.web.cards import card_of
from inglenook.web.fire import fire_of, warmth_of
from inglenook.web.models import Standing, Warmth, choice, picture_models, ranges
from inglenook.web.pictures import of_picture, parameter_rows

PART = {"picture_id": "pic_1", "index": 0, "seed": 7, "width": 64, "height": 64, "media_type": "image/png"}


# -- models ----------------------------------------------------------------------------------------------


def test_the_default_model_comes_first_and_those_with_a_problem_last() -> None:
    records = [model("broken", problem="no weights"), model("b"), model("a"), model("wanted")]
    found = [record.id for record in picture_models(records, ModelId("wanted"))]
    assert found == ["wanted", "a", "b", "broken"]


@pytest.mark.parametrize(
    ("warmth", "words"),
    [
        (Warmth(Standing.READY, 3.0), "ready"),
        (Warmth(Standing.STARTING, 3.0), "being loaded"),
        (Warmth(Standing.COLD, 3.0), "loads in about 3 s"),
        (Warmth(), "loads in about 7 s"),  # never measured: guessed from 400 MB of weights
    ],
)
def test_a_model_says_how_soon_it_can_draw(warmth: Warmth, words: str) -> None:
    assert choice(model("starter"), warmth).words == words


def test_a_model_with_a_problem_says_it_with_its_hint_and_cannot_be_chosen() -> None:
    shown = choice(model("old", problem="it is a pickle.\nhint: convert it"), Warmth(Standing.READY))
    assert (shown.words, shown.usable) == ("problem: it is a pickle. Convert it.", False)


def test_a_model_of_fixed_sizes_offers_those_and_their_enlargements() -> None:
    offered = ranges(STARTER, LIMITS)
    assert [preset.value for preset in offered.presets] == ["32x32", "64x64", "128x128", "256x256", "512x512"]
    assert offered.default_size == "512 × 512"


def test_a_model_of_free_sizes_offers_shapes_in_its_multiples_and_within_the_limits() -> None:
    offered = ranges(SDXL, LIMITS)
    sizes = [tuple(map(int, preset.value.split("x"))) for preset in offered.presets]
    assert sizes[0] == (1024, 1024)
    assert len(sizes) == 5
    assert all(width % 8 == 0 and height % 8 == 0 for width, height in sizes)
    assert all(0.9 < width * height / 1024**2 < 1.1 for width, height in sizes)
    narrow = ranges(SDXL, replace(LIMITS, max_side_px=1200))
    assert all(max(map(int, preset.value.split("x"))) <= 1200 for preset in narrow.presets)


def test_the_ranges_are_the_servers_limits() -> None:
    offered = ranges(SDXL, LIMITS)
    assert (offered.max_steps, offered.max_pictures, offered.max_side_px) == (150, 8, 2048)
    assert (offered.steps, offered.guidance_scale, offered.min_side_px) == (25, 6.0, 256)


# -- cards -----------------------------------------------------------------------------------------------


def test_a_waiting_job_shows_its_place_and_no_progress() -> None:
    job = Jobs().add(1, JobState.WAITING)
    card = card_of(job, waiting={"position": 3, "reason": {"text": "sdxl is at work"}})
    assert (card.line, card.percent, card.active) == ("3rd in line: sdxl is at work", None, True)
    assert card.layout == "bare"


def test_a_running_job_shows_its_progress() -> None:
    card = card_of(Jobs().add(1, progress=0.5, stage="denoise"))
    assert (card.percent, card.layout, card.can_retry) == (50, "single", False)


def test_a_job_of_several_pictures_shows_each_as_it_is_finished() -> None:
    payload = {"prompt": "x", "seeds": [7, 8], "out_width": 64, "out_height": 64, "steps": 1, "mode": "image"}
    card = card_of(Jobs().add(1, payload=payload, result={"parts": [PART]}))
    assert (card.layout, card.wanted, [view.seed for view in card.pictures]) == ("many", 2, [7])
    assert card.chips == ("2 pictures", "64 × 64", "1 step", "seeds 7 to 8", "from a picture")


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.INTERRUPTED, JobState.CANCELLED])
def test_what_did_not_succeed_can_be_tried_again(state: JobState) -> None:
    card = card_of(Jobs().add(1, state, error=JobError("x", "failed", "It broke.", "try again")))
    assert card.can_retry
    assert not card.active
    assert "It broke." in card.announcement


def test_a_note_is_told_once_although_it_came_twice() -> None:
    job = Jobs().add(1, payload={"prompt": "x", "seeds": [1], "notes": ["drawn smaller"]})
    assert card_of(job, notices=["drawn smaller", "other"]).notices == ("drawn smaller", "other")


# -- pictures --------------------------------------------------------------------------------------------


def test_small_pictures_keep_their_hard_edges() -> None:
    assert of_picture(replace(picture(1), width=32, height=32)).pixelated
    assert not of_picture(picture(1)).pixelated


def test_the_facts_of_a_picture_hold_every_value_and_no_empty_one() -> None:
    kept = {"model": "m", "seed": 0, "steps": 14, "scheduler": None, "negative_prompt": "", "lora": ["a"]}
    size = {"width": 512, "height": 512, "drawn_width": 32, "drawn_height": 32}
    rows = dict(parameter_rows({**kept, **size, "guidance_scale": 3.0, "seconds": 0.81}))
    assert rows == {
        "Model": "m",
        "Size": "512 × 512, drawn at 32 × 32",
        "Seed": "0",
        "Steps": "14",
        "Guidance": "3",
        "Took": "0.8 s",
        "Lora": '["a"]',
    }


# -- the fire --------------------------------------------------------------------------------------------


def test_the_fire_tells_who_holds_how_much_of_the_budget() -> None:
    runtime = Runtime()
    runtime.residents = [
        resident("starter", leases=1),
        resident("sdxl", "starting"),
        resident("gone", "stopped"),
    ]
    device = fire_of(runtime.snapshot()).devices[0]
    assert [(holder.model, holder.words, holder.size) for holder in device.holders] == [
        ("starter", "at work", "2 GiB"),
        ("sdxl", "being loaded", "2 GiB"),
    ]
    assert [(holder.from_percent, holder.percent) for holder in device.holders] == [(0, 25), (25, 25)]


def test_the_line_is_told_in_order_and_cut_when_it_is_long() -> None:
    runtime = Runtime()
    runtime.queue = [
        {"position": place, "work": f"work {place}", "model": "m", "reason": {"text": "sdxl is at work."}}
        for place in range(9, 0, -1)
    ]
    fire = fire_of(runtime.snapshot())
    assert fire.waiting == 9
    assert fire.queue[:2] == ("work 1: sdxl is at work", "work 2: sdxl is at work")
    assert len(fire.queue) == 5


def test_a_model_that_is_loaded_anywhere_is_ready() -> None:
    runtime = Runtime()
    runtime.residents = [resident("starter", "draining"), resident("starter"), resident("sdxl", "starting")]
    warmth = warmth_of(runtime.snapshot())
    assert warmth[ModelId("starter")].standing is Standing.READY
    assert warmth[ModelId("sdxl")].standing is Standing.STARTING


def test_what_was_measured_is_known_of_a_model_that_is_not_loaded() -> None:
    assert warmth_of(Runtime().snapshot())[ModelId("starter")] == Warmth(Standing.COLD, 3.4)
