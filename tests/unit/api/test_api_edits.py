# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.unit.api.services import Workshop
from tests.unit.api.test_api_generations import events_of

from inglenook.base.ids import ModelId
from inglenook.images.model import LoraChoice, Mode

EDITS = "/v1/images/edits"
VARIATIONS = "/v1/images/variations"
IMAGE = ("image.png", b"the picture", "image/png")
MASK = ("mask.png", b"the mask", "image/png")


def post(client: TestClient, url: str, files: Any = None, **fields: str) -> Any:
    return client.post(url, data=fields, files={"image": IMAGE} if files is None else files)


def test_a_picture_with_a_prompt_is_changed_everywhere(client: TestClient, workshop: Workshop) -> None:
    answer = post(client, EDITS, prompt="a blue fox", strength="0.4", n="2", seed="5")
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 2
    [request] = workshop.images.requests
    assert (request.mode, request.strength, request.n, request.seed) == (Mode.IMAGE, 0.4, 2, 5)
    assert workshop.images.inputs == [b"the picture"]
    assert request.image is not None
    assert request.mask is None


def test_a_mask_makes_it_an_inpainting(client: TestClient, workshop: Workshop) -> None:
    answer = post(client, EDITS, files={"image": IMAGE, "mask": MASK}, prompt="a hat")
    assert answer.status_code == 200
    assert workshop.images.requests[0].mode is Mode.INPAINT
    assert workshop.images.masks == [b"the mask"]


def test_a_pictures_own_holes_are_its_mask(client: TestClient, workshop: Workshop) -> None:
    assert post(client, EDITS, files={"image": b"holed picture"}, prompt="a hat").status_code == 200
    assert workshop.images.requests[0].mode is Mode.INPAINT
    assert workshop.images.masks == [b"holes of holed picture"]


def test_one_picture_in_the_list_form_of_the_field_is_taken(client: TestClient, workshop: Workshop) -> None:
    assert post(client, EDITS, files=[("image[]", IMAGE)], prompt="a hat").status_code == 200
    assert workshop.images.inputs == [b"the picture"]


@pytest.mark.parametrize(
    ("files", "field", "says"),
    [
        ([("image", IMAGE)] * 17, "image", "at most 16"),
        ([("mask", MASK)], "image", "is required"),
        ([("image", IMAGE), ("mask", MASK), ("mask", MASK)], "mask", "there is one"),
        ([("image", IMAGE), ("mask", MASK), ("markup", IMAGE)], "markup", "exclude each other"),
        ([("image", IMAGE), ("masc", IMAGE)], "masc", "Unknown field"),
        ([("image", IMAGE), ("seed", IMAGE)], "seed", "must be a text"),
    ],
)
def test_wrong_files_are_refused_by_name(client: TestClient, files: Any, field: str, says: str) -> None:
    answer = post(client, EDITS, files=files, prompt="a hat")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == field
    assert says in error["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", " "),
        ("strength", "0"),
        ("strength", "1.01"),
        ("strength", "nan"),
        ("n", "two"),
        ("seed", "9" * 5000),
        ("stream", "perhaps"),
        ("style", "vivid"),
        ("image", "not a file"),
        ("input_fidelity", "perfect"),
        ("loras", "watercolour"),
        ("loras", '[{"name": "watercolour"}]'),
        ("loras", '[{"model": "watercolour", "weight": 21}]'),
        ("clip_skip", "0"),
        ("sigmas", "steep"),
        ("hires", '{"scale": 2}'),
    ],
)
def test_a_bad_text_field_is_refused_by_name(refusing: TestClient, field: str, value: str) -> None:
    answer = post(refusing, EDITS, **{"prompt": "a hat", field: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].partition(".")[0] == field


def test_several_pictures_keep_their_order(client: TestClient, workshop: Workshop) -> None:
    files = [("image[]", b"first"), ("image[]", b"second"), ("image[]", b"third")]
    assert post(client, EDITS, files=files, prompt="put them together").status_code == 200
    [request] = workshop.images.requests
    assert workshop.images.inputs == [b"first", b"second", b"third"]
    assert len({request.image, *request.more_images}) == 3


def test_a_mask_belongs_to_the_first_of_several_pictures(client: TestClient, workshop: Workshop) -> None:
    files = [("image[]", b"first"), ("image[]", b"second"), ("mask", b"the mask")]
    assert post(client, EDITS, files=files, prompt="a hat").status_code == 200
    assert workshop.images.requests[0].mode is Mode.INPAINT


def test_the_holes_of_one_of_several_pictures_are_no_mask(client: TestClient, workshop: Workshop) -> None:
    files = [("image[]", b"holed picture"), ("image[]", b"second")]
    assert post(client, EDITS, files=files, prompt="a hat").status_code == 200
    assert workshop.images.requests[0].mode is Mode.IMAGE


def test_a_markup_is_laid_on_the_first_picture(client: TestClient, workshop: Workshop) -> None:
    files = [("image[]", b"first"), ("image[]", b"second"), ("markup", b"a red ring")]
    assert post(client, EDITS, files=files, prompt="remove what is ringed").status_code == 200
    assert workshop.images.inputs == [b"first under a red ring", b"second"]


@pytest.mark.parametrize(("fidelity", "strength"), [("high", 0.45), ("low", None)])
def test_a_high_fidelity_redraws_less(
    client: TestClient, workshop: Workshop, fidelity: str, strength: float | None
) -> None:
    assert post(client, EDITS, prompt="a hat", input_fidelity=fidelity).status_code == 200
    assert workshop.images.requests[0].strength == strength


def test_fidelity_and_strength_say_the_same_thing_twice(client: TestClient) -> None:
    answer = post(client, EDITS, prompt="a hat", input_fidelity="high", strength="0.5")
    assert answer.json()["error"]["param"] == "input_fidelity"


def test_a_form_names_loras_as_json(client: TestClient, workshop: Workshop) -> None:
    loras = '[{"model": "watercolour", "weight": 0.5}, {"model": "ink"}]'
    assert post(client, EDITS, prompt="a hat", loras=loras, clip_skip="2", vae="soft").status_code == 200
    [request] = workshop.images.requests
    assert request.loras == (LoraChoice(ModelId("watercolour"), 0.5), LoraChoice(ModelId("ink"), 1.0))
    assert (request.clip_skip, request.vae) == (2, "soft")


def test_nothing_is_kept_of_an_upload_whose_fields_are_wrong(client: TestClient, workshop: Workshop) -> None:
    assert (
        post(client, EDITS, prompt="a hat", background="transparent", output_format="jpeg").status_code == 400
    )
    assert post(client, EDITS, prompt="a hat", model="nobody").status_code == 404
    assert workshop.images.inputs == []


def test_a_json_body_is_refused_with_what_to_send(client: TestClient) -> None:
    answer = client.post(EDITS, json={"prompt": "a hat"})
    assert answer.status_code == 400
    assert "multipart/form-data" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"--x\r\n", b"nonsense", b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na hat'],
)
def test_a_broken_form_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post(EDITS, content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_form_without_a_boundary_is_refused(client: TestClient) -> None:
    answer = client.post(EDITS, content=b"x", headers={"content-type": "multipart/form-data"})
    assert answer.status_code == 400


def test_too_many_parts_are_refused(client: TestClient) -> None:
    answer = post(client, EDITS, files=[("image", IMAGE)] * 30, prompt="a hat")
    assert answer.status_code == 400


def test_a_text_given_twice_is_refused(client: TestClient) -> None:
    answer = client.post(EDITS, data={"prompt": ["a hat", "a cat"]}, files={"image": IMAGE})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt"


def test_an_edit_is_streamed_under_its_own_names(client: TestClient) -> None:
    answer = post(client, EDITS, prompt="a hat", stream="true", partial_images="1")
    names = [name for name, _ in events_of(answer.text)]
    assert names == ["image_edit.partial_image", "image_edit.completed"]


def test_a_variation_needs_no_prompt(client: TestClient, workshop: Workshop) -> None:
    answer = post(client, VARIATIONS, n="2")
    assert answer.status_code == 200
    [request] = workshop.images.requests
    assert (request.mode, request.prompt, request.strength) == (Mode.IMAGE, "", 0.6)


@pytest.mark.parametrize(
    ("field", "value"), [("stream", "true"), ("partial_images", "1"), ("style", "vivid")]
)
def test_what_a_variation_cannot_do_is_refused(client: TestClient, field: str, value: str) -> None:
    answer = post(client, VARIATIONS, **{field: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


def test_a_variation_takes_no_mask(client: TestClient) -> None:
    answer = post(client, VARIATIONS, files={"image": IMAGE, "mask": MASK})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "mask"
