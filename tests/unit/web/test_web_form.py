# SPDX-License-Identifier: Apache-2.0
"""From what was typed to a request, and back."""

import pytest

from inglenook.base.errors import Busy, Invalid
from inglenook.base.ids import BlobId
from inglenook.images.model import Mode
from inglenook.web import form
from inglenook.web.form import FormInvalid

BLOB = BlobId("a" * 64)


def values(**typed: str) -> dict[str, str]:
    return form.typed({"prompt": "a red fox", "model": "starter", **typed})


def test_every_field_reaches_the_request() -> None:
    typed = values(
        negative_prompt="snow",
        size="custom",
        width="640",
        height="512",
        steps="12",
        guidance_scale="7.5",
        seed="9223372036854775807",
        n="3",
        scheduler="euler_a",
        strength="0.4",
    )
    request = form.request_of(typed, image=BLOB, mask=None)
    assert (request.prompt, request.negative_prompt, request.model) == ("a red fox", "snow", "starter")
    assert (request.width, request.height, request.steps, request.n) == (640, 512, 12, 3)
    assert (request.guidance_scale, request.strength) == (7.5, 0.4)
    assert (request.seed, request.scheduler) == (2**63 - 1, "euler_a")
    assert (request.mode, request.image, request.previews) == (Mode.IMAGE, BLOB, form.PREVIEWS)


def test_an_empty_field_leaves_the_choice_to_the_model() -> None:
    request = form.request_of(values(), image=None, mask=None)
    assert (request.width, request.steps, request.guidance_scale, request.seed) == (None, None, None, None)
    assert (request.scheduler, request.n, request.mode) == (None, 1, Mode.TEXT)


def test_no_guidance_is_a_value_and_not_an_empty_field() -> None:
    assert form.request_of(values(guidance_scale="0"), image=None, mask=None).guidance_scale == 0.0


def test_a_decimal_comma_is_understood() -> None:
    assert form.request_of(values(guidance_scale="7,5"), image=None, mask=None).guidance_scale == 7.5


def test_a_preset_wins_over_what_stands_in_the_fields_that_it_hides() -> None:
    request = form.request_of(values(size="768x512", width="1", height="2"), image=None, mask=None)
    assert (request.width, request.height) == (768, 512)


def test_the_strength_is_only_sent_along_with_a_picture() -> None:
    assert form.request_of(values(strength="0.4"), image=None, mask=None).strength is None


def test_a_mask_makes_it_an_edit() -> None:
    assert form.request_of(values(), image=BLOB, mask=BLOB).mode is Mode.INPAINT


def test_all_text_where_numbers_belong_is_named_at_once() -> None:
    with pytest.raises(FormInvalid) as caught:
        form.request_of(values(steps="many", seed="1.5", width="wide", height="10"), image=None, mask=None)
    assert set(caught.value.problems.by_field) == {"steps", "seed", "size"}
    assert "“many” is not a whole number." in caught.value.problems.by_field["steps"].message


def test_a_very_long_wrong_value_is_quoted_shortly() -> None:
    with pytest.raises(FormInvalid) as caught:
        form.request_of(values(steps="x" * 10_000), image=None, mask=None)
    assert len(caught.value.message) < 100


def test_an_error_from_below_stands_at_the_field_that_it_names() -> None:
    assert form.problems_of(Invalid("too small", field="width")).get("size") is not None
    assert form.problems_of(Invalid("bad", field="steps")).get("steps") is not None


def test_an_error_of_no_field_of_ours_stands_above_the_form() -> None:
    for error in (Busy("the queue is full"), Invalid("odd", field="output_compression")):
        problem = form.problems_of(error).get("")
        assert problem is not None
        assert problem.message == error.message


def test_line_ends_of_the_web_do_not_get_into_a_prompt() -> None:
    assert form.typed({"prompt": "a fox\r\nin snow"})["prompt"] == "a fox\nin snow"


def test_the_same_form_with_the_same_values_has_one_key_and_any_change_another() -> None:
    request = form.request_of(values(), image=None, mask=None)
    changed = form.request_of(values(steps="3"), image=None, mask=None)
    assert form.idempotency_key("t", request) == form.idempotency_key("t", request)
    assert form.idempotency_key("t", request) != form.idempotency_key("t", changed)
    assert form.idempotency_key("t", request) != form.idempotency_key("u", request)


def test_a_picture_fills_the_form_that_makes_it_again() -> None:
    kept = {
        "prompt": "a red fox",
        "model": "starter",
        "seed": 42,
        "width": 512,
        "height": 256,
        "steps": 14,
        "guidance_scale": 3.0,
        "strength": None,
    }
    filled = form.of_picture(kept)
    request = form.request_of(filled, image=None, mask=None)
    assert (request.seed, request.width, request.height, request.steps) == (42, 512, 256, 14)
    assert (request.guidance_scale, request.n, filled["guidance_scale"]) == (3.0, 1, "3")


def test_a_job_fills_the_form_with_its_delivered_size_and_the_seed_as_it_was_typed() -> None:
    drawing = {"prompt": "x", "width": 32, "height": 32, "out_width": 512, "out_height": 512, "seeds": [1, 2]}
    filled = form.of_job(drawing, seed="")
    assert (filled["size"], filled["n"], filled["seed"]) == ("512x512", "2", "")
