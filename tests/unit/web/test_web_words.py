# SPDX-License-Identifier: Apache-2.0
"""What the page says."""

import pytest
from tests.unit.web.services import NOW, Jobs

from inglenook.jobs.model import JobState, Receipt
from inglenook.web import words


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd"), (113, "113th")],
)
def test_a_place_in_line_is_said_as_people_say_it(number: int, said: str) -> None:
    assert words.ordinal(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.3, "less than a second"), (2.6, "about 3 s"), (59, "about 59 s"), (130, "about 2 min 10 s")],
)
def test_an_estimate_says_that_it_is_one(seconds: float, said: str) -> None:
    assert words.about(seconds) == said


def test_every_state_of_a_job_has_a_word() -> None:
    assert set(words.STATE_WORDS) == set(JobState)


def test_a_wait_tells_the_place_the_reason_and_the_estimate() -> None:
    explanation = {"position": 2, "reason": {"text": "starter is being loaded."}, "estimate_s": 4.2}
    assert words.wait_line(explanation) == "2nd in line: starter is being loaded · begins in about 4 s"


def test_an_estimate_that_has_passed_promises_no_second() -> None:
    assert (
        words.wait_line({"position": 1, "reason": {"text": "x"}, "estimate_s": 0.0})
        == "Next in line: x · begins soon"
    )


def test_a_wait_of_which_nothing_is_known_yet_is_still_a_sentence() -> None:
    assert words.wait_line(None) == "In line; it is about to be looked at"


def test_a_wait_names_who_is_in_the_way_unless_the_reason_did() -> None:
    reason = {"text": "no room: sdxl is at work", "holders": ["sdxl", "llama"]}
    detail = words.wait_detail({"position": 1, "reason": reason, "evicted": ["tiny"]})
    assert detail == "Held by llama · Unloaded for it: tiny"


def test_progress_counts_steps_and_pictures_from_one() -> None:
    event = {"stage": "denoise", "step": 12, "steps": 25, "picture": 1, "pictures": 4, "estimate_s": 3.0}
    assert words.progress_line(event) == "Step 12 of 25 · picture 2 of 4 · about 3 s left"


def test_progress_of_one_picture_does_not_count_pictures() -> None:
    event = {"stage": "decode", "step": 1, "steps": 1, "picture": 0, "pictures": 1, "estimate_s": None}
    assert words.progress_line(event) == "Finishing the picture"


@pytest.mark.parametrize(("fraction", "percent"), [(0.0, 0), (0.999, 99), (1.0, 100), (1.2, 100), (-0.1, 0)])
def test_a_hundred_per_cent_is_only_said_when_it_is_so(fraction: float, percent: int) -> None:
    assert words.percent(fraction) == percent


def test_a_running_job_is_described_before_its_next_event() -> None:
    job = Jobs().add(1, progress=0.4, stage="denoise", estimate_s=6.0)
    assert words.running_line(job) == "40 % · about 6 s left"
    assert words.running_line(Jobs().add(1)) == "Beginning"


def test_a_receipt_tells_how_how_long_and_what_it_gave_back() -> None:
    receipt = Receipt("stopped before step 3 of 14", NOW, 0.24, 3 * 1024**3, 1024**3)
    assert words.receipt_line(receipt) == (
        "Stopped before step 3 of 14. It took 0.2 s. Memory in use on the device: 3 GiB before, 1 GiB after."
    )


def test_a_receipt_does_not_make_up_what_was_not_measured() -> None:
    receipt = Receipt("left the queue before it began", NOW, 0.0, None, 5)
    assert words.receipt_line(receipt) == "Left the queue before it began."
