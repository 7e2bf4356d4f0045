# SPDX-License-Identifier: Apache-2.0
"""From what was typed to a request, and back."""

import json

import pytest
from tests.unit.web.services import LIMITS, SDXL, model, part

from inglenook.base.errors import Busy, Invalid
from inglenook.base.ids import BlobId, ModelId
from inglenook.catalog.model import ModelKind
from inglenook.images.canvas import Margins, Rectangle
from inglenook.images.model import Engine, HiresFix, ImageRequest, LoraChoice, Mode, OutputFormat
from inglenook.images.request import Drawing, Found, plan
from inglenook.images.styles import styled
from inglenook.images.work import parameters_of
from inglenook.web import again, form
from inglenook.web.form import FormInvalid, LoraRow
from inglenook.wire.image import PictureMade

BLOB = BlobId("a" * 64)


def values(**typed: str) -> form.Values:
    return form.typed({"prompt": "a red fox", "model": "starter", **typed})


ASKED: dict[str, tuple[str, object]] = {
    "prompt": ("a blue house", "a blue house"),
    "negative_prompt": ("snow", "snow"),
    "model": ("sdxl", "sdxl"),
    "engine": ("sdcpp", Engine.SDCPP),
    "style": ("oil", "oil"),
    "steps": ("12", 12),
    "guidance_scale": ("7.5", 7.5),
    "seed": ("9223372036854775807", 2**63 - 1),
    "n": ("3", 3),
    "scheduler": ("euler_a", "euler_a"),
    "sigmas": ("karras", "karras"),
    "clip_skip": ("2", 2),
    "vae": ("soft", "soft"),
    "strength": ("0.4", 0.4),
    "output_format": ("webp", OutputFormat.WEBP),
    "transparent": ("on", True),
}
"""One value of each field that stands for itself: as it is typed, and as it is asked for."""


@pytest.mark.parametrize("name", ASKED)
def test_each_field_changes_the_request(name: str) -> None:
    typed, wanted = ASKED[name]
    plain = form.request_of(values(), image=BLOB, mask=None)
    request = form.request_of(values(**{name: typed}), image=BLOB, mask=None)
    assert getattr(request, name) == wanted != getattr(plain, name)


def test_no_field_is_without_a_test_of_what_it_changes() -> None:
    elsewhere = {"size", "width", "height", "mask_id", "output_compression"}
    assert set(form.FIELDS) == {*ASKED, *elsewhere, *form.EXTEND, *form.RECTANGLE, *form.HIRES}


def test_an_engine_that_is_none_is_told_at_its_field() -> None:
    with pytest.raises(form.FormInvalid) as refused:
        form.request_of(values(engine="cuda"), image=None, mask=None)
    assert list(refused.value.problems.by_field) == ["engine"]


def test_width_and_height_are_the_size() -> None:
    request = form.request_of(values(size="custom", width="640", height="512"), image=None, mask=None)
    assert (request.width, request.height, request.previews) == (640, 512, form.PREVIEWS)


def test_each_row_of_loras_counts_with_its_weight_and_an_empty_one_does_not() -> None:
    rows = [("lora", "wool"), ("lora_weight", "0,8"), ("lora", ""), ("lora_weight", "2")]
    rows += [("lora", "ink"), ("lora_weight", ""), ("lora", "glass"), ("lora_weight", "-1.5")]
    request = form.request_of(form.typed(rows), image=None, mask=None)
    wanted = (("wool", 0.8), ("ink", 1.0), ("glass", -1.5))
    assert request.loras == tuple(LoraChoice(ModelId(name), weight) for name, weight in wanted)


def test_a_weight_that_is_no_number_is_told_at_the_loras() -> None:
    rows = [("lora", "wool"), ("lora_weight", "much")]
    with pytest.raises(FormInvalid) as caught:
        form.request_of(form.typed(rows), image=None, mask=None)
    assert "“much” is not a number." in caught.value.problems.by_field["loras"].message


def test_the_second_pass_is_asked_for_by_its_own_switch() -> None:
    fields = {"hires_scale": "1.5", "hires_strength": "0.3", "hires_steps": "9", "hires_upscaler": "latent"}
    assert form.request_of(values(**fields), image=None, mask=None).hires is None
    request = form.request_of(values(hires="on", **fields), image=None, mask=None)
    assert request.hires == HiresFix(scale=1.5, strength=0.3, steps=9, upscaler="latent")
    assert form.request_of(values(hires="on"), image=None, mask=None).hires == HiresFix()


def test_the_quality_counts_for_files_that_have_one() -> None:
    def quality(name: str) -> int | None:
        typed = values(output_format=name, output_compression="80")
        return form.request_of(typed, image=None, mask=None).output_compression

    assert (quality("png"), quality(""), quality("jpeg"), quality("webp")) == (None, None, 80, 80)
    with pytest.raises(FormInvalid) as caught:
        form.request_of(values(output_format="gif"), image=None, mask=None)
    assert caught.value.problems.get("output_format") is not None


def test_input_pictures_keep_their_order_and_one_may_be_left_out() -> None:
    rows = [("input", "pic_2"), ("input", "pic_1"), ("input", "pic_2"), ("input", ""), ("input", "pic_3")]
    assert form.typed(rows).inputs == ("pic_2", "pic_1", "pic_3")
    assert form.typed([*rows, ("leave_out", "pic_1")]).inputs == ("pic_2", "pic_3")


def test_margins_and_rectangles_are_read_in_pixels() -> None:
    assert form.margins_of(values(extend_left="64", extend_bottom="8")) == Margins(left=64, bottom=8)
    assert not form.margins_of(values())
    assert form.rectangle_of(values()) is None
    typed = values(mask_left="4", mask_width="32", mask_height="16")
    assert form.rectangle_of(typed) == Rectangle(4, 0, 32, 16)
    for wrong, at in (({"mask_left": "4"}, "mask"), ({"mask_width": "x"}, "mask")):
        with pytest.raises(FormInvalid) as caught:
            form.rectangle_of(values(**wrong))
        assert set(caught.value.problems.by_field) == {at}
    with pytest.raises(FormInvalid) as caught:
        form.margins_of(values(extend_top="far"))
    assert set(caught.value.problems.by_field) == {"extend"}


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
    for error in (Busy("the queue is full"), Invalid("odd", field="user")):
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
    filled = again.of_picture(kept)
    request = form.request_of(filled, image=None, mask=None)
    assert (request.seed, request.width, request.height, request.steps) == (42, 512, 256, 14)
    assert (request.guidance_scale, request.n, filled["guidance_scale"]) == (3.0, 1, "3")


def test_a_job_fills_the_form_with_its_delivered_size_and_the_seed_as_it_was_typed() -> None:
    drawing = {"prompt": "x", "width": 32, "height": 32, "out_width": 512, "out_height": 512, "seeds": [1, 2]}
    filled = again.of_job(drawing, seed="")
    assert (filled["size"], filled["n"], filled["seed"]) == ("512x512", "2", "")


def drawn(request: ImageRequest) -> Drawing:
    """What is drawn for a request, with everything that it names found."""
    lora, vae = part("wool", ModelKind.LORA), part("soft", ModelKind.VAE)
    words = styled(request.style, request.prompt, request.negative_prompt)
    found = Found(
        *words,
        tuple((lora, one.weight) for one in request.loras),
        (),
        None if request.vae is None else vae,
        request.prompt,
        request.negative_prompt,
    )
    size = None if request.image is None else (640, 480)
    return plan(request, model("sdxl", SDXL), limits=LIMITS, seed=7, image_size=size, found=found)


WHOLE = values(
    model="sdxl", negative_prompt="snow", style="oil", size="custom", width="768", height="512", n="2",
    seed="41", steps="9", guidance_scale="3.5", scheduler="euler", sigmas="karras", clip_skip="2", vae="soft",
    output_format="webp", output_compression="70", transparent="on",
).changed(loras=[LoraRow("wool", "0.8")])  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "mask"),
    [
        (WHOLE, None),
        (WHOLE.changed(hires="on", hires_scale="1.5", hires_steps="7", hires_upscaler="latent"), None),
        (WHOLE.changed(inputs=[BLOB], strength="0.4"), None),
        (WHOLE.changed(inputs=[BLOB], mask_id="b" * 64), BlobId("b" * 64)),
    ],
    ids=["words", "second pass", "picture", "mask"],
)
def test_use_again_of_a_job_or_of_its_picture_draws_the_same(typed: form.Values, mask: BlobId | None) -> None:
    image = BLOB if typed.inputs else None
    first = drawn(form.request_of(typed, image=image, mask=mask))
    of_job = again.of_job(json.loads(json.dumps(first.as_json())), seed="41")
    assert drawn(form.request_of(of_job, image=image, mask=mask)) == first
    assert (of_job.inputs, of_job["mask_id"] or None) == (typed.inputs, mask)
    assert (of_job["prompt"], of_job["style"]) == ("a red fox", "oil")  # the words without the style's
    width, height = first.largest
    made = PictureMade(job="j", picture=0, seed=41, file="x", width=width, height=height, seconds=1)
    of_picture = again.of_picture(json.loads(json.dumps(parameters_of(first, made))))
    anew = drawn(form.request_of(of_picture.changed(n="2"), image=image, mask=mask))
    assert anew == first


def test_a_variation_has_everything_but_the_seed_and_may_begin_with_the_picture() -> None:
    kept = WHOLE.changed(mask_id="b" * 64, hires="on")
    assert again.varied(kept) == kept.changed(seed="")
    from_it = again.varied(kept, source="pic_1")
    assert (from_it.inputs, from_it["strength"], from_it["mask_id"], from_it["hires"]) == (
        ("pic_1",),
        "0.5",
        "",
        "",
    )
    assert (from_it["prompt"], from_it["steps"], from_it["seed"]) == ("a red fox", "9", "")
