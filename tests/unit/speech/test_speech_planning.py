# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
from tests.speech_files import speech_record

from inglenook.base.errors import Invalid
from inglenook.base.units import MIB
from inglenook.catalog.model import SpeechFacts
from inglenook.catalog.speech_footprint import speech_footprint
from inglenook.speech.planning import load_plan

TINY = speech_record(Path("nowhere"))


def test_the_estimate_lies_a_little_above_what_was_measured() -> None:
    """Whisper tiny.en on a CPU: 389 MiB at most, as 8-bit integers; 325 to 400 as float32."""
    for compute_type in ("auto", "int8", "float32"):
        assert 389 * MIB <= speech_footprint(TINY, compute_type)["cpu"] <= 1.6 * 389 * MIB


def test_a_larger_model_takes_more_and_half_precision_less() -> None:
    large = replace(TINY, weights_bytes=3_090_000_000)
    assert speech_footprint(large, "auto")["cpu"] > 2 * large.weights_bytes, "the peak while it is converted"
    assert (
        speech_footprint(large, "float32")["cuda"] > speech_footprint(large, "auto")["cuda"] > 3_000_000_000
    )
    assert speech_footprint(large, "int8_float16")["cuda"] < speech_footprint(large, "auto")["cuda"]


def test_it_runs_on_a_cpu_or_an_nvidia_gpu() -> None:
    plan = load_plan(TINY, compute_type="auto", pinned=True)
    assert set(plan.footprint_bytes) == {"cpu", "cuda"}
    assert plan.engine == "faster-whisper"
    assert plan.pinned
    assert plan.options == {"path": "nowhere", "compute_type": "auto"}


def test_a_model_of_another_engine_is_refused_with_what_to_take() -> None:
    other = replace(TINY, speech=SpeechFacts(engine="whisper.cpp"))
    with pytest.raises(Invalid, match=r"is for whisper\.cpp") as refused:
        load_plan(other, compute_type="auto", pinned=False)
    assert "CTranslate2" in str(refused.value.hint)
