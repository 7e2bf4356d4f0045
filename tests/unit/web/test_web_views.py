# SPDX-License-Identifier: Apache-2.0
"""Models, cards, pictures and the fire as values for the templates."""

from dataclasses import replace

import pytest
from tests.unit.web.services import (
    LIMITS,
    SDXL,
    STARTER,
    Jobs,
    Runtime,
    model,
    part,
    picture,
    resident,
)  # fmt: skip

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.jobs.model import JobError, JobState
from inglenook.web import form
from inglenook.web.cards import card_of
from inglenook.web.fire import fire_of, warmth_of
from inglenook.web.form import LoraRow
from inglenook.web.models import Standing, Warmth, choice, picture_models
from inglenook.web.pictures import of_picture, parameter_rows
from inglenook.web.ranges import Ranges, fitted, ranges
from inglenook.wire.families import EDIT, FAMILIES, INPAINT, TEXT
from inglenook.wire.schedulers import fitting

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
        (Warmth(Standing.COLD, 3.0), "about 3 s away"),
        (Warmth(), "about 7 s away"),  # never measured: guessed from 400 MB of weights
    ],
)
def test_a_model_says_how_soon_it_can_draw(warmth: Warmth, words: str) -> None:
    assert choice(model("starter"), warmth).words == words


def test_a_model_with_a_problem_says_it_with_its_hint_and_cannot_be_chosen() -> None:
    shown = choice(model("old", problem="it is a pickle.\nhint: convert it"), Warmth(Standing.READY))
    assert (shown.words, shown.usable) == ("problem: it is a pickle. Convert it.", False)


def offered_by(defaults: ImageDefaults, family: str = "sd1", *parts: ModelRecord) -> Ranges:
    return ranges(defaults, FAMILIES[family], parts, LIMITS)


def test_the_sizes_that_a_model_was_trained_on_go_before_shapes_that_are_computed() -> None:
    trained = replace(SDXL, sizes=((1024, 1024), (1152, 896), (640, 1536), (4096, 4096)))
    assert [(preset.value, preset.words) for preset in offered_by(trained, "sdxl").presets] == [
        ("1024x1024", "1024 × 1024 (square)"),
        ("1152x896", "1152 × 896 (landscape)"),
        ("640x1536", "640 × 1536 (tall)"),
    ]


def test_only_schedulers_that_can_follow_the_model_are_offered_with_the_noise_levels_that_each_takes() -> (
    None
):
    flow = offered_by(SDXL, "flux")
    assert [name for name, _ in flow.schedulers] == list(fitting(flow=True))
    plain = offered_by(SDXL, "sdxl")
    karras = next(one for one in plain.sigmas if one.name == "karras")
    assert "euler" in karras.fits
    assert "ddim" not in karras.fits
    able = offered_by(replace(SDXL, schedulers=("ddim",)))
    assert [name for name, _ in able.schedulers] == ["ddim"]
    assert [one.name for one in able.sigmas] == ["sgm_uniform"]


def test_what_a_model_has_not_is_not_offered() -> None:
    schnell = offered_by(replace(SDXL, guided=False, negative_prompt=False), "flux")
    assert (schnell.guided, schnell.negative_prompt, schnell.clip) == (False, False, False)
    kontext = offered_by(replace(SDXL, modes=frozenset({TEXT, EDIT}), max_pictures=3), "flux")
    assert (kontext.can_begin, kontext.can_mask, kontext.can_blend) == (True, False, False)
    assert (kontext.max_inputs, kontext.needs_picture) == (3, False)
    fill = offered_by(replace(SDXL, modes=frozenset({INPAINT})), "flux")
    assert (fill.can_mask, fill.needs_picture, fill.hires, fill.max_inputs) == (True, True, False, 1)
    assert not offered_by(STARTER).hires


def test_sound_parts_of_the_family_are_offered_and_those_whose_family_nobody_knows() -> None:
    found = offered_by(
        SDXL,
        "sdxl",
        part("wool", ModelKind.LORA, family="sdxl"),
        part("ink", ModelKind.LORA, family=None),
        part("old", ModelKind.LORA, family="sd1"),
        part("torn", ModelKind.LORA, family="sdxl", problem="it is cut off"),
        part("soft", ModelKind.VAE, family="sdxl"),
        part("bad-hands", ModelKind.EMBEDDING, family="sdxl"),
    )
    assert [one.id for one in found.loras] == ["ink", "wool"]
    assert [one.id for one in found.vaes] == ["soft"]
    assert [one.id for one in found.embeddings] == ["bad-hands"]


def test_with_another_model_what_does_not_fit_is_let_go_and_said() -> None:
    typed = form.blank().changed(
        steps="9", size="768x512", scheduler="ddim", sigmas="karras", clip_skip="2", hires="on",
        vae="soft", loras=[LoraRow("wool", "1")],
    )  # fmt: skip
    flux = offered_by(replace(SDXL, modes=frozenset({EDIT})), "flux")
    values, said = fitted(typed, flux)
    gone = ("size", "scheduler", "clip_skip", "hires", "vae")
    assert [values[name] for name in gone] == ["", "", "", "", ""]
    assert (values["steps"], values["sigmas"], values.loras) == ("9", "karras", ())
    assert len(said) == 4
    assert fitted(form.blank(), flux) == (form.blank(), ())
    custom = form.blank().changed(size="custom", width="640", height="512")
    assert fitted(custom, flux)[0] == custom


def test_a_model_of_fixed_sizes_offers_those_and_their_enlargements() -> None:
    offered = offered_by(STARTER)
    assert [preset.value for preset in offered.presets] == ["32x32", "64x64", "128x128", "256x256", "512x512"]
    assert offered.default_size == "512 × 512"


def test_a_model_of_free_sizes_offers_shapes_in_its_multiples_and_within_the_limits() -> None:
    offered = offered_by(SDXL, "sdxl")
    sizes = [tuple(map(int, preset.value.split("x"))) for preset in offered.presets]
    assert sizes[0] == (1024, 1024)
    assert len(sizes) == 5
    assert all(width % 8 == 0 and height % 8 == 0 for width, height in sizes)
    assert all(0.9 < width * height / 1024**2 < 1.1 for width, height in sizes)
    narrow = ranges(SDXL, FAMILIES["sdxl"], [], replace(LIMITS, max_side_px=1200))
    assert all(max(map(int, preset.value.split("x"))) <= 1200 for preset in narrow.presets)


def test_the_ranges_are_the_servers_limits() -> None:
    offered = offered_by(SDXL, "sdxl")
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


def test_the_fire_tells_of_a_training_that_is_parked_what_it_has_set_aside() -> None:
    runtime = Runtime()
    aside = resident("run", "parked", leases=1) | {"parking": {"host_bytes": 3 * 1024**3}}
    runtime.residents = [aside, resident("other", "resuming", leases=1)]
    device = fire_of(runtime.snapshot()).devices[0]
    assert [holder.words for holder in device.holders] == ["parked with 3 GiB set aside", "coming back"]


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
