# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from inglenook.base.ids import OWNER
from inglenook.images.easel import failed_on, failure_of, preview_every
from inglenook.images.errors import BadRequest, DrawingFailed
from inglenook.images.work import Loading, _label, load_plan
from inglenook.runtime.contracts import ChildFailed, Failure
from inglenook.wire.image import DrawFailed
from inglenook.wire.message import OutOfMemory
from tests.unit.images.test_request import MODEL, planned, request


def test_the_label_in_the_queue_never_holds_the_prompt() -> None:
    label = _label(planned(request(prompt="my secret", n=3)), OWNER, 3)
    assert label == "3 pictures for owner"


@pytest.mark.parametrize(
    ("previews", "steps", "every"),
    [(0, 20, 0), (1, 20, 10), (3, 20, 5), (100, 20, 1), (3, 2, 1), (12, 25, 2), (2, 14, 5)],
)
def test_previews_are_spread_over_the_steps(previews: int, steps: int, every: int) -> None:
    assert preview_every(planned(request(previews=previews, steps=steps))) == every


def test_larger_pictures_are_planned_with_more_memory_under_a_scale_of_their_own() -> None:
    small = load_plan(MODEL, planned(request(width=256, height=256)), pinned=False)
    large = load_plan(MODEL, planned(request(width=1024, height=1024)), pinned=False)
    assert small.key == large.key
    assert (small.scale, large.scale) == (16, 20)
    assert all(large.footprint_bytes[kind] > need for kind, need in small.footprint_bytes.items())


def test_what_the_worker_calls_invalid_is_the_requests_fault() -> None:
    error = failure_of(
        DrawFailed(job="j", code="draw.invalid", message="ddim cannot do it.\nhint: use euler"), "cpu"
    )
    assert isinstance(error, BadRequest)
    assert (error.message, error.hint) == ("ddim cannot do it.", "use euler")


def test_memory_that_ran_out_is_told_with_its_numbers() -> None:
    last = DrawFailed(
        job="j",
        code="draw.out_of_memory",
        message="Memory ran out.",
        out_of_memory=OutOfMemory(requested_bytes=2 * 1024**3, free_bytes=1024**3),
    )
    error = failure_of(last, "cuda")
    assert isinstance(error, DrawingFailed)
    assert error.hint == "choose a smaller size (2 GiB were asked for, 1 GiB were free)"

    assert error.code == "draw.out_of_memory"
    assert failure_of(last, "mps").code == "draw.out_of_memory_mps"


def test_a_plan_names_the_file_and_not_the_model_alone() -> None:
    made = load_plan(replace(MODEL, layout="single"), planned(request()), pinned=True)
    assert made.pinned
    assert made.options == {
        "path": str(MODEL.path),
        "layout": "single",
        "family": "sd1",
        "variant": "",
        "parts": {},
    }


def test_a_plan_offers_less_memory_at_each_saving_level() -> None:
    record = replace(
        MODEL,
        weights_bytes=2_000,
        parameters=1_000,
        components={"unet": 1_600, "vae": 200, "text_encoder": 200},
    )
    made = load_plan(record, planned(request(width=1024, height=1024)), pinned=False)
    assert len(made.saving_bytes) == 3
    for kind in ("cuda", "cpu"):
        needs = [made.footprint_bytes[kind], *(level[kind] for level in made.saving_bytes)]
        assert needs == sorted(needs, reverse=True)
    assert made.saving_bytes[2]["cuda"] < made.saving_bytes[1]["cuda"], "parts that do not work are away"
    assert made.saving_bytes[2]["cpu"] == made.saving_bytes[1]["cpu"], "a CPU has no other place"


def test_settings_replace_what_is_chosen() -> None:
    usual = load_plan(MODEL, planned(request()), pinned=False)
    told = Loading(dtype="float32", saving=3, vae_on_cpu=True)
    made = load_plan(MODEL, planned(request()), pinned=False, loading=told)
    assert made.saving_bytes == ()
    assert {key: made.options[key] for key in ("dtype", "saving", "vae_on_cpu")} == {
        "dtype": "float32", "saving": 3, "vae_on_cpu": True,
    }  # fmt: skip
    half = load_plan(MODEL, planned(request()), pinned=False, loading=Loading(vae_on_cpu=True))
    assert half.footprint_bytes["cuda"] < usual.footprint_bytes["cuda"]
    assert half.footprint_bytes["cpu"] == usual.footprint_bytes["cpu"]


@pytest.mark.parametrize(
    ("device", "code", "said"),
    [
        ("mps", "load.out_of_memory", "load.out_of_memory_mps"),
        ("mps", "child.exited", "child.exited"),
        ("cuda", "load.out_of_memory", "load.out_of_memory"),
    ],
)
def test_memory_that_ran_out_on_an_apple_gpu_has_a_code_of_its_own(device: str, code: str, said: str) -> None:
    assert failed_on(device, ChildFailed(Failure(code, "It is full."))).code == said
